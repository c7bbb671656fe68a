"""Network back ends: what a guest's network device is plugged into on the host."""

"""9P2000.L: a host folder for a guest.  Nothing here knows of virtio."""

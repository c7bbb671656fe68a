"""jitemu: a dynamic binary translator in Python (see ARCHITECTURE.md)."""

"""``jitemu img``: qemu-img's subcommands on the images of ``jitemu.devices.block``."""

"""Disk images: host files, raw, qcow2.  Nothing here knows of devices."""

"""Virtio: transports here; queues and devices join them as they are built."""

"""Measures jitemu beside QEMU: ``python -m bench``; see ``bench.model`` for what a row is."""

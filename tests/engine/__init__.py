"""The same guest code on everything that can run it."""

"""Ways to reach a device: bytes to and from addresses."""

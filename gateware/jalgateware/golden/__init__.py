"""The bit-exact model of the engine: plain functions on NumPy integer arrays."""

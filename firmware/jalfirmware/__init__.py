"""The C sources of the firmware, carried as package data."""

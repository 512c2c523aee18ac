"""Model files: reading, converting and checking them."""

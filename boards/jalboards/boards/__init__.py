"""One file for each board; each has a ``BOARD``."""

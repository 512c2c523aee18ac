"""Bring-up: which layer of a board is broken, and what to do about it."""

"""The engine's building blocks as Migen modules."""

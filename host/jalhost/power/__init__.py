"""Power: meters of many kinds, energy over a run, and what a board's sensors say."""

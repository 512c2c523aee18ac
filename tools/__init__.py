"""Programs that make what the project ships; nothing here is installed."""

"""The decode engine: its contract, its golden model and its gateware units."""

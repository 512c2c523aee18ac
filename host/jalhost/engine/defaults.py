"""What a generation uses unless told otherwise; apart, so that the command line starts fast."""

PROMPT = "Once upon a time"

MAX_TOKENS = 256
"""The demo model's tales have fewer."""

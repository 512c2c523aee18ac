"""Drafts: the table that guesses the next tokens, for a pass to check.

An entry says which token followed a context, the last 1 to ORDERS tokens. Entries lie in SETS of
WAYS. The preloaded ways come with the image and stay as they are; the last way starts each run
empty and learns what the run reads and samples. So a run's drafts depend on the image and on the
run alone.

A context's *key* is the CRC-32 register (from all ones, not inverted) after the lower TOKEN_BITS of
its tokens, newest first: so each order's key follows from the one below. Its lower bits choose the
set, the tag is above them.

Tokens that do not fit an entry are never drafted.
"""

ORDERS = 4
"""Longest context, in tokens. Of the contexts that have an entry the longest one counts."""

SET_BITS = 10
SETS = 1 << SET_BITS

PRELOADED_WAYS = 3
"""The ways that an image fills; among equal contexts, the first one counts."""

WAYS = PRELOADED_WAYS + 1
"""With the one that learns; it counts only where no preloaded one knows the context."""

TABLE_WORDS = PRELOADED_WAYS * SETS
"""32-bit words of an image's table: entry ``way * SETS + set``."""

ENTRY_BITS = 32

TOKEN_BITS = 16
"""From bit 0 of an entry: the token that followed."""

TAG_BITS = ENTRY_BITS - TOKEN_BITS - 1
"""Bits of the key from bit TOKEN_BITS on, at the same place in the entry."""

IN_USE = 1 << (ENTRY_BITS - 1)
"""Bit of an entry: it is one. So an empty entry is 0."""

KEY_START = 0xFFFF_FFFF

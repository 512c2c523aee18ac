"""Guesses the next tokens from the last ones, by a table of what followed them before.

A guess costs nothing when it is wrong: the pass that gets it samples every token itself.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import eq

from jalgateware.contract.drafting import (
    IN_USE,
    KEY_START,
    ORDERS,
    SETS,
    TABLE_WORDS,
    TAG_BITS,
    TOKEN_BITS,
)
from jalgateware.golden.crc32 import advance

_TOKEN_MASK = (1 << TOKEN_BITS) - 1
_TAG_MASK = ((1 << TAG_BITS) - 1) << TOKEN_BITS

UNKNOWN = 0
"""Stands for what was before the first token."""


@lru_cache(maxsize=1 << 16)
def _extended(key: int, token: int) -> int:
    return advance(key ^ token & _TOKEN_MASK, TOKEN_BITS)


def keys(context: Sequence[int]) -> Iterator[int]:
    """Keys of a context's last token, of its last two, and so on."""
    key = KEY_START
    for token in reversed(context):
        key = _extended(key, token)
        yield key


def set_of(key: int) -> int:
    """The set in which a key's entries lie."""
    return key % SETS


def entry(key: int, token: int) -> int:
    """The entry that says: ``token`` follows. Its token must fit."""
    return IN_USE | key & _TAG_MASK | token


def fits(token: int) -> bool:
    """Whether an entry can hold a token."""
    return 0 <= token <= _TOKEN_MASK


class Drafter:
    """The table, and the last tokens.

    Args:
        table: (TABLE_WORDS,) entries of the preloaded ways; none: they are empty.

    Raises:
        ValueError: the table has another length.
    """

    def __init__(self, table: Sequence[int] = ()) -> None:
        if len(table) not in (0, TABLE_WORDS):
            raise ValueError(f"a table of drafts has {TABLE_WORDS} entries, not {len(table)}")
        self._preloaded = [int(item) for item in table]
        self.clear()

    def clear(self) -> None:
        """Starts a run: forgets the last tokens and all that was learnt."""
        self._learnt = [0] * SETS
        self._context = [UNKNOWN] * ORDERS

    def learn(self, token: int) -> None:
        """Remembers that ``token`` followed the last tokens, and is the last one now."""
        if fits(token):
            for key in keys(self._context):
                self._learnt[set_of(key)] = entry(key, token)
        self._context = [*self._context[1:], token]

    def draft(self, most: int) -> list[int]:
        """Up to ``most`` tokens that may follow; fewer where no context has an entry."""
        context, drafts = self._context, []
        for _ in range(most):
            found = [token for key in keys(context) for token in self._lookup(key)]
            if not found:
                break
            drafts.append(found[-1])
            context = [*context[1:], found[-1]]
        return drafts

    def _lookup(self, key: int) -> list[int]:
        """The token of the first way that knows the key, if there is one."""
        place, wanted = set_of(key), entry(key, 0)
        ways = [*self._preloaded[place::SETS], self._learnt[place]]
        return [way & _TOKEN_MASK for way in ways if way & ~_TOKEN_MASK == wanted][:1]


def sampling_passes(
    drafter: Drafter, prompt: Sequence[int], sampled: Sequence[int], most: int
) -> list[int]:
    """Tokens that each pass yields, from the first that samples, for a run with known samples.

    A pass yields the sample behind the last token, and one more for each draft that was right:
    drafts count up to the first wrong one. ``most``: drafts in a pass.
    """
    for token in prompt:
        drafter.learn(token)
    passes, done = [], 0
    while done < len(sampled):
        drafts = drafter.draft(min(most, len(sampled) - done - 1))
        right = [*map(eq, drafts, sampled[done:]), False].index(False)
        for token in sampled[done : done + right + 1]:
            drafter.learn(token)
        passes.append(right + 1)
        done += right + 1
    return passes

"""How a run's tokens lie in the mailbox: words of the prompt, entries of the output ring."""

from collections.abc import Sequence
from dataclasses import dataclass

from jalgateware.contract.mailbox import (
    PROMPT_CAPACITY,
    PROMPT_FINAL,
    STREAM_BITS,
    STREAM_SHIFT,
    entry_check,
)
from jalhost.errors import UsageError


@dataclass(frozen=True)
class OutputEntry:
    """A token sampled for a stream, and the cycles from the start of the run to it."""

    token: int
    cycles: int
    stream: int = 0

    @classmethod
    def unpack(cls, words: Sequence[int], run: int, number: int) -> "OutputEntry | None":
        """Reads an entry of the output ring; None if it is not the one with this number."""
        if words[-1] != entry_check(run, number, words[:-1]):
            return None
        return cls(
            token=words[0] & ((1 << STREAM_SHIFT) - 1),
            cycles=words[1] | words[2] << 32,
            stream=words[0] >> STREAM_SHIFT & ((1 << STREAM_BITS) - 1),
        )


def prompt_words(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The prompts of all streams, one behind the other; none is empty.

    Raises:
        UsageError: they are longer than the mailbox.
    """
    words = []
    for stream, (*prefix, last) in enumerate(prompts):
        words += [token | stream << STREAM_SHIFT for token in prefix]
        words += [last | stream << STREAM_SHIFT | PROMPT_FINAL]
    if len(words) > PROMPT_CAPACITY:
        subject = "the prompt has" if len(prompts) == 1 else "the prompts together have"
        raise UsageError(f"{subject} {len(words)} tokens, the device takes {PROMPT_CAPACITY}")
    return words

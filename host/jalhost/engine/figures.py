"""What a run's samples and counters tell: how long decoding took, and what it had to move."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jalhost.engine.target import Sampled
from jalhost.models.convert import token_bytes, weight_bytes
from jalhost.models.image import Image


@dataclass(frozen=True)
class Span:
    """Decoding: from the sample with which the last stream begins to the last sample of all.

    ``start_s``: when it began. ``tokens``: samples but the first one of each stream. ``cycles`` is
    None without hardware.
    """

    start_s: float
    seconds: float
    cycles: int | None
    tokens: int


def decoding(sampled: Sequence[Sampled]) -> Span | None:
    """The part of a run in which it decodes; None before each stream's first sample is there."""
    first: dict[int, Sampled] = {}
    for sample in sampled:
        first.setdefault(sample.stream, sample)
    if not first:
        return None
    start, end = list(first.values())[-1], sampled[-1]
    cycles = None if start.cycles is None or end.cycles is None else end.cycles - start.cycles
    return Span(start.seconds, end.seconds - start.seconds, cycles, len(sampled) - len(first))


def prefill_passes(prompts: Iterable[int], token_rows: int) -> int:
    """Passes for prompts of so many tokens: each takes tokens of one stream, one per row."""
    return sum(-(-length // token_rows) for length in prompts)


def bytes_needed(image: Image, streams: Iterable[range], passes: int, sampled: bool = True) -> int:
    """Bytes that any engine must move for tokens at these positions of each stream, in ``passes``.

    A pass reads the weights once, for all of its tokens. It also reads the earlier keys and values
    of a stream once: where a stream has more tokens than there are passes, its tokens share these
    reads, each the same part of them. ``sampled`` as in
    :func:`jalhost.models.convert.needed_bytes`.
    """
    needed = passes * weight_bytes(image, sampled)
    for positions in streams:
        tokens = len(positions)
        own = tokens * token_bytes(image, 0)
        cached = sum(token_bytes(image, position) for position in positions) - own
        needed += own + (cached * min(passes, tokens) // tokens if tokens else 0)
    return needed

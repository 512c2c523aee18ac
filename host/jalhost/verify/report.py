"""What a verification tells: stages, findings and the place where a target first differs."""

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any


class Cause(StrEnum):
    """What a difference looks like."""

    WEIGHTS = "weights"
    """The image in DRAM is not what it should be."""
    CACHE = "kv-cache"
    """Keys or values changed in DRAM after they were written."""
    LANE = "lane"
    """A bit of a lane's products is stuck."""
    READ = "dram-read"
    """A word arrived in the engine as another than DRAM holds."""
    UNIT = "unit"
    """A unit of the engine computes something else than the golden model, each time."""
    SPORADIC = "sporadic"
    """It was wrong once, and right when it was done again."""
    LINK = "link"
    """What the host reads is not what the device has."""


@dataclass(frozen=True)
class Place:
    """Where a target first differs; what does not apply is None.

    Args:
        instruction: index in the engine's program.
        name: the instruction's, like ``2.gate_up``.
        unit: what computes it.
        tensor: matrix or cache, like ``2.gate_up`` or ``0.key``.
        position: of the token.
        token_row: token row of the engine that computed it.
        row: row of the matrix, element of the vector, or head of the cache.
        column: column of the matrix, or element of the head.
        bit: lowest bit that differs.
        expected: what should be there.
        got: what is there.
        dram_offset: bytes from the start of DRAM.
        lane: lane (byte of a word of weights).
    """

    instruction: int | None = None
    name: str | None = None
    unit: str | None = None
    tensor: str | None = None
    position: int | None = None
    token_row: int | None = None
    row: int | None = None
    column: int | None = None
    bit: int | None = None
    expected: int | None = None
    got: int | None = None
    dram_offset: int | None = None
    lane: int | None = None


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: ``what`` says it in a line, ``hint`` what to do next."""

    cause: Cause
    what: str
    hint: str
    place: Place = field(default_factory=Place)


@dataclass(frozen=True)
class Stage:
    """A step of the verification and its verdict."""

    name: str
    passed: bool
    what: str


@dataclass(frozen=True)
class Verification:
    """The whole of it.

    Args:
        target: its name.
        provenance: what kind of target: simulated or measured.
        model: the image's name.
        passed: whether the target does what the golden model does.
        tokens: generated tokens that were compared.
        positions: positions of the KV cache that were compared.
        readings: pieces of DRAM that were read over the link.
        damaged_readings: of these, those that the link damaged.
        stages: in order.
        findings: the likeliest cause first.
    """

    target: str
    provenance: str
    model: str
    passed: bool
    tokens: int
    positions: int
    readings: int
    damaged_readings: int
    stages: tuple[Stage, ...]
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def lowest_bit(difference: int) -> int:
    """Number of the lowest bit that is set."""
    return (difference & -difference).bit_length() - 1


KEYS = {kind.__name__: [item.name for item in fields(kind)] for kind in (Verification, Stage)} | {
    kind.__name__: [item.name for item in fields(kind)] for kind in (Finding, Place)
}
"""Keys of the JSON object and of the objects in it."""

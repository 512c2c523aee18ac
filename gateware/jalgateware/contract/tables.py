"""Lookup tables of the engine, computed from formulas for gateware and golden model alike.

Interpolated tables hold, per interval, the value at its lower end and the (positive) distance to
the value at its upper end; the lookup is ``base -+ round_half_up(delta * fraction)``. All values
are integers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from jalgateware.contract.formats import LOG2, MANTISSA, PROBABILITY, SCORE, SIGMOID


@dataclass(frozen=True)
class Table:
    """``base`` and ``delta`` (absolute values) of each interval; ``rising`` tells the direction."""

    name: str
    base: tuple[int, ...]
    delta: tuple[int, ...]
    rising: bool
    index_bits: int
    fraction_bits: int

    @property
    def base_bits(self) -> int:
        """Width of the largest base value."""
        return max(self.base).bit_length()

    @property
    def delta_bits(self) -> int:
        """Width of the largest distance."""
        return max(1, max(self.delta).bit_length())


def _interpolated(
    name: str, points: list[Callable[[float], float]], index_bits: int, fraction_bits: int
) -> Table:
    """A table over consecutive segments, each a function on [0, 1] cut into equal intervals."""
    base: list[int] = []
    delta: list[int] = []
    per_segment = (1 << index_bits) // len(points)
    for function in points:
        knots = [round(function(i / per_segment)) for i in range(per_segment + 1)]
        base += knots[:-1]
        delta += [b - a for a, b in pairwise(knots)]
    rising = all(d >= 0 for d in delta)
    if not rising and any(d > 0 for d in delta):
        raise ValueError(f"table {name} is not monotonic")
    return Table(name, tuple(base), tuple(abs(d) for d in delta), rising, index_bits, fraction_bits)


def _mantissa(value: float) -> float:
    return min(value * (1 << MANTISSA.fraction), float(MANTISSA.maximum))


EXP2: tuple[int, ...] = tuple(
    round(2.0 ** (PROBABILITY.fraction - i / (1 << SCORE.fraction)))
    for i in range(1 << SCORE.fraction)
)
"""2**-f for each fraction f of a SCORE difference, as PROBABILITY: exact to half a unit."""

RECIPROCAL = _interpolated("reciprocal", [lambda f: _mantissa(2 / (1 + f))], 8, 10)
"""2 / M for M in [1, 2)."""

RSQRT = _interpolated(
    "rsqrt",
    [lambda f: _mantissa(2 / math.sqrt(1 + f)), lambda f: _mantissa(2 / math.sqrt(2 + 2 * f))],
    8,
    10,
)
"""2 / sqrt(M): first half for M in [1, 2), second half for M in [2, 4)."""

SIGMOID_RANGE_BITS = 4
"""The sigmoid table covers [0, 2**4)."""

SIGMOID_TABLE = _interpolated(
    "sigmoid",
    [lambda f: (1 << SIGMOID.fraction) / (1 + math.exp(-f * (1 << SIGMOID_RANGE_BITS)))],
    8,
    12,
)
"""1 / (1 + exp(-x)) for x in [0, 16); with 4 of the index, 12 bits are all 16 of a VECTOR."""

LOG2_TABLE = _interpolated("log2", [lambda f: math.log2(1 + f) * (1 << LOG2.fraction)], 8, 10)
"""log2(M) for M in [1, 2)."""


def _gumbel_correction(z: float) -> float:
    """log2(-ln(1 - z) / z), smooth on [0, 1/2]."""
    return math.log2(-math.log1p(-z) / z) if z > 0 else 0.0


GUMBEL_CORRECTION = _interpolated(
    "gumbel_correction", [lambda f: _gumbel_correction(f / 2) * (1 << LOG2.fraction)], 6, 12
)
"""log2(-ln(1 - z) / z) for z in [0, 1/2]: keeps log2(-ln) precise where noise is largest."""

LN2_LOG2 = round(-math.log2(math.log(2)) * (1 << LOG2.fraction))
"""-log2(ln 2) as LOG2: turns log2(-log2 u) into log2(-ln u)."""

"""MXFP4 by the bits of float32 numbers: what the rule asks for, in a fiftieth of its time.

A float's exponent and first mantissa bits, with a last bit that says whether anything follows,
tell how it rounds: E2M1's codes change at numbers of at most two mantissa bits. Less its block's
exponent this is a byte, and a table makes the element of it.

Which of the three scales is best follows from the block's largest magnitude ``m``, in units of the
specification's scale, 4 <= m < 8:

- The larger scale's numbers up to 6 are numbers of the specification's scale as well, so only
  magnitudes above 7 gain by it.
- Below the smaller one's largest number, 3, only magnitudes below 1 gain, 1/16 each at most, and
  ``m`` loses (m - 3)**2 - (m - 4)**2 >= 1: it takes 16 of them, and m < 5.

Only such blocks have their scales compared, in float64.
"""

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jalgateware.contract.formats import BLOCK, E2M1_DOUBLED, SCALE_BIAS

KEPT_MANTISSA_BITS = 3
"""Two that rounding depends on, and one that is set where any later one is."""

_DROPPED_BITS = 23 - KEPT_MANTISSA_BITS
_DROPPED = np.uint32((1 << _DROPPED_BITS) - 1)
_UPPER_HALF = 1 if sys.byteorder == "little" else 0
_OCTAVE = 1 << KEPT_MANTISSA_BITS
_SIGN = 0x80

_LEAST = -3 * _OCTAVE - 1
"""Keys count from 1.0 of the block's scale; this one stands for all below 1/8, which is 1/4 of the
smaller scale: they round to 0."""

_TOP = 3 * _OCTAVE
"""First key beyond a block's largest possible one."""

CLIPPED = _TOP - 1
"""The key of magnitudes above 7."""

LEAST_SMALL = 16
LARGEST_OF_SMALL = 2 * _OCTAVE + 1
"""The smaller scale is compared where so many magnitudes are below 1, and the largest one's key is
no more than this."""

CLOSE = 1e-9
"""Differences of losses below this are too close to call, in units of a quarter of a scale's
square: float64 adds 32 squares with less than a thousandth of that."""

LEAST_EXPONENT = 6
MOST_EXPONENT = 253
"""Biased exponents of blocks whose three scales are E8M0's, and whose numbers that do not round to
0 are float32's normal ones."""

Keys = npt.NDArray[np.int16]
Elements = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]


def _doubled(key: int) -> int:
    """The doubled E2M1 number nearest to the magnitudes that have a key; ties go to even codes.

    Keys with the last bit stand for what is between their neighbours, which rounds as they do.
    """
    octave, steps = divmod(key, _OCTAVE)
    size = 2 * 2.0**octave * (1 + steps / _OCTAVE) if key > _LEAST else 0
    codes = [(abs(size - number), code % 2, number) for code, number in enumerate(E2M1_DOUBLED)]
    return min(codes)[2]


def _make_table() -> bytes:
    """Doubled E2M1 numbers as int8 by the byte that is a key plus, of negative ones, _SIGN."""
    table = np.zeros(256, dtype=np.int8)
    for key in range(_LEAST, _TOP + _OCTAVE):  # with the smaller scale, an octave higher
        table[key] = _doubled(key)
        table[key + _SIGN] = -_doubled(key)
    return table.tobytes()


_TABLE = _make_table()


@dataclass(frozen=True)
class Encoded:
    """Blocks (blocks, 32) of doubled E2M1 numbers, and biased scales (blocks,).

    ``rare``: blocks that must be encoded by the rule itself, those of zeros among them.
    """

    elements: Elements
    scales: npt.NDArray[np.uint8]
    rare: npt.NDArray[np.bool_]


def encode_bits(blocks: Floats) -> Encoded:
    """Encodes blocks (blocks, 32) of finite numbers."""
    keys, signs = _keys(blocks)
    top = _largest(keys)
    largest = top >> KEPT_MANTISSA_BITS
    bases = (largest - np.int16(2)) << KEPT_MANTISSA_BITS
    keys -= bases[:, None]
    top -= bases
    np.maximum(keys, np.full_like(keys, _LEAST), out=keys)  # a scalar would take six times as long
    elements = _look_up(keys, signs)
    scales = largest - np.int16(2)
    rare = (largest < LEAST_EXPONENT) | (largest > MOST_EXPONENT)
    small = np.bitwise_count(np.packbits(keys < 0).view(np.uint32))
    smaller = (small >= LEAST_SMALL) & (top <= LARGEST_OF_SMALL)
    for step, candidates in ((1, top == CLIPPED), (-1, smaller)):
        chosen = np.flatnonzero(candidates & ~rare)
        moved = keys[chosen] - np.int16(step * _OCTAVE)
        others = _look_up(np.maximum(moved, np.int16(_LEAST)), signs[chosen])
        change = _change(blocks[chosen], scales[chosen], elements[chosen], others, step)
        rare[chosen[abs(change) < CLOSE]] = True
        better = change < 0
        elements[chosen[better]] = others[better]
        scales[chosen[better]] += np.int16(step)
    return Encoded(elements, scales.astype(np.uint8), rare)


def _keys(blocks: Floats) -> tuple[Keys, Keys]:
    """Keys of magnitudes, counted from 0 (blocks, 32), and signs in the tables' place."""
    bits = blocks.reshape(-1).view(np.uint32)
    kept = bits & _DROPPED
    kept += _DROPPED  # carries into the last kept bit where anything is dropped
    kept |= bits
    upper = kept.view(np.int16)[_UPPER_HALF::2].copy()
    signs = upper >> 8
    signs &= _SIGN
    upper &= 0x7FFF
    upper >>= _DROPPED_BITS - 16
    return upper.reshape(blocks.shape), signs.reshape(blocks.shape)


def _largest(keys: Keys) -> Keys:
    """The largest key of each block (blocks,): NumPy is faster at five long steps than at rows."""
    largest = keys.reshape(-1)
    for _ in range(BLOCK.bit_length() - 1):
        largest = np.maximum(largest[0::2], largest[1::2])
    return largest


def _look_up(keys: Keys, signs: Keys) -> Elements:
    """Elements of keys that are _LEAST or more."""
    places = np.add(keys, signs, dtype=np.int16).astype(np.int8)
    # Python's own look-up takes bytes, and half of NumPy's time.
    found = bytearray(places).translate(_TABLE)
    return np.frombuffer(found, dtype=np.int8).reshape(keys.shape)


def _change(
    blocks: Floats, scales: Keys, elements: Elements, others: Elements, step: int
) -> npt.NDArray[np.float64]:
    """How much larger the loss is with other elements, whose scale is ``step`` larger (blocks,).

    In squares of half a scale: with doubled elements a and b, and x for both, the sum of
    (b - x)**2 - (a - x)**2 = (b - a) (b + a - 2 x).
    """
    factors = np.ldexp(2.0, 1 + SCALE_BIAS - scales.astype(np.int32))
    theirs = others * 2.0**step
    sums = theirs + elements
    sums -= blocks * factors[:, None]
    theirs -= elements
    return np.asarray(np.einsum("ij,ij->i", theirs, sums))

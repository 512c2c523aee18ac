"""Microscaling blocks: quantising vectors, exact dot products, and the output scaler."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from jalgateware.contract.formats import (
    ACTIVATION,
    BLOCK,
    GUARD_BITS,
    MANTISSA,
    SCALE_BIAS,
    SCALED,
    SCALER_LEFT_LIMIT,
    TERM,
    TERM_SHIFT_LIMIT,
    VECTOR,
    WEIGHT,
)
from jalgateware.golden.rounding import Integers, Tally, rounding_shift, saturate

SCALER_RIGHT_LIMIT = 47
"""Largest right shift of the output scaler (an accumulator has 48 bits)."""


@dataclass(frozen=True)
class Activations:
    """A quantised vector: ``elements`` (blocks, 32) and ``shifts`` (blocks,), both int64."""

    elements: Integers
    shifts: Integers

    @cached_property
    def columns(self) -> npt.NDArray[np.float32]:
        """``elements * 2**shifts`` as (blocks, 32, 1), exact: at most 8 bits are significant."""
        return (self.elements << self.shifts[:, None]).astype(np.float32)[:, :, None]

    @cached_property
    def largest_shift(self) -> int:
        """The largest of ``shifts``."""
        return int(self.shifts.max())


@dataclass(frozen=True)
class Weights:
    """A matrix of MX blocks, laid out for the dot product.

    ``elements``: (blocks, rows, 32) float32 holding int8 values; float32 keeps a block's dot
    product (at most 2**19, times one power of two) exact in any order and runs at BLAS speed.
    ``scales``: (blocks, rows) E8M0 bytes. ``fraction``: fraction bits of the elements.
    """

    elements: npt.NDArray[np.float32]
    scales: npt.NDArray[np.integer]
    fraction: int = WEIGHT.fraction

    @property
    def unit(self) -> int:
        """Exponent of a block's dot product whose scale byte and activation shift are 0."""
        return -SCALE_BIAS - self.fraction - VECTOR.fraction

    @cached_property
    def factors(self) -> npt.NDArray[np.float64]:
        """What a block's dot product with ``Activations.columns`` counts for: (blocks, rows)."""
        return np.ldexp(1.0, self.scales.astype(np.int32) + self.unit)

    @cached_property
    def largest_scale(self) -> int:
        """The largest of ``scales``."""
        return int(self.scales.max())


def quantise(vector: Integers) -> Activations:
    """Quantises a VECTOR (length,) to blocks; the last block is filled with zeros."""
    blocks = -(-len(vector) // BLOCK)
    if len(vector) % BLOCK:
        vector = np.concatenate([vector, np.zeros(blocks * BLOCK - len(vector), dtype=np.int64)])
    padded = vector.reshape(blocks, BLOCK)
    magnitude = np.bitwise_or.reduce(padded ^ (padded >> 63), axis=1)
    length = np.frexp(magnitude.astype(np.float64))[1].astype(np.int64)
    shifts = np.maximum(length - (ACTIVATION.bits - 1), 0)
    half = (np.int64(1) << shifts) >> 1
    elements = (padded + half[:, None]) >> shifts[:, None]
    return Activations(np.minimum(elements, ACTIVATION.maximum), shifts)


def square_sum(activations: Activations) -> int:
    """Sum of squares of a quantised vector in units of 2**-32 (exact)."""
    elements = activations.elements
    sums = (elements * elements).sum(axis=1)
    pairs = zip(sums.tolist(), activations.shifts.tolist(), strict=True)
    return sum(total << (2 * shift) for total, shift in pairs)


def align(
    dot: npt.NDArray[np.float64], shift: Integers, tally: Tally | None = None
) -> npt.NDArray[np.float64]:
    """Block dot products times 2**shift, rounded and saturated to TERM."""
    safe = np.clip(shift, -TERM_SHIFT_LIMIT - 2, TERM_SHIFT_LIMIT)
    term = np.floor(np.ldexp(dot, safe.astype(np.int32)) + 0.5)
    over = (shift > TERM_SHIFT_LIMIT) & (dot != 0)
    if over.any():
        term = np.where(over, np.where(dot < 0, float(TERM.minimum), float(TERM.maximum)), term)
        if tally is not None:
            tally.saturations += int(np.count_nonzero(over))
    return term


def dot_rows(
    weights: Weights, activations: Activations, fraction: int, tally: Tally | None = None
) -> Integers:
    """Matrix times vector: (rows,) ACCUMULATORs with ``fraction`` fraction bits."""
    dots = np.matmul(weights.elements, activations.columns)[:, :, 0]
    offset = weights.unit + fraction
    if weights.largest_scale + activations.largest_shift + offset <= TERM_SHIFT_LIMIT:
        # align() where nothing can saturate: 20 significant bits, and below 2**-21 all vanish.
        terms = dots * weights.factors
        terms *= 2.0**fraction
        terms += 0.5
        np.floor(terms, out=terms)
    else:
        shift = weights.scales + (activations.shifts + offset)[:, None]
        terms = align(dots / np.exp2(activations.shifts)[:, None], shift, tally)
    return np.asarray(terms.sum(axis=0), dtype=np.int64)


def scale_output(
    accumulator: Integers,
    mantissa: Integers | int,
    shift: Integers | int,
    tally: Tally | None = None,
) -> Integers:
    """``accumulator * mantissa * 2**-16 * 2**-(shift + 2)`` as VECTOR, in two rounded steps."""
    bounded: Integers | int
    if isinstance(shift, int):
        bounded = min(max(shift, -SCALER_LEFT_LIMIT), SCALER_RIGHT_LIMIT)
    else:
        bounded = np.clip(shift, -SCALER_LEFT_LIMIT, SCALER_RIGHT_LIMIT)
    first = rounding_shift(accumulator, bounded)
    if tally is None:
        first = saturate(first, SCALED)
        return saturate(rounding_shift(first * mantissa, MANTISSA.fraction + GUARD_BITS), VECTOR)
    clipped = saturate(first, SCALED)
    second = rounding_shift(clipped * mantissa, MANTISSA.fraction + GUARD_BITS)
    result = saturate(second, VECTOR)
    tally.saturations += int(np.count_nonzero((clipped != first) | (result != second)))
    return result

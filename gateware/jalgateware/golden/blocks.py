"""Microscaling blocks: quantising vectors, exact dot products, and the output scaler."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Weights:
    """A matrix of MX blocks, laid out for the dot product.

    ``elements``: (blocks, rows, 32) float32 holding int8 values; float32 keeps a block's dot
    product (at most 2**19) exact in any order and runs at BLAS speed. ``scales``: (blocks, rows)
    E8M0 bytes as int64. ``fraction``: fraction bits of the elements.
    """

    elements: npt.NDArray[np.float32]
    scales: Integers
    fraction: int = WEIGHT.fraction


def quantise(vector: Integers) -> Activations:
    """Quantises a VECTOR (length,) to blocks; the last block is filled with zeros."""
    blocks = -(-len(vector) // BLOCK)
    flat = np.zeros(blocks * BLOCK, dtype=np.int64)
    flat[: len(vector)] = vector
    padded = flat.reshape(blocks, BLOCK)
    magnitude = np.bitwise_or.reduce(padded ^ (padded >> 63), axis=1)
    length = np.frexp(magnitude.astype(np.float64))[1].astype(np.int64)
    shifts = np.maximum(length - (ACTIVATION.bits - 1), 0)
    elements = saturate(rounding_shift(padded, shifts[:, None]), ACTIVATION)
    return Activations(elements, shifts)


def square_sum(activations: Activations) -> int:
    """Sum of squares of a quantised vector in units of 2**-32 (exact)."""
    sums = (activations.elements**2).sum(axis=1)
    return sum(
        int(s) << (2 * int(shift)) for s, shift in zip(sums, activations.shifts, strict=True)
    )


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
    vector = activations.elements.astype(np.float32)[:, :, None]
    dots = np.matmul(weights.elements, vector)[:, :, 0].astype(np.float64)
    offset = fraction - SCALE_BIAS - weights.fraction - VECTOR.fraction
    shift = weights.scales + (activations.shifts + offset)[:, None]
    return np.asarray(align(dots, shift, tally).sum(axis=0), dtype=np.int64)


def scale_output(
    accumulator: Integers,
    mantissa: Integers | int,
    shift: Integers | int,
    tally: Tally | None = None,
) -> Integers:
    """``accumulator * mantissa * 2**-16 * 2**-(shift + 2)`` as VECTOR, in two rounded steps."""
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

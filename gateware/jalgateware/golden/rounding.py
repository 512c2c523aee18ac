"""Rounding, saturation and their bookkeeping, on NumPy arrays of int64."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jalgateware.contract.formats import Fixed

Integers = npt.NDArray[np.int64]


@dataclass
class Tally:
    """Counts clipped values, as the engine's saturation counter does."""

    saturations: int = 0


def rounding_shift(value: Integers, shift: Integers | int) -> Integers:
    """``floor(value / 2**shift + 1/2)``; a negative shift multiplies. Shifts are -24 to 62."""
    if isinstance(shift, int):
        value = np.asarray(value, dtype=np.int64)
        return (value + (1 << (shift - 1))) >> shift if shift > 0 else value << -shift
    amount = np.asarray(shift, dtype=np.int64)
    right = np.maximum(amount, 0)
    half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)
    return np.asarray(((value << np.maximum(-amount, 0)) + half) >> right, dtype=np.int64)


def saturate(value: Integers, form: Fixed, tally: Tally | None = None) -> Integers:
    """Clips to the range of a format and counts what was clipped."""
    clipped: Integers = np.minimum(np.maximum(value, form.minimum), form.maximum)
    if tally is not None:
        tally.saturations += int(np.count_nonzero(clipped != value))
    return clipped

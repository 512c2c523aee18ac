"""Sampling while logits stream by: argmax, or exact temperature sampling by the Gumbel-max trick.

``argmax(logit / temperature - ln(-ln(u)))`` with independent uniform u per token draws from the
softmax (Gumbel 1954; Maddison et al., "A* Sampling", 2014). All is in units of log2. The noise is a
hash of seed, position and token index, so a token's noise does not depend on how the pass was
scheduled. The hash is Chris Wellons' "lowbias32" (github.com/skeeto/hash-prospector, in the public
domain).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jalgateware.contract.formats import INVERSE_TEMPERATURE
from jalgateware.contract.sampling import (
    HASH_MULTIPLIERS,
    HASH_SHIFTS,
)
from jalgateware.contract.tables import GUMBEL_CORRECTION, LN2_LOG2
from jalgateware.golden.functions import interpolate, log2
from jalgateware.golden.rounding import Integers, rounding_shift

_MASK = 0xFFFFFFFF

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters as the engine's registers hold them."""

    inverse_temperature: int = 0
    seed: int = 0

    @classmethod
    def from_temperature(cls, temperature: float, seed: int) -> "Sampling":
        """Registers for a temperature (0 = greedy).

        Raises:
            ValueError: the temperature is negative, not finite, or too small for the register.
        """
        if not math.isfinite(temperature) or temperature < 0:
            raise ValueError(f"temperature is 0 or more, not {temperature}")
        if temperature == 0:
            return cls(0, seed & _MASK)
        value = round(math.log2(math.e) / temperature * (1 << INVERSE_TEMPERATURE.fraction))
        if not 1 <= value <= INVERSE_TEMPERATURE.maximum:
            raise ValueError(
                f"temperature {temperature} is outside "
                f"{MIN_TEMPERATURE:.3f} to {MAX_TEMPERATURE:.0f}"
            )
        return cls(value, seed & _MASK)

    def of_stream(self, stream: int) -> "Sampling":
        """How stream ``stream`` of a run samples: as a run of its own would with the next seed."""
        return replace(self, seed=(self.seed + stream) & _MASK)


MIN_TEMPERATURE = (
    math.log2(math.e) * (1 << INVERSE_TEMPERATURE.fraction) / INVERSE_TEMPERATURE.maximum
)
MAX_TEMPERATURE = math.log2(math.e) * (1 << INVERSE_TEMPERATURE.fraction)


def hash32(value: Integers) -> Integers:
    """lowbias32 of 32-bit integers."""
    x = value.astype(np.uint64)
    for shift, multiplier in zip(HASH_SHIFTS, (*HASH_MULTIPLIERS, 1), strict=True):
        x = ((x ^ (x >> np.uint64(shift))) * np.uint64(multiplier)) & np.uint64(_MASK)
    return x.astype(np.int64)


def noise_key(seed: int, position: int) -> int:
    """Key of a position's noise: ``hash(hash(seed) + position)``."""
    inner = int(hash32(np.array([seed & _MASK]))[0])
    return int(hash32(np.array([(inner + position) & _MASK]))[0])


def gumbel(uniform: Integers) -> Integers:
    """Gumbel noise ``-log2(-ln((h + 1/2) / 2**32))`` of 32-bit uniform integers h, as LOG2."""
    low = 2 * uniform + 1
    high = (np.int64(1) << 33) - low
    near_one = uniform >= 1 << 31
    z = np.where(near_one, high, 1)
    fraction_bits = GUMBEL_CORRECTION.fraction_bits
    correction = interpolate(
        GUMBEL_CORRECTION,
        z >> (32 - GUMBEL_CORRECTION.index_bits),
        (z >> (32 - GUMBEL_CORRECTION.index_bits - fraction_bits)) & ((1 << fraction_bits) - 1),
    )
    logarithm = log2(np.where(near_one, z, low)) - (33 << 16)
    double = log2(np.where(near_one, 1, -logarithm)) - (16 << 16)
    return np.where(near_one, -(logarithm + correction), LN2_LOG2 - double)


def sample(logits: Integers, sampling: Sampling, position: int, allowed: Mask | None = None) -> int:
    """Draws a token from logits (vocabulary,) VECTOR; among equals the lowest index wins.

    ``allowed``: which tokens it may be, at least one; the engine allows all.
    """
    if not sampling.inverse_temperature:
        return int(np.argmax(_only(allowed, logits)))
    scaled = rounding_shift(logits * sampling.inverse_temperature, INVERSE_TEMPERATURE.fraction)
    index = np.arange(len(logits), dtype=np.int64)
    noise = gumbel(hash32(index ^ noise_key(sampling.seed, position)))
    return int(np.argmax(_only(allowed, scaled + noise)))


def _only(allowed: Mask | None, values: Integers) -> Integers:
    """Values that never are the largest where they are not allowed."""
    return values if allowed is None else np.where(allowed, values, np.iinfo(np.int64).min)

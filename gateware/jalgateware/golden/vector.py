"""What happens to rows on their way out of the lanes: rotary embedding, SwiGLU, KV quantising."""

import numpy as np

from jalgateware.contract.formats import GAIN, GUARD_BITS, KV, MANTISSA, ROTATION, SIGMOID, VECTOR
from jalgateware.golden.blocks import scale_output
from jalgateware.golden.functions import rsqrt, sigmoid
from jalgateware.golden.rounding import Integers, Tally, rounding_shift, saturate

HEAD_NORM_SHIFT = MANTISSA.fraction + GUARD_BITS + VECTOR.fraction - GAIN.fraction - 1
"""From rsqrt's exponent to the scaler's shift, of heads that are normalised."""


def add_bias(rows: Integers, biases: Integers, tally: Tally | None = None) -> Integers:
    """Rows (rows,) VECTOR with their biases (rows,) VECTOR."""
    return saturate(rows + biases, VECTOR, tally)


def normalise_heads(
    rows: Integers, gains: Integers, epsilon: int, tally: Tally | None = None
) -> Integers:
    """Heads divided by their length and multiplied by the gains.

    Args:
        rows: (heads * head_dim,) VECTOR.
        gains: (head_dim,) GAIN.
        epsilon: what is added to a head's sum of squares, in units of 2**-32.
        tally: counts saturations.
    """
    heads = rows.reshape(-1, len(gains))
    # Squares of up to 64 bits: Python's integers hold their sums.
    roots = [rsqrt(sum(item * item for item in head) + epsilon) for head in heads.tolist()]
    mantissas, exponents = np.array(roots, dtype=np.int64).T[:, :, None]
    factors = rounding_shift(mantissas * gains, MANTISSA.fraction)
    return scale_output(heads, factors, exponents - HEAD_NORM_SHIFT, tally).reshape(-1)


def rotate(
    rows: Integers, cosine: Integers, sine: Integers, shift: int, tally: Tally | None = None
) -> Integers:
    """Rotary embedding of adjacent pairs (llama2.c's order), narrowed to KV.

    Args:
        rows: (heads * head_dim,) VECTOR.
        cosine: (head_dim / 2,) ROTATION; ``sine`` likewise.
        shift: bits of VECTOR dropped.
        tally: counts saturations.
    """
    pairs = rows.reshape(-1, len(cosine), 2)
    first, second = pairs[:, :, 0], pairs[:, :, 1]
    turned = np.stack([first * cosine - second * sine, first * sine + second * cosine], axis=2)
    return saturate(rounding_shift(turned, ROTATION.fraction + shift), KV, tally).reshape(-1)


def narrow(rows: Integers, shift: int, tally: Tally | None = None) -> Integers:
    """VECTOR to KV, ``shift`` bits dropped."""
    return saturate(rounding_shift(rows, shift), KV, tally)


def swiglu(rows: Integers, tally: Tally | None = None) -> Integers:
    """``silu(gate) * up`` of rows that alternate gate, up: (2 * hidden,) -> (hidden,) VECTOR."""
    gate, up = rows[0::2], rows[1::2]
    activated = rounding_shift(gate * sigmoid(gate), SIGMOID.fraction)
    return saturate(rounding_shift(activated * up, VECTOR.fraction), VECTOR, tally)

"""What happens to rows on their way out of the lanes: rotary embedding, SwiGLU, KV quantising."""

import numpy as np

from jalgateware.contract.formats import KV, ROTATION, SIGMOID, VECTOR
from jalgateware.golden.functions import sigmoid
from jalgateware.golden.rounding import Integers, Tally, rounding_shift, saturate


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

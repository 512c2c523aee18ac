"""Grouped-query attention over 16-bit keys and values, in integers."""

import numpy as np
import numpy.typing as npt

from jalgateware.contract.formats import SCORE
from jalgateware.golden.blocks import scale_output
from jalgateware.golden.functions import exp2_negative, reciprocal
from jalgateware.golden.rounding import Integers, Tally, rounding_shift, saturate

Stored = npt.NDArray[np.signedinteger]
"""Keys or values as the cache holds them."""


def scores(query: Integers, keys: Stored, shift: int, tally: Tally | None = None) -> Integers:
    """SCOREs (positions,) of a query (head_dim,) KV against keys (positions, head_dim) KV.

    Leading dimensions, as for many heads at once, broadcast.
    """
    # 16 x 16 bits over at most 128 elements stay below 2**39: exact in float64, and BLAS is fast.
    column = query.astype(np.float64)[..., None]
    raw = np.matmul(keys.astype(np.float64), column)[..., 0].astype(np.int64)
    return saturate(rounding_shift(raw, shift), SCORE, tally)


def attend_head(
    query: Integers,
    keys: Stored,
    values: Stored,
    score_shift: int,
    value_shift: int,
    tally: Tally | None = None,
) -> Integers:
    """Softmax attention of one query head: (head_dim,) VECTOR.

    Of many at once where the arguments have leading dimensions that broadcast.
    ``value_shift``: bits of VECTOR that a stored value dropped. The 1/sum of the softmax is applied
    after the sum over the positions.
    """
    score = scores(query, keys, score_shift, tally)
    weight = exp2_negative(score.max(axis=-1, keepdims=True) - score)
    # 17 x 16 bits over at most 2**15 positions stay below 2**48: exact in float64.
    row = weight.astype(np.float64)[..., None, :]
    total = np.matmul(row, values.astype(np.float64))[..., 0, :].astype(np.int64)
    sums = weight.sum(axis=-1, keepdims=True)
    inverses = np.array([reciprocal(item) for item in sums.ravel().tolist()], dtype=np.int64)
    mantissa, exponent = inverses[:, 0].reshape(sums.shape), inverses[:, 1].reshape(sums.shape)
    return scale_output(total, mantissa, exponent - value_shift - 1, tally)

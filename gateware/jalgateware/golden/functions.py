"""The engine's elementary functions on integers: reciprocal, 1/sqrt, sigmoid, 2**-x, log2."""

import numpy as np

from jalgateware.contract.formats import (
    LOG2,
    MANTISSA,
    SCORE,
    SIGMOID,
    SQUARE_SUM_BITS,
    SUM_BITS,
    VECTOR,
)
from jalgateware.contract.tables import (
    EXP2,
    LOG2_TABLE,
    RECIPROCAL,
    RSQRT,
    SIGMOID_RANGE_BITS,
    SIGMOID_TABLE,
    Table,
)
from jalgateware.golden.rounding import Integers, rounding_shift

_EXP2 = np.array(EXP2, dtype=np.int64)
_TABLES = {
    table.name: (np.array(table.base, dtype=np.int64), np.array(table.delta, dtype=np.int64))
    for table in (RECIPROCAL, RSQRT, SIGMOID_TABLE, LOG2_TABLE)
}


def interpolate(table: Table, index: Integers, fraction: Integers) -> Integers:
    """``base[index] +- round(delta[index] * fraction / 2**fraction_bits)``."""
    if table.name not in _TABLES:
        _TABLES[table.name] = (
            np.array(table.base, dtype=np.int64),
            np.array(table.delta, dtype=np.int64),
        )
    base, delta = _TABLES[table.name]
    step = rounding_shift(delta[index] * fraction, table.fraction_bits)
    return np.asarray(base[index] + step if table.rising else base[index] - step, dtype=np.int64)


def _falling(table: Table, index: int, fraction: int) -> int:
    """:func:`interpolate` of one number in a falling table: much faster on Python's integers."""
    half = 1 << (table.fraction_bits - 1)
    return table.base[index] - ((table.delta[index] * fraction + half) >> table.fraction_bits)


def _split(normal: int, below: int, table: Table, index_bits: int) -> tuple[int, int]:
    """Index and fraction of a number whose leading one stands at bit ``below``."""
    index = (normal >> (below - index_bits)) & ((1 << index_bits) - 1)
    rest = (normal >> (below - index_bits - table.fraction_bits)) & ((1 << table.fraction_bits) - 1)
    return index, rest


def reciprocal(value: int) -> tuple[int, int]:
    """``1 / value = mantissa * 2**-16 * 2**-(exponent + 1)`` for a positive integer below 2**32.

    Returns:
        (mantissa as MANTISSA, exponent = floor(log2(value))).
    """
    exponent = value.bit_length() - 1
    top = SUM_BITS - 1
    index, rest = _split(value << (top - exponent), top, RECIPROCAL, RECIPROCAL.index_bits)
    return _falling(RECIPROCAL, index, rest), exponent


def rsqrt(value: int) -> tuple[int, int]:
    """``1 / sqrt(value) = mantissa * 2**-16 * 2**-(k + 1)`` for a positive integer below 2**76.

    Returns:
        (mantissa as MANTISSA, k = floor(log2(value) / 2)).
    """
    exponent = value.bit_length() - 1
    top = SQUARE_SUM_BITS - 1
    index, rest = _split(value << (top - exponent), top, RSQRT, RSQRT.index_bits - 1)
    index = index + ((exponent & 1) << (RSQRT.index_bits - 1))
    return _falling(RSQRT, index, rest), exponent >> 1


def sigmoid(value: Integers) -> Integers:
    """Sigmoid of a VECTOR, as SIGMOID (1.0 is 65536)."""
    one = 1 << SIGMOID.fraction
    magnitude = np.abs(value)
    inside = magnitude < 1 << (SIGMOID_RANGE_BITS + VECTOR.fraction)
    bounded = np.where(inside, magnitude, 0)
    positive = interpolate(
        SIGMOID_TABLE,
        bounded >> SIGMOID_TABLE.fraction_bits,
        bounded & ((1 << SIGMOID_TABLE.fraction_bits) - 1),
    )
    positive = np.where(inside, positive, one)
    return np.where(value < 0, one - positive, positive)


def exp2_negative(difference: Integers) -> Integers:
    """``2**-difference`` of a non-negative SCORE difference, as PROBABILITY, rounded down."""
    whole = np.minimum(difference >> SCORE.fraction, 31)
    return np.asarray(_EXP2[difference & ((1 << SCORE.fraction) - 1)] >> whole, dtype=np.int64)


def log2(value: Integers) -> Integers:
    """log2 of positive integers below 2**34, as LOG2."""
    exponent = np.frexp(value.astype(np.float64))[1].astype(np.int64) - 1
    top = LOG2_TABLE.index_bits + LOG2_TABLE.fraction_bits
    normal = np.where(
        exponent >= top,
        value >> np.maximum(exponent - top, 0),
        value << np.maximum(top - exponent, 0),
    )
    index = (normal >> LOG2_TABLE.fraction_bits) & ((1 << LOG2_TABLE.index_bits) - 1)
    rest = normal & ((1 << LOG2_TABLE.fraction_bits) - 1)
    return (exponent << LOG2.fraction) + interpolate(LOG2_TABLE, index, rest)


UNIT_MANTISSA = 1 << MANTISSA.fraction
"""1.0 as MANTISSA."""

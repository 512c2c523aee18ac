"""Elementary functions against the mathematical ones."""

import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from jalgateware.contract.formats import LOG2, MANTISSA, PROBABILITY, SCORE, SIGMOID, VECTOR
from jalgateware.golden.functions import exp2_negative, log2, reciprocal, rsqrt, sigmoid

ONE = 1 << MANTISSA.fraction


@given(st.integers(1, (1 << 32) - 1))
@example(1)
@example((1 << 32) - 1)
@example((1 << 31) - 1)
def test_reciprocal(value: int) -> None:
    mantissa, exponent = reciprocal(value)
    assert exponent == value.bit_length() - 1
    assert ONE <= mantissa <= MANTISSA.maximum
    result = mantissa / ONE / 2.0 ** (exponent + 1)
    # Interpolation over 256 intervals, and 17 bits.
    assert abs(result * value - 1) < 2**-15


@given(st.integers(1, (1 << 76) - 1))
@example(1)
@example(2)
@example(3)
@example((1 << 76) - 1)
def test_reciprocal_square_root(value: int) -> None:
    mantissa, exponent = rsqrt(value)
    assert exponent == (value.bit_length() - 1) // 2
    assert ONE <= mantissa <= MANTISSA.maximum
    result = mantissa / ONE / 2.0 ** (exponent + 1)
    assert abs(result * math.sqrt(value) - 1) < 2**-15


def test_sigmoid_everywhere() -> None:
    x = np.arange(-18 << 16, 18 << 16, 37, dtype=np.int64)
    exact = 1 / (1 + np.exp(-x / (1 << VECTOR.fraction)))
    result = sigmoid(x) / (1 << SIGMOID.fraction)
    assert np.abs(result - exact).max() < 2**-14
    assert (np.diff(result) >= 0).all()


@given(st.integers(VECTOR.minimum + 1, VECTOR.maximum))
@example(0)
@example(VECTOR.maximum)
@example((16 << 16) - 1)
@example(16 << 16)
def test_sigmoid_is_symmetric(value: int) -> None:
    both = sigmoid(np.array([value, -value]))
    assert both.sum() == 1 << SIGMOID.fraction
    assert both.min() >= 0


def test_powers_of_two_everywhere() -> None:
    difference = np.arange(0, 40 << SCORE.fraction, dtype=np.int64)
    exact = 2.0 ** (PROBABILITY.fraction - difference / (1 << SCORE.fraction))
    result = exp2_negative(difference)
    # Half a unit from the table; the shifted-out bits are dropped.
    assert (result - exact).max() <= 0.5
    assert (result - exact).min() > -1
    assert result[0] == 1 << PROBABILITY.fraction
    assert (np.diff(result) <= 0).all()


@given(st.lists(st.integers(1, (1 << 34) - 1), min_size=1, max_size=20))
@example([1, 2, 3, (1 << 34) - 1, 1 << 18, (1 << 18) - 1, (1 << 19) - 1])
def test_logarithm(values: list[int]) -> None:
    result = log2(np.array(values, dtype=np.int64)) / (1 << LOG2.fraction)
    exact = np.log2(np.array(values, dtype=np.float64))
    assert np.abs(result - exact).max() < 2**-14

"""Block arithmetic against Python's unlimited integers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jalgateware.contract.formats import (
    ACCUMULATOR,
    BLOCK,
    GUARD_BITS,
    MANTISSA,
    SCALE_BIAS,
    SCALED,
    TERM,
    VECTOR,
    WEIGHT,
)
from jalgateware.golden.blocks import Weights, dot_rows, quantise, scale_output, square_sum
from jalgateware.golden.rounding import Tally

VECTORS = st.integers(VECTOR.minimum, VECTOR.maximum)
MIXED = st.one_of(
    VECTORS, st.integers(-200, 200), st.sampled_from([VECTOR.minimum, VECTOR.maximum])
)


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


@given(st.lists(MIXED, min_size=1, max_size=3 * BLOCK))
@example([VECTOR.minimum] * BLOCK)
@example([VECTOR.maximum, 0])
@example([127, -128])
def test_quantiser_keeps_eight_bits_of_the_largest(vector: list[int]) -> None:
    result = quantise(np.array(vector, dtype=np.int64))
    assert result.elements.shape == (-(-len(vector) // BLOCK), BLOCK)
    padded = vector + [0] * (result.elements.size - len(vector))
    for block, (elements, shift) in enumerate(zip(result.elements, result.shifts, strict=True)):
        part = padded[block * BLOCK : (block + 1) * BLOCK]
        # Bits of the largest magnitude; -128 needs as many as 127.
        bits = max((value if value >= 0 else ~value).bit_length() for value in part)
        assert shift == max(0, bits - 7)
        for element, value in zip(elements.tolist(), part, strict=True):
            assert element == min(half_up(Fraction(value, 1 << int(shift))), 127)


@given(st.lists(MIXED, min_size=1, max_size=2 * BLOCK))
@example([VECTOR.minimum] * 2 * BLOCK)
def test_square_sum_is_exact(vector: list[int]) -> None:
    result = quantise(np.array(vector, dtype=np.int64))
    expected = sum(
        (int(element) << int(shift)) ** 2
        for elements, shift in zip(result.elements, result.shifts, strict=True)
        for element in elements
    )
    assert square_sum(result) == expected < 1 << 76


@given(st.data())
def test_dot_products_are_exact(data: st.DataObject) -> None:
    rows, blocks = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    count = rows * blocks * BLOCK
    byte = st.one_of(st.integers(-127, 127), st.sampled_from([-127, 127]))
    elements = data.draw(st.lists(byte, min_size=count, max_size=count))
    scales = data.draw(
        st.lists(st.integers(90, 150), min_size=rows * blocks, max_size=rows * blocks)
    )
    vector = data.draw(st.lists(MIXED, min_size=blocks * BLOCK, max_size=blocks * BLOCK))
    fraction = data.draw(st.integers(8, 31))
    matrix = np.array(elements).reshape(blocks, rows, BLOCK)
    scale = np.array(scales, dtype=np.int64).reshape(blocks, rows)
    activations = quantise(np.array(vector, dtype=np.int64))
    tally = Tally()
    result = dot_rows(Weights(matrix.astype(np.float32), scale), activations, fraction, tally)

    saturations = 0
    for row in range(rows):
        total = 0
        for block in range(blocks):
            pairs = zip(matrix[block, row], activations.elements[block], strict=True)
            dot = sum(int(w) * int(x) for w, x in pairs)
            exponent = int(scale[block, row]) + int(activations.shifts[block])
            exponent += fraction - SCALE_BIAS - WEIGHT.fraction - VECTOR.fraction
            term = half_up(dot * Fraction(2) ** exponent)
            if dot and exponent > 19:
                saturations += 1
                term = TERM.minimum if dot < 0 else TERM.maximum
            assert TERM.minimum <= term <= TERM.maximum
            total += term
        assert result[row] == total
        assert ACCUMULATOR.minimum <= total <= ACCUMULATOR.maximum
    assert tally.saturations == saturations


@given(
    st.integers(ACCUMULATOR.minimum, ACCUMULATOR.maximum),
    st.integers(1 << MANTISSA.fraction, MANTISSA.maximum),
    st.integers(-60, 90),
)
@example(ACCUMULATOR.minimum, MANTISSA.maximum, -60)
@example(1, 1 << 16, 0)
@example(-1, 1 << 16, 1)
def test_output_scaler_rounds_twice(accumulator: int, mantissa: int, shift: int) -> None:
    tally = Tally()
    result = int(scale_output(np.array([accumulator]), mantissa, shift, tally)[0])
    first = half_up(accumulator / Fraction(2) ** min(max(shift, -16), 47))
    clipped = min(max(first, SCALED.minimum), SCALED.maximum)
    second = half_up(Fraction(clipped * mantissa, 1 << (MANTISSA.fraction + GUARD_BITS)))
    expected = min(max(second, VECTOR.minimum), VECTOR.maximum)
    assert result == expected
    assert tally.saturations == int(first != clipped or second != expected)
    assert result == int(scale_output(np.array([accumulator]), mantissa, shift)[0])


@pytest.mark.parametrize("mantissa", [1 << 16, 90_000, MANTISSA.maximum])
def test_output_scaler_is_as_precise_as_a_vector(mantissa: int) -> None:
    random = np.random.default_rng(3)
    accumulators = random.integers(-(1 << 44), 1 << 44, 1000)
    exact = accumulators * (mantissa / 65536) / 2.0 ** (14 + 2)
    # Half a unit of the last place, and half a guard unit times the mantissa.
    assert np.abs(scale_output(accumulators, mantissa, 14) - exact).max() <= 0.5 + 2 * 0.125

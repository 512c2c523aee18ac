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
    E2M1_DOUBLED,
    ELEMENTS,
    GUARD_BITS,
    MANTISSA,
    SCALE_BIAS,
    SCALED,
    TERM,
    VECTOR,
)
from jalgateware.contract.isa import Format
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
    form = data.draw(st.sampled_from(Format))
    if form is Format.MXINT8:
        element = st.one_of(st.integers(-127, 127), st.sampled_from([-127, 127]))
    else:
        element = st.sampled_from([*E2M1_DOUBLED, *(-item for item in E2M1_DOUBLED)])
    elements = data.draw(st.lists(element, min_size=count, max_size=count))
    scale_byte = st.one_of(st.integers(90, 150), st.sampled_from([0, 254, 255]))
    scales = data.draw(st.lists(scale_byte, min_size=rows * blocks, max_size=rows * blocks))
    vector = data.draw(st.lists(MIXED, min_size=blocks * BLOCK, max_size=blocks * BLOCK))
    fraction = data.draw(st.integers(8, 31))
    matrix = np.array(elements).reshape(blocks, rows, BLOCK)
    scale = np.array(scales, dtype=np.int64).reshape(blocks, rows)
    activations = quantise(np.array(vector, dtype=np.int64))
    tally = Tally()
    weights = Weights(matrix.astype(np.float32), scale, ELEMENTS[form].fraction)
    result = dot_rows(weights, activations, fraction, tally)

    saturations = 0
    for row in range(rows):
        total = 0
        for block in range(blocks):
            pairs = zip(matrix[block, row], activations.elements[block], strict=True)
            dot = sum(int(w) * int(x) for w, x in pairs)
            exponent = int(scale[block, row]) + int(activations.shifts[block])
            exponent += fraction - SCALE_BIAS - ELEMENTS[form].fraction - VECTOR.fraction
            term = half_up(dot * Fraction(2) ** exponent)
            if dot and exponent > 19:
                saturations += 1
                term = TERM.minimum if dot < 0 else TERM.maximum
            assert TERM.minimum <= term <= TERM.maximum
            total += term
        assert result[row] == total
        assert ACCUMULATOR.minimum <= total <= ACCUMULATOR.maximum
    assert tally.saturations == saturations


@pytest.mark.parametrize("scale", [0, 254, 255])
@pytest.mark.parametrize("element", [0, 1, -1, 12, -12])
def test_mxfp4_blocks_at_the_ends_of_the_scale(scale: int, element: int) -> None:
    elements = np.zeros((1, 1, BLOCK), dtype=np.float32)
    elements[0, 0, 0] = element
    weights = Weights(elements, np.array([[scale]]), ELEMENTS[Format.MXFP4].fraction)
    tally = Tally()
    vector = np.zeros(BLOCK, dtype=np.int64)
    vector[0] = VECTOR.maximum
    result = int(dot_rows(weights, quantise(vector), 31, tally)[0])
    # 2**-127 is below every rounding; 2**127, and 255 (2**128, no NaN), are beyond every TERM.
    large = scale >= 254 and element != 0
    assert result == ((TERM.maximum if element > 0 else TERM.minimum) if large else 0)
    assert tally.saturations == large


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

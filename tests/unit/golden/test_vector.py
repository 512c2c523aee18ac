"""Rotary embedding, narrowing and SwiGLU against real arithmetic."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from jalgateware.contract.formats import KV, ROTATION, VECTOR
from jalgateware.golden.rounding import Tally
from jalgateware.golden.vector import narrow, rotate, swiglu

VECTORS = st.integers(VECTOR.minimum, VECTOR.maximum)


def clipped(value: int) -> int:
    return min(max(value, KV.minimum), KV.maximum)


@given(VECTORS, VECTORS, st.floats(0, 2 * math.pi), st.integers(0, 16))
@example(VECTOR.minimum, VECTOR.minimum, math.pi / 4, 0)
def test_rotation_is_exact_up_to_its_rounding(a: int, b: int, angle: float, shift: int) -> None:
    cosine = round(math.cos(angle) * (1 << ROTATION.fraction))
    sine = round(math.sin(angle) * (1 << ROTATION.fraction))
    tally = Tally()
    result = rotate(np.array([a, b]), np.array([cosine]), np.array([sine]), shift, tally).tolist()
    exact = [a * cosine - b * sine, a * sine + b * cosine]
    unit = 1 << (ROTATION.fraction + shift)
    rounded = [math.floor(Fraction(value, unit) + Fraction(1, 2)) for value in exact]
    assert result == [clipped(value) for value in rounded]
    assert tally.saturations == sum(clipped(value) != value for value in rounded)


def test_heads_share_the_angles() -> None:
    rows = np.arange(16) << 16
    one, zero = np.full(2, 1 << ROTATION.fraction), np.zeros(2, dtype=np.int64)
    # A quarter turn: (a, b) becomes (-b, a), head by head.
    turned = rotate(rows, zero, one, 8).reshape(-1, 2)
    pairs = narrow(rows, 8).reshape(-1, 2)
    assert np.array_equal(turned, np.stack([-pairs[:, 1], pairs[:, 0]], axis=1))


@given(VECTORS, st.integers(0, 16))
def test_narrowing_rounds_and_clips(value: int, shift: int) -> None:
    rounded = math.floor(Fraction(value, 1 << shift) + Fraction(1, 2))
    assert narrow(np.array([value]), shift).tolist() == [clipped(rounded)]


@given(st.floats(-100, 100), st.floats(-100, 100))
@example(0.0, 5.0)
@example(-16.0, 100.0)
def test_swiglu_is_close(gate: float, up: float) -> None:
    rows = np.rint(np.array([gate, up]) * (1 << VECTOR.fraction)).astype(np.int64)
    result = int(swiglu(rows)[0]) / (1 << VECTOR.fraction)
    gate, up = (float(row) / (1 << VECTOR.fraction) for row in rows)
    expected = gate / (1 + math.exp(-gate)) * up
    # The sigmoid's error, 2**-14, times both factors; half a unit from each of two roundings.
    assert abs(result - expected) <= 2**-14 * abs(gate * up) + 2**-17 * (1 + abs(up))


def test_swiglu_saturates() -> None:
    tally = Tally()
    large = VECTOR.maximum
    assert swiglu(np.array([large, large, large, -large]), tally).tolist() == [
        VECTOR.maximum,
        VECTOR.minimum,
    ]
    assert tally.saturations == 2

"""Rounding and saturation against exact rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from jalgateware.contract.formats import KV, PROBABILITY, VECTOR, Fixed
from jalgateware.golden.rounding import Tally, rounding_shift, saturate


def integers(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@given(st.integers(-(1 << 60), 1 << 60), st.integers(0, 62))
@example(1, 1)
@example(-1, 1)
@example(-3, 1)
@example((1 << 60) - 1, 62)
def test_right_shifts_round_half_up(value: int, shift: int) -> None:
    expected = math.floor(Fraction(value, 1 << shift) + Fraction(1, 2))
    assert int(rounding_shift(integers(value), shift)[0]) == expected


@given(st.integers(-(1 << 38), 1 << 38), st.integers(0, 24))
def test_negative_shifts_multiply(value: int, shift: int) -> None:
    assert int(rounding_shift(integers(value), -shift)[0]) == value << shift


def test_each_element_has_its_shift() -> None:
    assert rounding_shift(integers(5, 5, 5), integers(1, 0, -1)).tolist() == [3, 5, 10]


@given(
    st.sampled_from([VECTOR, KV, PROBABILITY, Fixed(5, 2)]),
    st.lists(st.integers(-(1 << 50), 1 << 50), min_size=1, max_size=8),
)
def test_saturation_clips_and_counts(form: Fixed, values: list[int]) -> None:
    tally = Tally()
    clipped = saturate(integers(*values), form, tally).tolist()
    assert clipped == [min(max(value, form.minimum), form.maximum) for value in values]
    assert tally.saturations == sum(a != b for a, b in zip(clipped, values, strict=True))

"""The delay line against a list."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.units.delay_line import DelayLine
from jaltest.gateware import Pipeline


@pytest.mark.parametrize("cycles", [3, 4, 9, 16, 17, 26])
def test_gives_back_what_went_in(cycles: int) -> None:
    unit = DelayLine(8, cycles)
    rows = [(37 * i % 256,) for i in range(100)]
    assert Pipeline(unit, [unit.input], [unit.output], cycles).run(rows) == rows


@given(
    bits=st.integers(1, 60),
    cycles=st.integers(3, 33),
    words=st.lists(st.integers(0), min_size=1, max_size=80),
)
@settings(max_examples=10)
def test_any_size(bits: int, cycles: int, words: list[int]) -> None:
    unit = DelayLine(bits, cycles)
    rows = [(word % (1 << bits),) for word in words]
    assert Pipeline(unit, [unit.input], [unit.output], cycles).run(rows) == rows


def test_is_not_for_short_delays() -> None:
    with pytest.raises(ValueError, match="a delay line is for 3 cycles and more, not 2"):
        DelayLine(8, 2)

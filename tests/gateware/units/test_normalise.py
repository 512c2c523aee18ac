"""Leading one and the bits behind it against integer arithmetic."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.units.normalise import Normaliser
from jaltest.gateware import Pipeline


def check(bits: int, kept: int, values: list[int]) -> None:
    unit = Normaliser(bits, kept)
    pipeline = Pipeline(unit, [unit.value], [unit.exponent, unit.fraction], unit.LATENCY)
    expected = []
    for value in values:
        exponent = value.bit_length() - 1
        expected.append((exponent, (value << kept >> exponent) & ((1 << kept) - 1)))
    assert pipeline.run([(value,) for value in values]) == expected


@pytest.mark.parametrize("bits", [2, 16, 17, 22, 32, 64, 76])
def test_around_every_power_of_two(bits: int) -> None:
    values = {(1 << i) + step for i in range(bits) for step in (-1, 0, 1)}
    check(bits, 18, sorted(value for value in values if 0 < value < 1 << bits))


@given(
    bits=st.integers(2, 80),
    kept=st.integers(1, 24),
    values=st.lists(st.tuples(st.integers(1), st.integers(0, 80)), min_size=1, max_size=60),
)
@settings(max_examples=20)
def test_anything(bits: int, kept: int, values: list[tuple[int, int]]) -> None:
    check(bits, kept, [((value % (1 << bits)) >> (shift % bits)) or 1 for value, shift in values])

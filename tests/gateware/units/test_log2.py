"""Logarithm against the golden model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.golden.functions import log2
from jalgateware.units.log2 import Log2
from jaltest.gateware import Pipeline

WIDTHS = [22, 32]
"""Of the sampler's two logarithms."""


def check(bits: int, values: list[int]) -> None:
    unit = Log2(bits)
    answers = Pipeline(unit, [unit.value], [unit.result], unit.LATENCY).run(
        [(value,) for value in values]
    )
    expected = log2(np.array(values, dtype=np.int64)).tolist()
    for value, (answer,), golden in zip(values, answers, expected, strict=True):
        assert answer == golden, f"log2({value})"


@pytest.mark.parametrize("bits", WIDTHS)
def test_around_every_power_of_two(bits: int) -> None:
    values = {(1 << i) + step for i in range(bits + 1) for step in (-2, -1, 0, 1, 2)}
    check(bits, sorted(value for value in values if 0 < value < 1 << bits))


@given(
    bits=st.sampled_from(WIDTHS),
    values=st.lists(
        st.tuples(st.integers(1, (1 << 32) - 1), st.integers(0, 31)), min_size=1, max_size=100
    ),
)
@settings(max_examples=15)
def test_any_value(bits: int, values: list[tuple[int, int]]) -> None:
    check(bits, [((value % (1 << bits)) >> (shift % bits)) or 1 for value, shift in values])

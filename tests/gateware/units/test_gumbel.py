"""Gumbel noise against the golden model, and against the real function."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.contract.formats import LOG2
from jalgateware.golden.sampler import gumbel
from jalgateware.units.gumbel import Gumbel
from jaltest.gateware import Pipeline

ONES = (1 << 32) - 1


def run(values: list[int]) -> list[int]:
    unit = Gumbel()
    pipeline = Pipeline(unit, [unit.uniform], [unit.noise], unit.LATENCY)
    return [noise for (noise,) in pipeline.run([(value,) for value in values])]


def check(values: list[int]) -> None:
    expected = gumbel(np.array(values, dtype=np.int64)).tolist()
    for value, answer, golden in zip(values, run(values), expected, strict=True):
        assert answer == golden, f"noise of {value:08x}"


def test_around_every_power_of_two_from_both_ends() -> None:
    small = sorted({max(0, (1 << i) + step) for i in range(32) for step in (-2, -1, 0, 1)})
    check(small + [ONES - value for value in small])


@given(
    values=st.lists(
        st.tuples(st.integers(0, ONES), st.integers(0, 31), st.booleans()),
        min_size=1,
        max_size=100,
    )
)
@settings(max_examples=15)
def test_any_value(values: list[tuple[int, int, bool]]) -> None:
    check([(value >> shift) ^ (ONES if mirror else 0) for value, shift, mirror in values])


def test_is_the_function_that_it_claims_to_be() -> None:
    values = [0, 1, 1000, 1 << 20, ONES // 3, ONES // 2, ONES // 2 + 1, ONES - (1 << 20), ONES]
    for value, noise in zip(values, run(values), strict=True):
        real = -math.log2(-math.log((value + 0.5) / 2**32))
        assert abs(noise / (1 << LOG2.fraction) - real) < 2e-4, f"noise of {value:08x}"

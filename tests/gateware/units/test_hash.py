"""Hash against the golden model."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.golden.sampler import hash32
from jalgateware.units.hash import Hash32
from jaltest.gateware import Pipeline


def check(values: list[int]) -> None:
    unit = Hash32()
    answers = Pipeline(unit, [unit.value], [unit.result], unit.LATENCY).run(
        [(value,) for value in values]
    )
    expected = hash32(np.array(values, dtype=np.int64)).tolist()
    assert [f"{answer:08x}" for (answer,) in answers] == [f"{value:08x}" for value in expected]


def test_every_bit_alone_and_missing() -> None:
    ones = (1 << 32) - 1
    bits = [1 << i for i in range(32)]
    check([0, ones, *bits, *[ones ^ bit for bit in bits]])


@given(values=st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=100))
@settings(max_examples=15)
def test_any_value(values: list[int]) -> None:
    check(values)

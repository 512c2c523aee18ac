"""Sigmoid against the golden model."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.contract.formats import SIGMOID, VECTOR
from jalgateware.contract.tables import SIGMOID_RANGE_BITS
from jalgateware.golden.functions import sigmoid
from jalgateware.units.sigmoid import Sigmoid
from jaltest.gateware import Pipeline

RANGE = 1 << (SIGMOID_RANGE_BITS + VECTOR.fraction)
"""The table's end as VECTOR."""


def check(values: list[int], gaps: float = 0.0) -> None:
    unit = Sigmoid()
    pipeline = Pipeline(
        unit, [unit.value], [unit.result], unit.LATENCY, (unit.valid_in, unit.valid_out)
    )
    answers = pipeline.run([(value,) for value in values], gaps)
    expected = sigmoid(np.array(values, dtype=np.int64)).tolist()
    for value, (answer,), golden in zip(values, answers, expected, strict=True):
        assert answer == golden, f"sigmoid of {value}"
        assert 0 <= answer <= 1 << SIGMOID.fraction


def test_extremes_and_the_ends_of_the_table() -> None:
    steps = (-1, 0, 1)
    ends = [end + step for end in (-RANGE, 0, RANGE) for step in steps]
    check([VECTOR.minimum, VECTOR.minimum + 1, *ends, VECTOR.maximum])


def test_around_every_power_of_two() -> None:
    powers = [(1 << i) + step for i in range(VECTOR.bits - 1) for step in (-1, 0, 1)]
    check([sign * power for power in powers for sign in (1, -1)])


@given(
    values=st.lists(
        st.integers(-RANGE - 9, RANGE + 9) | st.integers(VECTOR.minimum, VECTOR.maximum),
        min_size=1,
        max_size=100,
    ),
    gaps=st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=15)
def test_any_value(values: list[int], gaps: float) -> None:
    check(values, gaps)

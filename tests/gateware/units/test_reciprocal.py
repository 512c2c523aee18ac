"""Reciprocal against the golden model."""

from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.contract.formats import SUM_BITS
from jalgateware.golden.functions import reciprocal
from jalgateware.units.reciprocal import Reciprocal
from jaltest.gateware import Pipeline


def check(values: list[int], gaps: float = 0.0) -> None:
    unit = Reciprocal()
    pipeline = Pipeline(
        unit,
        [unit.value],
        [unit.mantissa, unit.exponent],
        unit.LATENCY,
        (unit.valid_in, unit.valid_out),
    )
    answers = pipeline.run([(value,) for value in values], gaps)
    for value, answer in zip(values, answers, strict=True):
        assert answer == reciprocal(value), f"1 / {value}"


def test_around_every_power_of_two() -> None:
    values = {(1 << i) + step for i in range(SUM_BITS + 1) for step in (-2, -1, 0, 1, 2)}
    check(sorted(value for value in values if 0 < value < 1 << SUM_BITS))


@given(
    values=st.lists(st.integers(1, (1 << SUM_BITS) - 1), min_size=1, max_size=100),
    shift=st.integers(0, SUM_BITS - 1),
    gaps=st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=15)
def test_any_value(values: list[int], shift: int, gaps: float) -> None:
    check([(value >> shift) or 1 for value in values], gaps)

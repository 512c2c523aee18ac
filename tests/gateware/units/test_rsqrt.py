"""Reciprocal square root against the golden model."""

from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.contract.formats import SQUARE_SUM_BITS
from jalgateware.golden.functions import rsqrt
from jalgateware.units.rsqrt import ReciprocalRoot
from jaltest.gateware import Pipeline


def check(values: list[int], gaps: float = 0.0) -> None:
    unit = ReciprocalRoot()
    pipeline = Pipeline(
        unit,
        [unit.value],
        [unit.mantissa, unit.k],
        unit.LATENCY,
        (unit.valid_in, unit.valid_out),
    )
    answers = pipeline.run([(value,) for value in values], gaps)
    for value, answer in zip(values, answers, strict=True):
        assert answer == rsqrt(value), f"1 / sqrt({value})"


def test_around_every_power_of_two() -> None:
    values = {(1 << i) + step for i in range(SQUARE_SUM_BITS + 1) for step in (-2, -1, 0, 1, 2)}
    check(sorted(value for value in values if 0 < value < 1 << SQUARE_SUM_BITS))


@given(
    values=st.lists(st.integers(1, (1 << SQUARE_SUM_BITS) - 1), min_size=1, max_size=100),
    shift=st.integers(0, SQUARE_SUM_BITS - 1),
    gaps=st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=15)
def test_any_value(values: list[int], shift: int, gaps: float) -> None:
    check([(value >> shift) or 1 for value in values], gaps)

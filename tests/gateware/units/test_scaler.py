"""The output scaler against the golden model."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.contract.formats import ACCUMULATOR, MANTISSA
from jalgateware.golden.blocks import scale_output
from jalgateware.golden.rounding import Tally
from jalgateware.units.scaler import SHIFT_BITS, Scaler
from jaltest.gateware import Pipeline

SHIFTS = st.integers(-(1 << (SHIFT_BITS - 1)), (1 << (SHIFT_BITS - 1)) - 1)
MANTISSAS = st.integers(0, (1 << MANTISSA.bits) - 1)


def check(rows: list[tuple[int, int, int]], gaps: float = 0.0) -> None:
    unit = Scaler()
    pipeline = Pipeline(
        unit,
        [unit.accumulator, unit.mantissa, unit.shift],
        [unit.result, unit.saturated],
        unit.LATENCY,
        (unit.valid, unit.result_valid),
    )
    answers = pipeline.run(rows, gaps)
    for (accumulator, mantissa, shift), answer in zip(rows, answers, strict=True):
        tally = Tally()
        expected = scale_output(np.array([accumulator]), mantissa, shift, tally)
        assert answer == (int(expected[0]), tally.saturations), (accumulator, mantissa, shift)


def test_every_shift() -> None:
    ends = (ACCUMULATOR.minimum, -3, -1, 1, 3, 0x123456789ABC, ACCUMULATOR.maximum)
    check([(end, 0x1A5A5, shift) for shift in range(-24, 56) for end in ends])


def test_ends_of_the_shift() -> None:
    check([(value, 1 << 16, shift) for value in (-5, 5, 1 << 46) for shift in (-128, 127)])


def test_every_bit_of_the_mantissa() -> None:
    check([(sign << 20, 1 << bit, 3) for bit in range(MANTISSA.bits) for sign in (1, -1)])


@given(
    rows=st.lists(
        st.tuples(
            st.integers(ACCUMULATOR.minimum, ACCUMULATOR.maximum) | st.integers(-1000, 1000),
            MANTISSAS,
            SHIFTS | st.integers(-16, 47),
        ),
        min_size=1,
        max_size=100,
    ),
    gaps=st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=10)
def test_any_value(rows: list[tuple[int, int, int]], gaps: float) -> None:
    check(rows, gaps)

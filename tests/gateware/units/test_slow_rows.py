"""Units of an engine of slow rows, one value at a time, against the golden model."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from migen import Signal

from jalgateware.contract.config import ROW_CYCLES, EngineConfig
from jalgateware.contract.formats import ACCUMULATOR, MANTISSA, SQUARE_SUM_BITS, VECTOR
from jalgateware.golden.blocks import scale_output
from jalgateware.golden.functions import rsqrt
from jalgateware.golden.rounding import Tally
from jalgateware.golden.vector import swiglu
from jalgateware.units.normalise import SlowNormaliser
from jalgateware.units.rsqrt import ReciprocalRoot
from jalgateware.units.scaler import SHIFT_BITS, Scaler
from jalgateware.units.swiglu import SwiGlu
from jaltest.gateware import Process, pulse, simulate
from jaltest.vector_unit import Bench

Row = tuple[int, ...]


def one_by_one(
    unit: Any, inputs: list[Signal], valid: tuple[Signal, Signal], outputs: list[Signal],
    rows: list[Row], most: int, least: int = 0, stays: int = 0,
) -> list[Row]:  # fmt: skip
    """The answers to rows, each there after ``least`` to ``most`` cycles, for ``stays`` more."""
    found: list[Row] = []

    def sample() -> Process:
        values = []
        for signal in outputs:
            values.append((yield signal))
        return tuple(values)

    def main() -> Process:
        for row in rows:
            for signal, value in zip(inputs, row, strict=True):
                yield signal.eq(value)
            yield from pulse(valid[0])
            waited = 1
            while not (yield valid[1]):
                assert waited <= most, row
                waited += 1
                yield
            assert waited >= least, row
            found.append((yield from sample()))
            yield
            assert not (yield valid[1])
            for _ in range(stays):
                assert (yield from sample())[0] == found[-1][0]
                yield

    simulate(unit, [main()])
    return found


def check_scaler(rows: list[Row]) -> None:
    unit = Scaler(slow=True)
    inputs = [unit.accumulator, unit.mantissa, unit.shift]
    outputs, valid = [unit.result, unit.saturated], (unit.valid, unit.result_valid)
    latency = unit.latency
    stays = ROW_CYCLES - 1 - latency
    answers = one_by_one(unit, inputs, valid, outputs, rows, latency, latency, stays)
    for (accumulator, mantissa, shift), answer in zip(rows, answers, strict=True):
        tally = Tally()
        expected = scale_output(np.array([accumulator]), mantissa, shift, tally)
        assert answer == (int(expected[0]), tally.saturations), (accumulator, mantissa, shift)


def test_every_shift() -> None:
    ends = (ACCUMULATOR.minimum, -3, 3, 0x123456789ABC, ACCUMULATOR.maximum)
    check_scaler([(end, 0x1A5A5, shift) for shift in range(-24, 56) for end in ends])
    check_scaler([(value, 1 << 16, shift) for value in (-5, 1 << 46) for shift in (-128, 127)])


@given(
    rows=st.lists(
        st.tuples(
            st.integers(ACCUMULATOR.minimum, ACCUMULATOR.maximum) | st.integers(-1000, 1000),
            st.integers(0, (1 << MANTISSA.bits) - 1),
            st.integers(-(1 << (SHIFT_BITS - 1)), (1 << (SHIFT_BITS - 1)) - 1),
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=10)
def test_any_row(rows: list[Row]) -> None:
    check_scaler(rows)


@pytest.mark.parametrize(("bits", "kept"), [(2, 18), (17, 4), (76, 18)])
def test_normaliser(bits: int, kept: int) -> None:
    unit = SlowNormaliser(bits, kept)
    steps = {(1 << i) + step for i in range(bits) for step in (-1, 0, 1)}
    values = sorted(value for value in steps if 0 < value < 1 << bits)
    valid, outputs = (unit.valid_in, unit.valid_out), [unit.exponent, unit.fraction]
    rows: list[Row] = [(value,) for value in values]
    answers = one_by_one(unit, [unit.value], valid, outputs, rows, bits + 1)
    for value, answer in zip(values, answers, strict=True):
        exponent = value.bit_length() - 1
        assert answer == (exponent, (value << kept >> exponent) & ((1 << kept) - 1))


@given(
    values=st.lists(st.integers(1, (1 << SQUARE_SUM_BITS) - 1), min_size=1, max_size=20),
    shift=st.integers(0, SQUARE_SUM_BITS - 1),
)
@settings(max_examples=10)
def test_reciprocal_root(values: list[int], shift: int) -> None:
    unit = ReciprocalRoot(slow=True)
    valid, outputs = (unit.valid_in, unit.valid_out), [unit.mantissa, unit.k]
    rows: list[Row] = [((value >> shift) or 1,) for value in values]
    answers = one_by_one(unit, [unit.value], valid, outputs, rows, unit.SLOW_LATENCY)
    assert answers == [rsqrt(value) for (value,) in rows]


@given(rows=st.lists(st.integers(VECTOR.minimum, VECTOR.maximum), min_size=2, max_size=30))
@settings(max_examples=10)
def test_swiglu(rows: list[int]) -> None:
    rows = rows[: len(rows) // 2 * 2]
    unit, found = SwiGlu(slow=True), []

    def main() -> Process:
        for number, value in enumerate(rows):
            yield unit.value.eq(value)
            yield unit.odd.eq(number % 2)
            yield from pulse(unit.valid)
            for _ in range(SwiGlu.LATENCY + 1):
                if (yield unit.result_valid):
                    found.append((yield unit.result))
                yield

    simulate(unit, [main()])
    assert found == swiglu(np.array(rows), Tally()).tolist()


@pytest.mark.parametrize(("stall", "size"), [(0.0, 24), (0.3, 30), (0.0, 48)])
@pytest.mark.parametrize("lanes", [4, 16])
def test_vector_unit(lanes: int, stall: float, size: int) -> None:
    found = Bench(lanes, stall, size, seed=lanes, options=("slow_rows",)).check()
    assert (found > 50) == (size == 48)


@pytest.mark.parametrize("options", [{"tokens": 2}, {"qkv_bias": True}, {"qk_norm": True}])
def test_what_slow_rows_do_not_go_with(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="slow_rows goes with one token row"):
        EngineConfig(slow_rows=True, **options)

"""Delays, adder trees and range checks of valid-only pipelines."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from litex.gen import LiteXModule
from migen import Signal, run_simulation
from migen.fhdl.tools import list_signals, list_targets

from jalgateware.contract.config import EngineConfig
from jalgateware.units.lanes import Lanes
from jalgateware.units.pipeline import delayed, fits, registered_sum, sum_latency
from jalgateware.units.quantiser import Quantiser
from jalgateware.units.sequencer import Sequencer
from jalgateware.units.vector_unit import VectorUnit
from jaltest.gateware import Pipeline, Process, simulate


@pytest.mark.parametrize("cycles", [1, 2, 7])
def test_delayed_gives_what_was(cycles: int) -> None:
    unit: Any = LiteXModule()
    unit.value = Signal((8, True))
    answer = delayed(unit, unit.value, cycles)
    rows = [(value,) for value in (-128, 127, 0, -1, *range(40))]
    assert Pipeline(unit, [unit.value], [answer], cycles).run(rows) == rows


def test_delayed_starts_at_zero_whatever_the_signal_starts_at() -> None:
    unit: Any = LiteXModule()
    unit.value = Signal(8, reset=200)
    answer = delayed(unit, unit.value, 2)
    seen = []

    def watch() -> Process:
        for _ in range(3):
            seen.append((yield answer))
            yield

    simulate(unit, [watch()])
    assert seen == [0, 0, 200]


def test_no_delay_is_the_signal_itself() -> None:
    signal = Signal(8)
    assert delayed(LiteXModule(), signal, 0) is signal


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 32])
def test_sums_are_exact_and_take_the_time_that_is_told(count: int) -> None:
    unit: Any = LiteXModule()
    terms = [Signal((8, True)) for _ in range(count)]
    total, latency = registered_sum(unit, terms)
    assert latency == sum_latency(count)
    pick = random.Random(count)
    rows = [(-128,) * count, (127,) * count, (0,) * count, tuple([-128, 127] * count)[:count]]
    rows += [tuple(pick.randrange(-128, 128) for _ in terms) for _ in range(20)]
    unit.sync += Signal().eq(0)  # one term alone needs no register
    answers = Pipeline(unit, terms, [total], latency).run(rows)
    assert answers == [(sum(row),) for row in rows]


@pytest.mark.parametrize("bits", [1, 5, 8])
def test_fits_tells_what_a_narrower_signal_can_hold(bits: int) -> None:
    unit: Any = LiteXModule()
    unit.value, unit.result = Signal((8, True)), Signal()
    unit.sync += unit.result.eq(fits(unit.value, bits))
    values = range(-128, 128)
    answers = Pipeline(unit, [unit.value], [unit.result], 1).run([(value,) for value in values])
    half = 1 << (bits - 1)
    assert answers == [(int(-half <= value < half),) for value in values]


@pytest.mark.parametrize("unit", [Lanes, Quantiser, Sequencer, VectorUnit])
def test_compiled_simulation_is_that_of_migen(unit: Callable[[EngineConfig], Any]) -> None:
    """All signals of units with noise at their inputs, cycle by cycle."""
    config = EngineConfig(lanes=4, max_dim=32, max_hidden=32, max_head_dim=16)
    compiled, interpreted = (trace_of(unit(config), run) for run in (simulate, run_simulation))
    assert compiled == interpreted
    changing = [column for column in zip(*compiled, strict=True) if len(set(column)) > 1]
    assert len(changing) > len(compiled[0]) / 2


def trace_of(unit: Any, run: Callable[[Any, list[Process]], None]) -> list[list[int]]:
    fragment = unit.get_fragment()
    signals = sorted(list_signals(fragment), key=lambda signal: int(signal.duid))
    inputs = [signal for signal in signals if signal not in list_targets(fragment)]
    pick = random.Random(5)
    trace: list[list[int]] = []

    def noise() -> Process:
        for _ in range(200):
            for signal in inputs:
                if pick.random() < 0.7:
                    yield signal.eq(pick.getrandbits(len(signal)))
            trace.append((yield signals))
            yield

    run(fragment, [noise()])
    return trace

"""The simulation helpers find the faults that they are there for."""

from typing import Any

import pytest
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import If, Signal, run_simulation

from jalgateware.units.pipeline import delayed
from jaltest.gateware import Clock, Pipeline, Process, Receiver, Sender


def doubler(latency: int, valid_latency: int) -> Any:
    """Doubles and negates in ``latency`` cycles; the valid bit takes ``valid_latency``."""
    unit = LiteXModule()
    unit.value, unit.result = Signal(8), Signal((10, True))
    unit.valid_in, unit.valid_out = Signal(), Signal()
    unit.comb += [
        unit.result.eq(-2 * delayed(unit, unit.value, latency)),
        unit.valid_out.eq(delayed(unit, unit.valid_in, valid_latency)),
    ]
    return unit


def pipeline(latency: int, valid_latency: int, expected: int) -> Pipeline:
    unit = doubler(latency, valid_latency)
    valid = (unit.valid_in, unit.valid_out)
    return Pipeline(unit, [unit.value], [unit.result], expected, valid)


@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize("latency", [0, 1, 3])
def test_pipeline_collects_the_answers(latency: int, gaps: float) -> None:
    rows = [(value,) for value in range(40)]
    answers = pipeline(latency, latency, latency).run(rows, gaps)
    assert answers == [(-2 * value,) for (value,) in rows]


def test_pipeline_of_another_latency_answers_otherwise() -> None:
    unit = doubler(3, 0)
    answers = Pipeline(unit, [unit.value], [unit.result], 2).run([(1,), (2,), (3,)])
    assert answers == [(0,), (-2,), (-4,)]


def test_pipeline_notices_a_late_valid() -> None:
    with pytest.raises(AssertionError, match="valid in cycle 3"):
        pipeline(2, 3, 2).run([(1,), (2,)])


def test_pipeline_notices_a_valid_gap() -> None:
    unit = doubler(1, 1)
    stuck = Signal(reset=1)
    with pytest.raises(AssertionError, match="valid in cycle 0"):
        Pipeline(unit, [unit.value], [unit.result], 1, (unit.valid_in, stuck)).run([(1,)])


def wire(changes: bool = False) -> Any:
    """A stream from a sender to a receiver; with ``changes``, its payload comes and goes."""
    unit = LiteXModule()
    layout = [("a", 8), ("b", 8)]
    unit.sink, unit.source = stream.Endpoint(layout), stream.Endpoint(layout)
    unit.comb += unit.sink.connect(unit.source)
    if changes:
        count = Signal(2)
        unit.sync += count.eq(count + 1)
        unit.comb += If(count[1], unit.source.b.eq(0))
    return unit


def transfer(link: Any, stall: float, after_valid: bool) -> tuple[list[tuple[int, int]], Receiver]:
    clock = Clock()
    values = [(value, 255 - value) for value in range(30)]
    sender = Sender(link.sink, [link.sink.a, link.sink.b], values, stall, seed=1)
    fields = [link.source.a, link.source.b]
    receiver = Receiver(link.source, fields, clock, stall, after_valid, seed=2)

    def drain() -> Process:
        while len(receiver.values) < len(values):
            yield

    run_simulation(link, [clock.process(), sender.process(), receiver.process(), drain()])
    return values, receiver


@pytest.mark.parametrize("after_valid", [False, True])
@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_stream_arrives_once_and_in_order(stall: float, after_valid: bool) -> None:
    values, receiver = transfer(wire(), stall, after_valid)
    assert receiver.values == values


def test_stream_without_stalls_flows_every_cycle() -> None:
    _, receiver = transfer(wire(), 0.0, False)
    first = receiver.arrivals[0]
    assert receiver.arrivals == list(range(first, first + 30))


def test_receiver_notices_a_payload_that_changes() -> None:
    with pytest.raises(AssertionError, match="was not accepted and became"):
        transfer(wire(changes=True), 0.6, True)

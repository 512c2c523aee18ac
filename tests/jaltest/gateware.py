"""What tests of gateware share: processes for Migen that feed, watch and empty a unit."""

import random
from collections.abc import Generator, Iterable, Sequence
from typing import Any

from migen import Signal, run_simulation

Process = Generator[Any, Any, Any]
"""A process of the simulation: yields statements, expressions, and nothing for the next cycle."""


class Clock:
    """Counts cycles; its process stands first in the list, so that all see the same number."""

    def __init__(self) -> None:
        self.cycle = 0

    def process(self) -> Process:
        yield "passive"
        while True:
            self.cycle += 1
            yield


class Receiver:
    """Consumes a stream, and checks that a payload is held until it is accepted.

    Args:
        source: the stream's endpoint.
        fields: signals of its payload; with one, ``values`` are plain integers, else tuples.
        clock: for ``arrivals``, the cycle of each acceptance.
        stall: probability of not being ready in a cycle.
        after_valid: becomes ready only once something is valid, as some consumers do.
    """

    def __init__(
        self,
        source: Any,
        fields: list[Signal],
        clock: Clock,
        stall: float = 0.0,
        after_valid: bool = False,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.fields = fields
        self.clock = clock
        self.stall = stall
        self.after_valid = after_valid
        self.random = random.Random(seed)
        self.values: list[Any] = []
        self.arrivals: list[int] = []
        self.held: list[int] | None = None

    def clear(self) -> None:
        """Forgets what was received, also what was offered: for streams that an abort cuts off."""
        self.held = None
        self.values.clear()
        self.arrivals.clear()

    def process(self) -> Process:
        yield "passive"
        while True:
            valid, ready = (yield self.source.valid), (yield self.source.ready)
            payload = []
            for field in self.fields if valid else []:
                payload.append((yield field))
            if self.held is not None and payload != self.held:
                raise AssertionError(f"{self.held} was not accepted and became {payload}")
            self.held = payload if valid and not ready else None
            if valid and ready:
                self.values.append(payload[0] if len(payload) == 1 else tuple(payload))
                self.arrivals.append(self.clock.cycle)
            willing = self.random.random() >= self.stall
            if self.after_valid:
                willing = willing and valid and not ready
            yield self.source.ready.eq(int(willing))
            yield


def wait_for(signal: Signal, limit: int = 50000) -> Process:
    """Waits until a signal is 1; returns the number of cycles."""
    for cycle in range(limit):
        if (yield signal):
            return cycle
        yield
    raise AssertionError(f"nothing happened in {limit} cycles")


def pulse(signal: Signal) -> Process:
    """Sets a signal for one cycle; returns in that cycle."""
    yield signal.eq(1)
    yield
    yield signal.eq(0)


class Sender:
    """Feeds a stream, with pauses; what it offers it holds until it is accepted.

    Args:
        sink: the stream's endpoint.
        fields: signals of its payload.
        values: what to send, integers for one field, else tuples.
        stall: probability of a pause before a value.
    """

    def __init__(
        self,
        sink: Any,
        fields: list[Signal],
        values: Sequence[Any],
        stall: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.sink = sink
        self.fields = fields
        self.values = values
        self.stall = stall
        self.random = random.Random(seed)

    def process(self) -> Process:
        for value in self.values:
            while self.random.random() < self.stall:
                yield
            row = value if isinstance(value, tuple) else (value,)
            for field, item in zip(self.fields, row, strict=True):
                yield field.eq(item)
            yield self.sink.valid.eq(1)
            yield
            while not (yield self.sink.ready):
                yield
            yield self.sink.valid.eq(0)


class Pipeline:
    """Checks a valid-only pipeline: fixed latency, one row per cycle, no backpressure.

    Args:
        unit: what to simulate, once for each instance of this class.
        inputs: the signals that a row sets.
        outputs: the signals that answer it.
        latency: cycles between a row and its answer.
        valid: the pipeline's valid input and output, if it has them.
    """

    def __init__(
        self,
        unit: Any,
        inputs: list[Signal],
        outputs: list[Signal],
        latency: int,
        valid: tuple[Signal, Signal] | None = None,
    ) -> None:
        self.unit = unit
        self.inputs = inputs
        self.outputs = outputs
        self.latency = latency
        self.valid = valid

    def run(self, rows: Iterable[tuple[int, ...]], gaps: float = 0.0, seed: int = 0) -> list[Any]:
        """The answers to ``rows``, each sampled exactly ``latency`` cycles behind its row.

        ``gaps`` is the probability of a cycle without a row, in which the inputs are noise. Where
        the pipeline has a valid output, it must be 1 for the rows and 0 for the gaps.
        """
        pick = random.Random(seed)
        slots: list[tuple[int, ...] | None] = []
        for row in rows:
            while pick.random() < gaps:
                slots.append(None)
            slots.append(row)
        answers: list[Any] = []
        run_simulation(self.unit, self._process(slots, pick, answers))
        return answers

    def _process(
        self, slots: list[tuple[int, ...] | None], pick: random.Random, answers: list[Any]
    ) -> Process:
        # What is set in a cycle is there in the next one. Valid is watched from the start.
        start = 1 + self.latency
        for cycle in range(len(slots) + start):
            expected = slots[cycle - start] if cycle >= start else None
            if self.valid:
                assert (yield self.valid[1]) == (expected is not None), f"valid in cycle {cycle}"
            if expected is not None:
                answer = []
                for signal in self.outputs:
                    answer.append((yield signal))
                answers.append(tuple(answer))
            row = slots[cycle] if cycle < len(slots) else None
            noise = tuple(pick.getrandbits(len(signal)) for signal in self.inputs)
            for signal, value in zip(self.inputs, noise if row is None else row, strict=True):
                yield signal.eq(value)
            if self.valid:
                yield self.valid[0].eq(int(row is not None))
            yield

"""What tests of gateware share: processes for Migen that feed, watch and empty a unit."""

import random
from collections.abc import Generator
from typing import Any

from migen import Signal

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

"""What every meter offers, and the samples that are taken of one beside a run."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from jalhost.errors import JalError, LinkError

STOP_TIMEOUT_S = 30.0
"""Longest wait for a reading that is on its way."""


class Source(StrEnum):
    """Where a figure of power comes from."""

    METERED = "metered"
    """By a meter in the board's supply: all that the board draws, or more."""
    RAIL = "rail"
    """By sensors on some of the board's own supplies."""
    ESTIMATED = "estimated"
    """By counted activity and published figures: nothing was measured."""


class Meter(Protocol):
    """Something that tells power in watts."""

    @property
    def description(self) -> str:
        """What messages and results call it."""

    @property
    def source(self) -> Source:
        """Metered, or a rail."""

    @property
    def interval_s(self) -> float:
        """Time between two readings that are worth it."""

    def read_w(self) -> float:
        """Power now.

        Raises:
            JalError: no answer, or one that is no power.
        """

    def close(self) -> None:
        """Gives everything back. May be called twice."""


@dataclass(frozen=True)
class Sample:
    """Power at a time."""

    seconds: float
    watts: float


@dataclass(frozen=True)
class Trace:
    """Samples in the order of their times; at least one."""

    samples: tuple[Sample, ...]

    @property
    def seconds(self) -> float:
        """From the first sample to the last."""
        return self.samples[-1].seconds - self.samples[0].seconds

    @property
    def energy_j(self) -> float:
        """The integral from the first sample to the last, by the trapezium rule."""
        pairs = zip(self.samples, self.samples[1:], strict=False)
        return sum((b.seconds - a.seconds) * (a.watts + b.watts) / 2 for a, b in pairs)

    @property
    def mean_w(self) -> float:
        """Over time; of the samples where no time has passed."""
        if self.seconds > 0:
            return self.energy_j / self.seconds
        return sum(sample.watts for sample in self.samples) / len(self.samples)

    @property
    def range_w(self) -> tuple[float, float]:
        """Least and most."""
        values = [sample.watts for sample in self.samples]
        return min(values), max(values)


class Sampler:
    """Reads a meter in a thread, from the start of a block to its end.

    The first sample is taken before the block begins and the last one when it has ended, so that
    the trace covers it. A meter that fails in the middle does not end the block, but
    :meth:`trace` raises what went wrong.

    Args:
        meter: read by this object alone while the block runs.
        clock: seconds of a clock that never goes back.
        wait: waits for a time; returns whether the block has ended. For tests.
    """

    def __init__(
        self,
        meter: Meter,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._meter = meter
        self._clock = clock
        self._end = threading.Event()
        self._wait = wait or self._end.wait
        self._samples: list[Sample] = []
        self._error: JalError | None = None
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)

    def __enter__(self) -> "Sampler":
        """Takes the first sample.

        Raises:
            JalError: the meter cannot be read.
        """
        self._take()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the thread, and takes the last sample."""
        self._end.set()
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            name = self._meter.description
            self._error = LinkError(f"{name} does not answer any more", "look after the meter")
        if self._error is None:
            self._try_take()

    @property
    def trace(self) -> Trace:
        """What was sampled.

        Raises:
            JalError: the meter failed in the middle.
        """
        if self._error:
            raise self._error
        return Trace(tuple(self._samples))

    def _run(self) -> None:
        while not self._wait(self._meter.interval_s) and self._error is None:
            self._try_take()

    def _try_take(self) -> None:
        try:
            self._take()
        except JalError as error:
            self._error = error

    def _take(self) -> None:
        """A sample at the middle of its reading."""
        start = self._clock()
        watts = self._meter.read_w()
        self._samples.append(Sample((start + self._clock()) / 2, watts))

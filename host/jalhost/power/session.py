"""Power of runs on a target, by a meter or by an estimate: for commands, and for other programs."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from jalhost.engine.target import Provenance, Target
from jalhost.errors import UsageError
from jalhost.power.estimate import Estimate, estimate, require_counters
from jalhost.power.meter import Meter, Sampler, Source
from jalhost.power.report import PowerReport
from jalhost.power.sensors import device_of
from jalhost.power.spec import MeterSpec, parse_meter

Sleep = Callable[[float], None]


class Power:
    """Measures what is done within ``with power.run():``, and reports it afterwards.

    Args:
        spec: the meter.
        target: what runs; with an image loaded where it is a simulator. None: nothing runs.
        clock: seconds of a clock that never goes back.
        wait: between samples, as :class:`Sampler` takes it.

    Raises:
        UsageError: this target cannot be measured so.
        JalError: the meter cannot be used.
    """

    def __init__(
        self,
        spec: MeterSpec,
        target: Target | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._target, self._clock, self._wait = target, clock, wait
        self._meter: Meter | None = None
        self._idle_w: float | None = None
        self._sampler: Sampler | None = None
        self.simulated = False
        """Whether the figures are of a simulated board, whose time is not this computer's."""
        if spec.kind is None:
            if target is None:
                raise UsageError("nothing runs that power could be estimated of", "name a meter")
            require_counters(target.info)
            return
        device = device_of(target) if target and spec.on_board else None
        self._meter = spec.open(device)
        self.simulated = bool(device and device.identity.simulated)

    def measure_idle(self, seconds: float, sleep: Sleep = time.sleep) -> None:
        """Measures what is drawn while nothing runs, for later reports to subtract.

        Raises:
            UsageError: there is no meter, but an estimate.
            JalError: the meter failed.
        """
        if self._meter is None:
            raise UsageError(
                "an estimate has no idle baseline", "its static parts stand in --json, parts_j"
            )
        with Sampler(self._meter, self._clock) as sampler:
            sleep(seconds)
        self._idle_w = sampler.trace.mean_w

    @contextmanager
    def run(self) -> Iterator[None]:
        """Samples from the start of the block to its end.

        Raises:
            JalError: the meter does not work, before the block begins. What fails later is raised
            by :meth:`report`.
        """
        self._sampler = None
        if self._meter is None:
            yield
            return
        with Sampler(self._meter, self._clock, self._wait) as self._sampler:
            yield

    def report(
        self,
        tokens: int | None = None,
        seconds: float | None = None,
        counters: Mapping[str, int] | None = None,
    ) -> PowerReport:
        """Figures of the last run.

        Args:
            tokens: that it generated.
            seconds: time that the energy is asked for, at the run's mean power: of a simulated
                board its own time, of a benchmark that of the tokens that count. None: from the
                run's start to its end.
            counters: what an estimate is made from; None: the engine's, of its last run.

        Raises:
            JalError: the meter failed in the middle.
        """
        if self._meter is None:
            return self._estimated(tokens, seconds, counters)
        assert self._sampler, "there was a run"
        trace = self._sampler.trace
        low, high = trace.range_w
        span = trace.seconds if seconds is None else seconds
        energy = trace.energy_j if seconds is None else trace.mean_w * seconds
        net = None if self._idle_w is None else energy - self._idle_w * span
        return PowerReport(
            source=self._meter.source,
            meter=self._meter.description,
            simulated=self.simulated,
            samples=len(trace.samples),
            seconds=span,
            mean_w=trace.mean_w,
            min_w=low,
            max_w=high,
            energy_j=energy,
            idle_w=self._idle_w,
            net_energy_j=net,
            tokens=tokens,
            j_per_token=_share(energy if net is None else net, tokens),
            parts_j=None,
        )

    def _estimated(
        self, tokens: int | None, seconds: float | None, counters: Mapping[str, int] | None
    ) -> PowerReport:
        assert self._target
        counters = counters or self._target.counters()
        assert counters is not None, "hardware, or its simulation, counts"
        found: Estimate = estimate(counters, self._target.info)
        scale = 1.0 if seconds is None or not found.seconds else seconds / found.seconds
        energy = found.energy_j * scale
        return PowerReport(
            source=Source.ESTIMATED,
            meter="estimate",
            simulated=self._target.info.provenance is Provenance.SIMULATED,
            samples=0,
            seconds=found.seconds * scale,
            mean_w=found.mean_w,
            min_w=None,
            max_w=None,
            energy_j=energy,
            idle_w=None,
            net_energy_j=None,
            tokens=tokens,
            j_per_token=_share(energy, tokens),
            parts_j={name: part * scale for name, part in found.parts_j.items()},
        )

    def close(self) -> None:
        """Gives the meter back. May be called twice."""
        if self._meter:
            self._meter.close()


@contextmanager
def open_power(
    text: str, target: Target | None = None, idle_s: float | None = None
) -> Iterator[Power]:
    """A meter by its name, and its idle baseline where ``idle_s`` seconds are given for it.

    Raises:
        UsageError: there is no such meter, or this target cannot be measured so.
        JalError: the meter cannot be used.
    """
    power = Power(parse_meter(text), target)
    try:
        if idle_s is not None:
            power.measure_idle(idle_s)
        yield power
    finally:
        power.close()


def _share(energy_j: float, tokens: int | None) -> float | None:
    return energy_j / tokens if tokens else None

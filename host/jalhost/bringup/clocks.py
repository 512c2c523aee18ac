"""Stage ``clocks``: the system's cycle counter against another clock."""

from dataclasses import dataclass

from jalgateware.contract.mailbox import Command
from jalhost.bringup.access import pause
from jalhost.bringup.bench import Bench
from jalhost.bringup.stages import Evidence, Stage, StageFailure, StageSkip

WINDOW_S = 1.0
SIMULATED_WINDOW_S = 0.004
"""Between the two looks at the counter; simulated seconds take long."""

LOOKS = 4
"""The one that took least time counts."""

TOLERANCE = 0.01
"""Oscillators are good to 1e-4; no wrong PLL setting comes so near."""

RATIOS = ((1, 2), (2, 1), (1, 4), (4, 1), (4, 5), (5, 4), (2, 3), (3, 2), (1, 3), (3, 1))


@dataclass(frozen=True)
class Look:
    """The counter, read between two times.

    ``cycles``: of the device's counter; ``start``, ``end``: seconds; ``simulated``: cycles of the
    simulator in the middle, None for a device.
    """

    cycles: int
    start: float
    end: float
    simulated: float | None

    @property
    def time(self) -> float:
        """The middle."""
        return (self.start + self.end) / 2


def look(bench: Bench) -> Look:
    """Reads the counter, a few times, and keeps the reading that was over soonest."""
    looks = []
    for _ in range(LOOKS):
        before, start = bench.access.time()
        words = bench.mailbox.command(Command.STATUS).words
        after, end = bench.access.time()
        middle = None if before is None or after is None else (before + after) / 2
        looks.append(Look(words[3] | words[4] << 32, start, end, middle))
    return min(looks, key=lambda item: item.end - item.start)


def clocks(bench: Bench, evidence: Evidence) -> str:
    """Measures the clock and compares it with what firmware and build say.

    For a device the other clock is this computer's. In a simulator it is simulated time: the
    harness's count of clock edges, and the period that it gives each of them.
    """
    if bench.simulated and not bench.access.simulated:
        raise StageSkip("a simulator that somebody else started does not tell its time")
    nominal = bench.mailbox.command(Command.IDENTIFY).words[2]
    first = look(bench)
    if first.cycles == 0:
        raise StageSkip("this firmware is older: it does not tell its cycle counter")
    pause(bench.access, SIMULATED_WINDOW_S if bench.simulated else WINDOW_S)
    last = look(bench)
    seconds = last.time - first.time
    measured = (last.cycles - first.cycles) / seconds
    doubt = (first.end - first.start + last.end - last.start) / 2 / seconds
    evidence |= {
        "measured_hz": round(measured),
        "nominal_hz": nominal,
        "deviation": measured / nominal - 1,
        "uncertainty": doubt,
        "against": "simulated time" if bench.simulated else "this computer's clock",
    }
    _check_counter(bench, first, last, evidence)
    build = bench.build
    if build and build.clock_hz not in (None, nominal):
        raise StageFailure(
            f"the firmware says {nominal / 1e6:g} MHz, its build {(build.clock_hz or 0) / 1e6:g}",
            ("firmware and bundle come from two builds",),
            bench.flash_command(),
        )
    if abs(measured / nominal - 1) > TOLERANCE + doubt:
        raise _wrong(bench, measured, nominal)
    return (
        f"{measured / 1e6:.2f} MHz against {evidence['against']}, nominal {nominal / 1e6:g} MHz "
        f"(uncertainty {doubt:.1%})"
    )


def _check_counter(bench: Bench, first: Look, last: Look, evidence: Evidence) -> None:
    """In a simulator: does the counter count each clock edge?"""
    if first.simulated is None or last.simulated is None:
        return
    edges = last.simulated - first.simulated
    evidence["cycles_per_edge"] = (last.cycles - first.cycles) / edges
    if abs(evidence["cycles_per_edge"] - 1) > TOLERANCE + evidence["uncertainty"]:
        raise StageFailure(
            f"the cycle counter advanced by {evidence['cycles_per_edge']:.3f} per clock edge",
            ("the counter or the CPU's bus to it is broken",),
            bench.command(Stage.FIRMWARE),
        )


def _wrong(bench: Bench, measured: float, nominal: int) -> StageFailure:
    ratio = measured / nominal
    up, down = min(RATIOS, key=lambda item: abs(item[0] / item[1] / ratio - 1))
    near = abs(up / down / ratio - 1) < TOLERANCE
    exact = f", {up}/{down} of it" if near else ""
    return StageFailure(
        f"the system runs at {measured / 1e6:.2f} MHz, not at its nominal {nominal / 1e6:g} MHz"
        f"{exact}",
        (
            "the board has another oscillator than its description says, or a variant of the board",
            "the PLL's divider or multiplier is wrong, or it has not locked",
        ),
        f"jalhost bundle info {bench.bundle_name}",
    )

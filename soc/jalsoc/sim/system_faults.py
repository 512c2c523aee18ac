"""Faults of the simulated system around its engine: what a bring-up has to find.

A fault is ``NAME`` or ``NAME=NUMBER[:NUMBER]``. Nothing is built for it: the harness changes what
DRAM and line carry, and who starts it changes what it is told.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jalhost.errors import UsageError


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what is broken, and its numbers where they are not given."""

    what: str
    form: str = ""
    numbers: tuple[float, ...] = ()


KINDS: Mapping[str, Kind] = {
    "link": Kind("one bit in one of BYTES on the serial line is flipped", "BYTES", (400,)),
    "csr-hash": Kind("the gateware is another build than the one that is expected"),
    "clock": Kind("the system's clock is RATIO times the nominal one", "RATIO", (0.5,)),
    "watchdog": Kind("the CPU hangs at a CYCLE, and is reset", "CYCLE", (60_000,)),
    "calibration": Kind("DRAM is not calibrated: all that is read is noise"),
    "dram-data": Kind("data line BIT reads as VALUE", "BIT[:VALUE]", (5, 1)),
    "dram-lane": Kind("byte LANE of the data lines reads as noise", "LANE", (1,)),
    "dram-address": Kind("address line BIT is VALUE while rows are opened", "BIT[:VALUE]", (3, 0)),
    "refresh-off": Kind(
        "DRAM is not refreshed: rows forget in MILLISECONDS", "MILLISECONDS", (10,)
    ),
    "sensor": Kind("the board names a sensor that does not answer"),
}

WATCHDOG_TIMEOUT = "watchdog_timeout"
"""Register by which the fault ``watchdog`` lets the watchdog expire."""

OTHER_BUILD = 1 << 63
"""Bit of a fingerprint that the fault ``csr-hash`` inverts."""

SENSOR = "die temperature"
"""What the fault ``sensor`` names."""


@dataclass(frozen=True)
class SystemFault:
    """A fault with all its numbers."""

    name: str
    numbers: tuple[float, ...]

    def options(self, clock_hz: int, addresses: Mapping[str, int]) -> list[str]:
        """Options of the harness. ``addresses``: of registers, by name."""
        first = self.numbers[0] if self.numbers else 0.0
        match self.name:
            case "link":
                return ["--line-fault", str(int(first))]
            case "clock":
                return ["--clock-hz", str(clock_hz * first)]
            case "watchdog":
                return ["--bus-write", f"{int(first)}:{addresses[WATCHDOG_TIMEOUT]}:1"]
            case "refresh-off":
                return ["--dram-fault", f"{self.name}:{int(first * clock_hz / 1000)}"]
            case "csr-hash" | "sensor":
                return []
            case _:
                return ["--dram-fault", ":".join([self.name, *(str(int(n)) for n in self.numbers)])]

    def change(self, fields: dict[str, Any]) -> None:
        """Changes what the simulator says of itself when it is ready."""
        if self.name == "csr-hash":
            fields["fingerprint"] = f"{int(fields['fingerprint'], 16) ^ OTHER_BUILD:016x}"
        if self.name == "sensor":
            fields["sensors"] = [SENSOR]


def is_system_fault(text: str) -> bool:
    """Whether a text names one of these faults."""
    return text.partition("=")[0] in KINDS


def parse_system_fault(text: str, data_bits: int, row_bits: int) -> SystemFault:
    """What a fault's text stands for, in a system with such DRAM.

    Raises:
        UsageError: there is no such kind of fault, or its numbers make no sense.
    """
    name, _, given = text.partition("=")
    if name not in KINDS:
        raise UsageError(f"no fault {text!r}", f"faults are {forms()}")
    kind = KINDS[name]
    try:
        numbers = tuple(float(item) for item in given.split(":")) if given else ()
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise UsageError(f"fault {text}: {given} is no number", f"the form is {_form(name)}")
    if len(numbers) > len(kind.numbers):
        raise UsageError(f"fault {text} has too many numbers", f"the form is {_form(name)}")
    numbers += kind.numbers[len(numbers) :]
    ends = {
        "dram-data": (data_bits, 2),
        "dram-lane": (data_bits // 8,),
        "dram-address": (row_bits, 2),
    }.get(name)
    for number, end in zip(numbers, ends or (), strict=False):
        if not 0 <= number < end or number != int(number):
            raise UsageError(f"fault {text}: {number:g} is out of range", f"0 to {end - 1}")
    if not ends and any(number <= 0 for number in numbers):
        raise UsageError(f"fault {text}: {given} is not above 0", f"the form is {_form(name)}")
    return SystemFault(name, numbers)


def forms() -> str:
    """All faults, for people."""
    return ", ".join(map(_form, KINDS))


def _form(name: str) -> str:
    form = KINDS[name].form
    return f"{name}[={form}]" if form else name

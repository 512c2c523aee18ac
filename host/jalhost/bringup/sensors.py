"""Stage ``sensors``: temperatures and rails against their limits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jalhost.bringup.stages import Evidence, Stage, StageFailure, StageSkip
from jalhost.device import Device

if TYPE_CHECKING:
    from jalhost.bringup.bench import Bench


class SensorReading(Protocol):
    """What a sensor said. ``low``, ``high``: its limits, None where it has none."""

    @property
    def name(self) -> str:
        """What it measures."""

    @property
    def value(self) -> float | None:
        """None where it did not answer."""

    @property
    def unit(self) -> str:
        """Of value and limits."""

    @property
    def low(self) -> float | None:
        """The least that is right."""

    @property
    def high(self) -> float | None:
        """The most that is right."""


ReadSensors = Callable[[Device], Sequence[SensorReading]]
"""Reads each sensor of a device once; raises a JalError where one cannot be read."""


@dataclass(frozen=True)
class Silent:
    """A sensor that should be there and does not answer."""

    name: str
    value: None = None
    unit: str = ""
    low: None = None
    high: None = None


def watts(readings: Sequence[SensorReading]) -> float | None:
    """Power of all rails of which voltage and current are known; None where there is none."""
    volts = {item.name: item.value for item in readings if item.unit == "V"}
    amperes = {item.name: item.value for item in readings if item.unit == "A"}
    known = [
        volt * ampere
        for name, ampere in amperes.items()
        if ampere is not None and (volt := volts.get(name)) is not None
    ]
    return sum(known) if known else None


def problem(reading: SensorReading) -> str | None:
    """What is wrong with a reading."""
    if reading.value is None:
        return f"{reading.name} does not answer"
    shown = f"{reading.name} is {reading.value:g} {reading.unit}"
    if reading.low is not None and reading.value < reading.low:
        return f"{shown}, below {reading.low:g}"
    if reading.high is not None and reading.value > reading.high:
        return f"{shown}, above {reading.high:g}"
    return None


def sensors(bench: "Bench", evidence: Evidence) -> str:
    """Reads all sensors, and looks whether all that the board names are there."""
    readings = list(bench.read_sensors(bench.device)) if bench.read_sensors else []
    found = {reading.name for reading in readings}
    readings += [Silent(name) for name in bench.access.sensors if name not in found]
    if not readings:
        raise StageSkip("no sensors in this build")
    evidence["readings"] = [
        {name: getattr(item, name) for name in ("name", "value", "unit", "low", "high")}
        for item in readings
    ]
    problems = [text for reading in readings if (text := problem(reading))]
    if not problems:
        return ", ".join(f"{item.name} {item.value:.4g} {item.unit}" for item in readings)
    silent = any(reading.value is None for reading in readings)
    causes = (
        ("the sensor is not fitted, or its bus is not connected", "the bundle is another board's")
        if silent
        else ("cooling", "the regulator, or its load", "the limits are another board's")
    )
    raise StageFailure("; ".join(problems), causes, bench.command(Stage.SENSORS))

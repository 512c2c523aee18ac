"""Stage ``sensors``: temperatures and rails against their limits."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from jalhost.bringup.stages import Evidence, Stage, StageFailure, StageSkip

if TYPE_CHECKING:
    from jalhost.bringup.bench import Bench


@dataclass(frozen=True)
class Reading:
    """What a sensor said. ``value``: None where it did not answer; ``low``, ``high``: its limits,
    None where it has none.
    """

    name: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong with it."""
        if self.value is None:
            return f"{self.name} does not answer"
        shown = f"{self.name} is {self.value:g} {self.unit}"
        if self.low is not None and self.value < self.low:
            return f"{shown}, below {self.low:g}"
        if self.high is not None and self.value > self.high:
            return f"{shown}, above {self.high:g}"
        return None


class Sensors(Protocol):
    """What measures a board: its own sensors, or instruments beside it."""

    def read(self) -> Sequence[Reading]:
        """Reads each sensor once.

        Raises:
            JalError: none of them can be read.
        """


def sensors(bench: "Bench", evidence: Evidence) -> str:
    """Reads all sensors, and looks whether all that the board names are there."""
    readings = list(bench.sensors.read()) if bench.sensors else []
    found = {reading.name for reading in readings}
    readings += [Reading(name, None, "") for name in bench.access.sensors if name not in found]
    if not readings:
        raise StageSkip("no sensors in this build, and no instruments beside it")
    evidence["readings"] = [asdict(reading) for reading in readings]
    problems = [problem for reading in readings if (problem := reading.problem)]
    if not problems:
        return ", ".join(f"{item.name} {item.value:g} {item.unit}" for item in readings)
    silent = any(reading.value is None for reading in readings)
    causes = (
        ("the sensor is not fitted, or its bus is not connected", "the bundle is another board's")
        if silent
        else ("cooling", "the regulator, or its load", "the limits are another board's")
    )
    raise StageFailure("; ".join(problems), causes, bench.command(Stage.SENSORS))

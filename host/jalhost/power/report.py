"""Figures of power, as the library gives them and as ``--json`` prints them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from jalhost.power.meter import Source
from jalhost.power.sensors import Reading

PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


class PowerReport(BaseModel):
    """Power and energy of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Source = Field(description="metered, rail or estimated")
    meter: str = Field(description="what told it")
    simulated: bool = Field(description="whether a simulation counted, or said it")
    samples: int = Field(description="readings; 0 of an estimate")
    seconds: float = Field(description="time that the energy is of")
    mean_w: float = Field(description="mean power, the idle baseline included")
    min_w: float | None = Field(description="least reading; null of an estimate")
    max_w: float | None = Field(description="highest reading; null of an estimate")
    energy_j: float = Field(description="integral of the power, the idle baseline included")
    idle_w: float | None = Field(description="idle baseline, where one was measured")
    net_energy_j: float | None = Field(description="energy less the idle baseline's")
    tokens: int | None = Field(description="generated (of a benchmark: counted) tokens")
    j_per_token: float | None = Field(description="net energy where there is one, else energy")
    parts_j: dict[str, float] | None = Field(description="of an estimate: joules by cause")


class SensorReport(BaseModel):
    """What a sensor of the target says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="the supply, or `temperature`")
    value: float = Field(description="the reading")
    unit: str = Field(description="`V`, `A` or `°C`")
    low: float | None = Field(description="least that is fine; null without a limit")
    high: float | None = Field(description="most that is fine; null without a limit")
    fine: bool = Field(description="whether it is within the limits")


class PowerResult(BaseModel):
    """What ``jalhost power --json`` prints."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str | None = Field(description="the target that was opened")
    power: PowerReport | None = Field(description="power; null without a meter")
    sensors: list[SensorReport] = Field(description="the target's sensors")


def sensor_reports(readings: list[Reading]) -> list[SensorReport]:
    """Readings with their verdicts."""
    return [SensorReport(**item._asdict(), fine=item.fine) for item in readings]


def as_dict(report: BaseModel) -> dict[str, Any]:
    """For JSON."""
    return report.model_dump(mode="json")


def power_line(report: PowerReport) -> str:
    """One line: how much, for what, and who says so."""
    parts = [f"{si(report.mean_w, 'W')} mean"]
    if report.min_w is not None and report.max_w is not None:
        parts[0] += f" ({si(report.min_w, 'W')} to {si(report.max_w, 'W')})"
    parts.append(f"{si(report.energy_j, 'J')} in {report.seconds:.4g} s")
    if report.idle_w is not None and report.net_energy_j is not None:
        parts.append(f"{si(report.net_energy_j, 'J')} above {si(report.idle_w, 'W')} idle")
    if report.j_per_token is not None:
        parts.append(f"{si(report.j_per_token, 'J')}/token")
    return f"[{', '.join(parts)}; {source_text(report)}]"


def source_text(report: PowerReport) -> str:
    """What kind of figure it is: a few samples, or a simulated sensor, are said to be."""
    if report.source is Source.ESTIMATED:
        return "estimated from counted activity, not measured"
    few = "1 sample" if report.samples == 1 else f"{report.samples} samples"
    where = "rail of a simulated board" if report.simulated else report.source.value
    return f"{where}: {report.meter}, {few}"


def si(value: float, unit: str) -> str:
    """A number with four digits and a prefix, for example ``12.35 mJ``."""
    fitting = (item for item in PREFIXES if abs(value) >= item[0])
    factor, prefix = next(fitting, PREFIXES[-1]) if value else PREFIXES[0]
    return f"{value / factor:.4g} {prefix}{unit}"

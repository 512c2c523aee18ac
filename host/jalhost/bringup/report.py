"""What a bring-up says: its JSON, as types."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from jalhost.bringup.stages import Stage

FORMAT = 1
"""Changes when what older readers know of the JSON changes; what is added does not count."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Verdict(StrEnum):
    """How a stage ended."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageReport(_Record):
    """One stage of a round.

    ``summary``: what was found, or why it was skipped. ``evidence``: measurements by name; a name
    ends with its unit. ``causes`` (the likeliest first), ``next_command`` and ``layer`` belong to a
    failure; the layer that is broken may be another one than the stage looks at.
    """

    stage: Stage
    title: str
    verdict: Verdict
    summary: str
    seconds: Seconds
    evidence: dict[str, JsonValue] = {}
    causes: list[str] = []
    next_command: str | None = None
    layer: Stage | None = None


class PowerSample(_Record):
    """Power of all rails that have sensors, behind a stage; ``seconds`` from the round's start."""

    seconds: Seconds
    watts: float


class RoundReport(_Record):
    """All stages once. ``broken``: the layer that the first failure names."""

    number: Annotated[int, Field(ge=1)]
    broken: Stage | None
    stages: list[StageReport]
    power: list[PowerSample] = []


class Report(_Record):
    """A whole bring-up.

    ``provenance``: whether its figures are of a device (``measured``) or of a simulation
    (``simulated``), None where it was never reached. ``fault``: what was broken on purpose, in a
    simulation. ``broken``: of the first round that failed.
    """

    format: int = FORMAT
    jalhost: str
    target: str
    provenance: str | None
    bundle: str | None
    fault: str | None
    started: str
    seconds: Seconds
    passed: bool
    broken: Stage | None
    rounds: list[RoundReport]

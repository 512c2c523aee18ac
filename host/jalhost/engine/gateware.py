"""The option ``--gateware``: what gateware to simulate or emulate, where not the default one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from jalgateware.contract.config import EngineConfig
from jalhost.errors import UsageError

ENGINE = {item.name: item.type for item in fields(EngineConfig)}
"""Keys that size the engine, and their types."""

SYSTEM = {
    "dram": str,
    "clock_hz": int,
    "cpu": str,
    "scope": bool,
    "sensors": bool,
    "fault": str,
}
"""Keys that choose the simulated system around it, and their types."""

SWITCHES = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Gateware:
    """What differs from the defaults.

    ``engine``: fields of EngineConfig; ``system``: what the simulator's own options name; ``text``
    as it was given.
    """

    engine: Mapping[str, Any] = field(default_factory=dict)
    system: Mapping[str, str | int] = field(default_factory=dict)
    text: str = ""


def parse_gateware(text: str) -> Gateware:
    """Reads ``KEY=VALUE[,KEY=VALUE...]``.

    Raises:
        UsageError: a key does not exist or stands twice, or a value is not of its kind.
    """
    engine: dict[str, Any] = {}
    system: dict[str, str | int] = {}
    for part in text.split(","):
        key, equals, value = (item.strip() for item in part.partition("="))
        if key not in ENGINE and key not in SYSTEM:
            raise UsageError(
                f"--gateware knows no {key!r}", f"it knows {', '.join([*SYSTEM, *ENGINE])}"
            )
        if key in engine or key in system:
            raise UsageError(f"--gateware names {key} twice")
        if not equals or not value:
            raise UsageError(f"--gateware names {key} without a value", f"give {key}=VALUE")
        if SYSTEM.get(key) is str:
            system[key] = value
        elif SYSTEM.get(key) is bool:
            system[key] = _switch(key, value)
        elif key in SYSTEM:
            system[key] = _number(key, value)
        else:
            engine[key] = _switch(key, value) if ENGINE[key] is bool else _number(key, value)
    return Gateware(engine, system, text)


def engine_config(engine: Mapping[str, int], default: EngineConfig) -> EngineConfig:
    """The default engine of a target, but with these fields.

    Raises:
        UsageError: a value is out of range.
    """
    values: dict[str, Any] = dict(engine)
    try:
        return replace(default, **values)
    except ValueError as error:
        raise UsageError(f"--gateware: {error}") from error


def _number(key: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"--gateware takes a whole number for {key}, not {value!r}") from None


def _switch(key: str, value: str) -> bool:
    if value not in SWITCHES:
        raise UsageError(f"--gateware takes true or false for {key}, not {value!r}")
    return SWITCHES[value]

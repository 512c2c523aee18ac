"""Meters by name: ``KIND:PLACE[,KEY=VALUE...]``."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from jalhost.device import Device
from jalhost.errors import UsageError
from jalhost.power.meter import Meter
from jalhost.power.units import WATTS

ESTIMATE = "estimate"
"""The spec that stands for no meter, but for counted activity."""

Value = str | int | float

OpenMeter = Callable[..., Meter]


@dataclass(frozen=True)
class Kind:
    """A kind of meter.

    Args:
        opener: ``module:function`` that opens one; its keywords are the keys below.
        place: what stands behind the colon, for messages; empty where nothing does.
        keys: keys that may follow, and what turns their text into a value.
        on_board: whether it is read through a device.
        verbatim: whether all of the text is the place, commas included.
    """

    opener: str
    place: str
    keys: Mapping[str, Callable[[str], Any]]
    on_board: bool = False
    verbatim: bool = False


def _address(text: str) -> int:
    value = int(text, 0)
    if not 0x08 <= value <= 0x77:
        raise ValueError("I2C addresses are 0x08 to 0x77")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise ValueError("it must be above 0")
    return value


def _nonzero(text: str) -> float:
    value = float(text)
    if not value:
        raise ValueError("it must not be 0")
    return value


def _unit(text: str) -> str:
    if text not in WATTS:
        raise ValueError(f"units are {', '.join(name for name in WATTS if name)}")
    return text


def _count(text: str) -> int:
    value = int(text, 0)
    if value < 0:
        raise ValueError("it is a number from 0")
    return value


def _one_of(*names: str) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text not in names:
            raise ValueError(f"choose from {', '.join(names)}")
        return text

    return choose


INTERVAL = {"interval": _positive}

KINDS = {
    "ina219": Kind("ina:open_ina219", "ADDRESS", {"shunt": _positive, **INTERVAL}, on_board=True),
    "ina226": Kind("ina:open_ina226", "ADDRESS", {"shunt": _positive, **INTERVAL}, on_board=True),
    "pmbus": Kind(
        "pmbus:open_pmbus",
        "ADDRESS",
        {
            "page": _count,
            "power": _one_of("vi", "pout", "pin"),
            "m": _nonzero,
            "b": float,
            "r": int,
            **INTERVAL,
        },
        on_board=True,
    ),
    "rails": Kind("sensors:open_rails", "", INTERVAL, on_board=True),
    "scpi": Kind(
        "scpi:open_scpi",
        "RESOURCE",
        {
            "query": str,
            "times": str,
            "unit": _unit,
            "timeout": _positive,
            "visa": str,
            **INTERVAL,
        },
    ),
    "shelly": Kind(
        "plugs:open_shelly", "HOST", {"switch": _count, "timeout": _positive, **INTERVAL}
    ),
    "tasmota": Kind("plugs:open_tasmota", "HOST", {"timeout": _positive, **INTERVAL}),
    "csv": Kind(
        "files:open_csv",
        "FILE",
        {"column": str, "unit": _unit, "stale": float, **INTERVAL},
    ),
    "command": Kind("files:open_command", "PROGRAM ARGUMENTS", {}, verbatim=True),
}
"""All kinds, by their names."""

SPECS = ", ".join(
    [*(f"{name}:..." if kind.place else name for name, kind in KINDS.items()), ESTIMATE]
)


@dataclass(frozen=True)
class MeterSpec:
    """A meter that can be opened.

    ``kind`` is None for the estimate.
    """

    text: str
    kind: Kind | None
    place: str
    options: dict[str, Any]

    @property
    def on_board(self) -> bool:
        """Whether it is read through a device."""
        return self.kind is not None and self.kind.on_board

    def open(self, device: Device | None = None) -> Meter:
        """Opens it; a reading shows that it works.

        ``device``: what meters on a board are read through.

        Raises:
            UsageError: it needs a device, and there is none.
            JalError: it cannot be used.
        """
        assert self.kind, "an estimate is no meter"
        module, _, function = self.kind.opener.partition(":")
        opener: OpenMeter = getattr(import_module(f"jalhost.power.{module}"), function)
        if not self.on_board:
            return opener(self.place, **self.options)
        if device is None:
            raise UsageError(
                f"{self.text} is read through a board, and there is none",
                "use --target sim with --gateware sensors=1, or a board that has sensors",
            )
        return opener(device, self.place, **self.options)


def parse_meter(text: str) -> MeterSpec:
    """Reads a spec.

    Raises:
        UsageError: it is none; in one line, with what would be.
    """
    if text == ESTIMATE:
        return MeterSpec(text, None, "", {})
    name = re.split("[:,]", text, maxsplit=1)[0]
    kind = KINDS.get(name)
    if kind is None:
        raise UsageError(f"there is no meter {text!r}", f"meters: {SPECS}")
    # What follows the name is the place, behind a colon, and then keys, each behind a comma.
    first, *parts = [text] if kind.verbatim else text.split(",")
    place = first[len(name) :].removeprefix(":").strip()
    if bool(place) != bool(kind.place):
        usage = f"{name}:{kind.place}" if kind.place else name
        raise UsageError(f"{text!r} is no meter", f"write {usage}, see docs/power.md")
    return MeterSpec(text, kind, place, _options(name, kind, parts))


def _options(name: str, kind: Kind, parts: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for part in parts:
        key, equals, value = (item.strip() for item in part.partition("="))
        if key not in kind.keys or key in options or not equals:
            known = ", ".join(f"{item}=" for item in kind.keys)
            raise UsageError(f"the meter {name} takes no {part!r}", f"it takes {known}, each once")
        try:
            options[key] = kind.keys[key](value)
        except ValueError as error:
            raise UsageError(f"the meter {name}: {key}={value}: {error}") from None
    return options


def parse_address(name: str, place: str) -> int:
    """An I2C address.

    Raises:
        UsageError: it is none.
    """
    try:
        return _address(place)
    except ValueError as error:
        raise UsageError(f"the meter {name}:{place}: {error}", f"for example {name}:0x40") from None

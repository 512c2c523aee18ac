"""Numbers with units, as meters, files and people write them."""

import math
import re

from jalhost.errors import DeviceError, UsageError

NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s]\S*)?\s*")

WATTS = {"": 1.0, "W": 1.0, "MW": 1e6, "kW": 1e3, "mW": 1e-3, "uW": 1e-6, "µW": 1e-6}
"""What one of a unit is in watts."""

TIMES = {"": 1.0, "s": 1.0, "ms": 1e-3, "min": 60.0, "m": 60.0, "h": 3600.0}
"""What one of a unit is in seconds."""

OVERFLOW = 9e37
"""SCPI's number for "not a number" is 9.91e37, and 9.9e37 is infinity (SCPI-99, 7.2.1.4)."""


def parse_power(text: str, unit: str, where: str) -> float:
    """Watts of an answer, in ``unit`` where it names none.

    Raises:
        DeviceError: it is no power, in one line.
    """
    match = NUMBER.fullmatch(text)
    shown = " ".join(text.split())[:40]
    if not match:
        raise DeviceError(f"{where} says {shown!r}, which is no power", "a number in W or mW")
    found = match[2] or unit
    if found not in WATTS:
        raise DeviceError(
            f"{where} says {shown!r}, and {found} is no unit of power",
            "have it measure power, in W or mW",
        )
    value = float(match[1])
    if not math.isfinite(value) or abs(value) > OVERFLOW:
        raise DeviceError(f"{where} says {shown!r}: it has no reading", "choose another range")
    return value * WATTS[found]


def parse_time(option: str, text: str) -> float:
    """Seconds of ``10s``, ``500ms``, ``2min`` or a plain number.

    Raises:
        UsageError: it is no time above 0.
    """
    match = NUMBER.fullmatch(text)
    if not match or (match[2] or "") not in TIMES or float(match[1]) <= 0:
        raise UsageError(f"{option} takes a time like 10s, 500ms or 2min, not {text!r}")
    return float(match[1]) * TIMES[match[2] or ""]

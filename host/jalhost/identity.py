"""Who a device says that it is."""

from dataclasses import dataclass
from typing import Any

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import Format, Option
from jalgateware.contract.mailbox import LIMITS
from jalgateware.contract.memory_map import FINGERPRINT_ADDRESS
from jalhost.errors import DeviceError, LinkError
from jalhost.links.link import Link

READINGS = 32
"""How often the fingerprint is read until two readings agree."""


@dataclass(frozen=True)
class Identity:
    """What a device says about itself.

    ``port_bytes``: what its DRAM can deliver per cycle. ``tunable``: whether its serial port's
    rate can be changed.
    """

    fingerprint: int
    firmware: str
    clock_hz: int
    dram_bytes: int
    image_offset: int
    port_bytes: int
    simulated: bool
    tunable: bool
    config: EngineConfig


def read_device_fingerprint(link: Link) -> int:
    """The fingerprint of the build that answers on a link, as two readings agree on.

    Raises:
        LinkError: nothing answers, or something else each time.
    """
    last = link.read(FINGERPRINT_ADDRESS, 2)
    for _ in range(READINGS):
        words = link.read(FINGERPRINT_ADDRESS, 2)
        if words == last:
            return words[0] << 32 | words[1]
        last = words
    raise LinkError(
        f"{link.description} damages what it carries", "check the cable, or lower the baud rate"
    )


def engine_config(lanes: int, rows: int, formats: int, limits: dict[str, int]) -> EngineConfig:
    """The engine that a device's words describe.

    Raises:
        DeviceError: there is no such engine.
    """
    sizes: dict[str, Any] = {f"max_{name}": limits[name] for name in LIMITS}
    # Of no concern to a host, but there are no more than groups and rows have queries.
    sizes["attention_slots"] = min(EngineConfig.attention_slots, limits["group"] * rows)
    has = {bit: bool(formats >> bit & 1) for bit in (*Format, *Option)}
    try:
        options = {option.name.lower(): has[option] for option in Option}
        return EngineConfig(lanes, rows, mxfp4=has[Format.MXFP4], **options, **sizes)
    except ValueError as error:
        raise DeviceError(f"the device reports an impossible engine: {error}") from error


def format_names(bits: int) -> str:
    """Names of formats and options, by their bits."""
    return ", ".join(item.name for item in (*Format, *Option) if bits >> item & 1)

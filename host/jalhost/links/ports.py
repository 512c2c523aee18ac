"""Which serial port a board is on: by what its USB adapter says of itself, never by its number."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jalhost.errors import LinkError, UsageError

USB_ID = re.compile(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{4})")

ADAPTER = "SERIAL="


@dataclass(frozen=True)
class Port:
    """A serial port. ``vid``, ``pid`` and ``serial`` are those of a USB adapter, if it is one.

    ``location``: where on the bus it is, and which of the adapter's ports.
    """

    device: str
    vid: int | None = None
    pid: int | None = None
    serial: str | None = None
    product: str = ""
    location: str = ""

    def __str__(self) -> str:
        """For people."""
        if self.vid is None or self.pid is None:
            return self.device
        number = f", SERIAL={self.serial}" if self.serial else ""
        product = f" {self.product}" if self.product else ""
        return f"{self.device} ({self.vid:04x}:{self.pid:04x}{product}{number})"

    def is_same_adapter(self, other: "Port") -> bool:
        """Whether this is the same port of the same adapter, wherever that is plugged in now."""
        return (self.vid, self.pid, self.serial, self._interface) == (
            other.vid,
            other.pid,
            other.serial,
            other._interface,
        )

    @property
    def _interface(self) -> str:
        """Of an adapter with several ports; the location ends with it."""
        return self.location.partition(":")[2]


def list_ports() -> list[Port]:
    """Serial ports of this computer, by name."""
    from serial.tools.list_ports import comports

    ports = [
        Port(
            str(port.device),
            port.vid,
            port.pid,
            port.serial_number,
            port.product or "",
            port.location or "",
        )
        for port in comports()
    ]
    return sorted(ports, key=lambda port: port.device)


def is_selector(name: str) -> bool:
    """Whether a name says what to look for, and is none of a port."""
    return not name or name.startswith(ADAPTER) or USB_ID.fullmatch(name) is not None


def candidates(selector: str, ports: Sequence[Port]) -> list[Port]:
    """USB adapters that a selector fits: empty, ``SERIAL=...`` or ``VID:PID`` (hexadecimal).

    Raises:
        UsageError: it is no selector.
        LinkError: no adapter fits; says which are there.
    """
    if not is_selector(selector):
        raise UsageError(f"{selector!r} is not SERIAL=... or VID:PID")
    adapters = [port for port in ports if port.vid is not None]
    found = [port for port in adapters if _fits(port, selector)]
    if not found:
        wanted = f" with {selector}" if selector else ""
        seen = "; ".join(map(str, ports))
        raise LinkError(
            f"no USB serial adapter{wanted} is plugged in",
            f"seen: {seen}" if seen else "there are no serial ports at all",
        )
    return found


def _fits(port: Port, selector: str) -> bool:
    if selector.startswith(ADAPTER):
        return port.serial == selector.removeprefix(ADAPTER)
    match = USB_ID.fullmatch(selector)
    return match is None or (port.vid, port.pid) == (int(match[1], 16), int(match[2], 16))


def choose(ports: Sequence[Port], identify: Callable[[Port], str | None]) -> Port:
    """The one port with a board of ours behind it.

    ``identify``: returns who answers there, None if nobody of ours does.

    Raises:
        LinkError: there is none, or several; says what was seen.
    """
    found = [(port, name) for port in ports if (name := identify(port)) is not None]
    if not found:
        raise LinkError(
            "no board of jalhost's answers on " + "; ".join(map(str, ports)),
            "is the board powered and configured?",
        )
    if len(found) > 1:
        boards = "; ".join(f"{port}: {name}" for port, name in found)
        raise LinkError(
            f"there are several boards: {boards}",
            "choose one by --target uart:SERIAL=..., uart:VID:PID or uart:PORT",
        )
    return found[0][0]

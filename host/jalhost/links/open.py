"""Links by name."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from jalgateware.contract.mailbox import Field
from jalgateware.contract.memory_map import IDENTIFIER, IDENTIFIER_ADDRESS, MAILBOX
from jalhost.errors import JalError, LinkError, UsageError
from jalhost.links.link import ByteStream, Link
from jalhost.links.ports import Port, candidates, choose, is_selector, list_ports
from jalhost.links.uartbone import UartBone
from jalhost.progress import Report

if TYPE_CHECKING:
    from jalhost.links.serial_link import SerialLink

SERVERS = ("tcp", "rfc2217")
"""What serial ports of other computers are served by: bytes alone, or with the port's rate."""

MARK_ADDRESS = MAILBOX.origin + Field.MARK

LONGEST_IDENTIFIER = 64

_log = logging.getLogger(__name__)

LINK_TIMEOUT_S = 2.0

SERVER_TIMEOUT_S = 10.0
"""For ports of other computers: networks are slow at times, and TCP repeats by itself."""


def names_board(target: str) -> bool:
    """Whether a target is a board behind one of the links."""
    kind, colon, _ = target.partition(":")
    return kind in LINKS and bool(colon or kind in ALONE)


def open_link(name: str, timeout_s: float = LINK_TIMEOUT_S) -> Link:
    """Opens a link by kind and place: ``uart:PORT`` or ``eth:HOST``.

    Raises:
        UsageError: the name makes no sense.
        LinkError: the link does not work.
    """
    kind, _, place = name.partition(":")
    return LINKS[kind](place, timeout_s)


def connect(
    name: str, report: Report, fingerprint: int | None = None
) -> "tuple[Link, SerialLink | None]":
    """Opens a link to a board; returns it, and again if its rate can be tuned.

    ``name``: as :func:`open_link` takes it, or ``uart`` and what :func:`connect_uart` looks for.

    Raises:
        UsageError: the name makes no sense.
        LinkError: the link does not work.
    """
    kind, _, place = name.partition(":")
    if kind == "uart":
        return connect_uart(place, report, fingerprint)
    if kind == "pcie":
        return open_pcie(place, report=report), None
    return open_link(name), None


def open_uart(name: str, timeout_s: float = LINK_TIMEOUT_S) -> Link:
    """Opens a UARTBone link as it is.

    ``name``: ``PORT``, ``PORT@BAUD``, ``tcp://HOST:PORT`` or ``rfc2217://HOST:PORT[@BAUD]``.

    Raises:
        UsageError: the name makes no sense.
        LinkError: the port is missing or busy.
    """
    return UartBone(open_stream(name), timeout_s, mark_address=MARK_ADDRESS)


def connect_uart(
    name: str, report: Report, fingerprint: int | None = None
) -> "tuple[Link, SerialLink | None]":
    """Opens a link to a board; returns it, and again if its rate can be tuned.

    ``name``: as :func:`open_uart` takes it, or what to look for: nothing, ``SERIAL=...`` or
    ``VID:PID``. ``fingerprint``: of the build that a board found so should have.

    Raises:
        UsageError: the name makes no sense.
        LinkError: the port is missing or busy, no board answers, or several could be meant.
    """
    selector, _, baud = name.partition("@")
    if name.partition("://")[0] in SERVERS:
        return open_uart(name, SERVER_TIMEOUT_S), None
    if is_selector(selector):
        _require_pyserial()
        port = find_board(selector, fingerprint)
        report(f"found a board on {port}")
        name = port.device + (f"@{baud}" if baud else "")
    link = _open_serial_link(name, report)
    try:
        link.find()
    except BaseException:
        link.close()
        raise
    return link, link


def find_board(selector: str, fingerprint: int | None = None) -> Port:
    """The port of the only board that a selector fits.

    Raises:
        UsageError: it is no selector.
        LinkError: there is no such board, or several.
    """
    ports = candidates(selector, list_ports())
    return choose(ports, lambda port: identify(port.device, fingerprint))


def identify(port: str, fingerprint: int | None = None) -> str | None:
    """Which board of ours answers on a port, by its name and fingerprint; None if none does."""
    from jalhost.identity import read_device_fingerprint

    try:
        link = _open_serial_link(port, _ignore)
    except JalError as error:
        _log.debug("leaving %s out: %s", port, error)
        return None
    try:
        link.find()
        found, name = read_device_fingerprint(link), read_identifier(link)
    except LinkError:
        return None
    finally:
        link.close()
    if not name.startswith(IDENTIFIER) or fingerprint not in (None, found):
        return None
    return f"{name} {found:016x}"


def read_identifier(link: Link) -> str:
    """The build's name, as LiteX keeps it: a character in each word."""
    words = link.read(IDENTIFIER_ADDRESS, LONGEST_IDENTIFIER)
    return bytes(word & 0xFF for word in words).partition(b"\0")[0].decode("ascii", "replace")


def _ignore(_: str) -> None:
    """Takes lines that nobody needs: a port that is only looked at."""


def _open_serial_link(name: str, report: Report) -> "SerialLink":
    from jalhost.links.serial_link import SerialLink

    _require_pyserial()
    from jalhost.links.serial_port import SerialPort

    port, baud = _parse_port(name)
    stream = SerialPort(port, **({"baud": baud} if baud else {}), report=report)
    return SerialLink(stream, report, baud)


def open_ethernet(name: str, timeout_s: float = LINK_TIMEOUT_S) -> Link:
    """Opens an Etherbone link: ``HOST`` or ``HOST:PORT``.

    Raises:
        UsageError: the name makes no sense.
        LinkError: there is no such host, or nobody answers.
    """
    from jalhost.links.etherbone import open_etherbone

    return open_etherbone(name, timeout_s)


def open_stream(name: str) -> ByteStream:
    """Opens what a UARTBone link goes over: ``PORT``, ``PORT@BAUD`` or a port of another computer.

    Raises:
        UsageError: the name makes no sense.
        LinkError: the port is missing or busy.
    """
    scheme, slashes, place = name.partition("://")
    if slashes and scheme in SERVERS:
        return _open_server(scheme, place)
    _require_pyserial()
    from jalhost.links.serial_port import SerialPort

    path, baud = _parse_port(name)
    return SerialPort(path, baud) if baud else SerialPort(path)


def _open_server(scheme: str, place: str) -> ByteStream:
    """A port of another computer.

    Raises:
        UsageError: it is not named as it should be.
    """
    from jalhost.links.rfc2217 import Rfc2217Port
    from jalhost.links.tcp import TcpConnection

    address, at, baud = place.partition("@")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"{scheme}://{place} is not {scheme}://HOST:PORT")
    if scheme == "tcp" and not at:
        return TcpConnection(host, int(port))
    if scheme == "tcp" or (at and not (baud.isdecimal() and int(baud))):
        raise UsageError(f"{scheme}://{place} names no rate", "rfc2217://HOST:PORT@BAUD does")
    return Rfc2217Port(host, int(port), **({"baud": int(baud)} if at else {}))


def _parse_port(name: str) -> tuple[str, int | None]:
    """A port's name, and its rate if one is given.

    Raises:
        UsageError: it is neither.
    """
    port, _, baud = name.partition("@")
    if not port or (baud and not (baud.isdecimal() and int(baud))):
        raise UsageError(f"{name!r} is not PORT or PORT@BAUD, for example /dev/ttyUSB0@115200")
    return port, int(baud) if baud else None


def _require_pyserial() -> None:
    from importlib.util import find_spec

    if find_spec("serial") is None:
        raise LinkError("pyserial is not installed", "pip install pyserial")


def open_pcie(name: str, timeout_s: float = LINK_TIMEOUT_S, report: Report = _ignore) -> Link:
    """Opens a board in a PCIe slot: its address, or nothing for the only board.

    It needs no timeout: the processor's own accesses end in any case. ``report``: takes whether
    LitePCIe's driver is there for large transfers; without, they go through BAR 0.

    Raises:
        UsageError: the name makes no sense, or several boards are there.
        LinkError: there is no such board, or it cannot be reached.
    """
    from jalhost.links import pcie_bar, pcie_driver

    return pcie_bar.open_pcie(name, pcie_bar.SYSFS, pcie_driver.DEV, report)


LINKS: dict[str, Callable[[str, float], Link]] = {
    "uart": open_uart,
    "eth": open_ethernet,
    "pcie": open_pcie,
}
"""What opens a link, by kind."""

ALONE = ("uart", "pcie")
"""Links that need no name of a place."""

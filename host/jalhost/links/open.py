"""Links by name."""

from collections.abc import Callable

from jalhost.errors import LinkError, UsageError
from jalhost.links.link import ByteStream, Link
from jalhost.links.uartbone import UartBone

LINK_TIMEOUT_S = 2.0


def open_link(name: str, timeout_s: float = LINK_TIMEOUT_S) -> Link:
    """Opens a link by kind and place: ``uart:PORT`` or ``eth:HOST``.

    Raises:
        UsageError: the name makes no sense.
        LinkError: the link does not work.
    """
    kind, _, place = name.partition(":")
    return LINKS[kind](place, timeout_s)


def open_uart(name: str, timeout_s: float = LINK_TIMEOUT_S) -> Link:
    """Opens a UARTBone link: ``PORT``, ``PORT@BAUD`` or ``tcp://HOST:PORT``.

    Raises:
        UsageError: the name makes no sense.
        LinkError: the port is missing or busy.
    """
    return UartBone(_open_stream(name), timeout_s)


def open_ethernet(name: str, timeout_s: float = LINK_TIMEOUT_S) -> Link:
    """Opens an Etherbone link: ``HOST`` or ``HOST:PORT``.

    Raises:
        UsageError: the name makes no sense.
        LinkError: there is no such host, or nobody answers.
    """
    from jalhost.links.etherbone import open_etherbone

    return open_etherbone(name, timeout_s)


def _open_stream(name: str) -> ByteStream:
    if name.startswith("tcp://"):
        from jalhost.links.tcp import TcpConnection

        host, _, port = name.removeprefix("tcp://").rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise UsageError(f"{name!r} is not tcp://HOST:PORT")
        return TcpConnection(host, int(port))
    try:
        from jalhost.links.serial_port import DEFAULT_BAUD, SerialPort
    except ImportError as error:
        raise LinkError("pyserial is not installed", "pip install pyserial") from error

    port, _, baud = name.partition("@")
    if not port or (baud and not baud.isdecimal()):
        raise UsageError(f"{name!r} is not PORT or PORT@BAUD, for example /dev/ttyUSB0@115200")
    return SerialPort(port, int(baud) if baud else DEFAULT_BAUD)


def open_pcie(name: str, timeout_s: float = LINK_TIMEOUT_S) -> Link:
    """Opens BAR 0 of a board in a PCIe slot: its address, or nothing for the only board.

    It needs no timeout: the processor's own accesses end in any case.

    Raises:
        UsageError: the name makes no sense, or several boards are there.
        LinkError: there is no such board, or it cannot be reached.
    """
    from jalhost.links import pcie_bar

    return pcie_bar.open_pcie(name, pcie_bar.SYSFS)


LINKS: dict[str, Callable[[str, float], Link]] = {
    "uart": open_uart,
    "eth": open_ethernet,
    "pcie": open_pcie,
}
"""What opens a link, by kind."""

ALONE = ("pcie",)
"""Links that need no name of a place."""

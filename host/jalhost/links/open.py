"""Links by name."""

from jalhost.errors import LinkError, UsageError
from jalhost.links.link import ByteStream, Link
from jalhost.links.uartbone import UartBone


def open_uart(name: str, timeout_s: float = 2.0) -> Link:
    """Opens a UARTBone link: ``PORT``, ``PORT@BAUD`` or ``tcp://HOST:PORT``.

    Raises:
        UsageError: the name makes no sense.
        LinkError: the port is missing or busy.
    """
    return UartBone(_open_stream(name), timeout_s)


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

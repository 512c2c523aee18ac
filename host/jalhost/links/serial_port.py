"""A serial port as a byte stream."""

import errno
import os
import termios

import serial

from jalhost.environment import serial_ports
from jalhost.errors import LinkError

DEFAULT_BAUD = 115_200
WRITE_TIMEOUT_S = 30.0
"""Longest time for one request to leave; only a port that takes nothing at all gets there."""

FAILURES = (serial.SerialException, OSError, termios.error)
"""What pyserial lets through when a port goes away."""


class SerialPort:
    """A serial port, opened for this process alone.

    Raises:
        LinkError: the port is missing, busy or not allowed; the hint says what to do.
    """

    def __init__(self, port: str, baud: int = DEFAULT_BAUD) -> None:
        self.description = port
        try:
            self._port = serial.Serial(port, baud, write_timeout=WRITE_TIMEOUT_S, exclusive=True)
        except (*FAILURES, ValueError) as error:
            raise _explain(port, error) from error

    def send(self, data: bytes) -> None:
        """Sends all of the data.

        Raises:
            LinkError: the connection is lost, or the port takes nothing.
        """
        try:
            self._port.write(data)
        except FAILURES as error:
            raise self._lost(error) from error

    def receive(self, most: int, timeout_s: float) -> bytes:
        """Returns what is there, 1 to ``most`` bytes; empty if nothing came within the time.

        Raises:
            LinkError: the connection is lost.
        """
        try:
            self._port.timeout = timeout_s
            return bytes(self._port.read(max(1, min(most, self._port.in_waiting))))
        except FAILURES as error:
            raise self._lost(error) from error

    def discard_input(self) -> None:
        """Throws away what has arrived.

        Raises:
            LinkError: the connection is lost.
        """
        try:
            self._port.reset_input_buffer()
        except FAILURES as error:
            raise self._lost(error) from error

    def close(self) -> None:
        """Gives the port back."""
        self._port.close()

    def _lost(self, error: Exception) -> LinkError:
        return LinkError(
            f"lost the connection to {self.description}: {error}", "was the cable unplugged?"
        )


def _explain(port: str, error: Exception) -> LinkError:
    """Says why a port cannot be opened, from the error number that pyserial passes on."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or not os.path.exists(port):
        names = ", ".join(name for name, _ in serial_ports())
        return LinkError(
            f"there is no port {port}", f"ports here: {names}" if names else "no ports"
        )
    if number in (errno.EACCES, errno.EPERM):
        return LinkError(
            f"not allowed to open {port}", "sudo usermod -aG dialout $USER, then log in again"
        )
    if number in (errno.EBUSY, errno.EAGAIN) or "lock" in str(error):
        return LinkError(f"port {port} is busy", "close the other program that uses it")
    return LinkError(f"cannot open {port}: {error}", "is it a serial port?")

"""A serial port as a byte stream, which comes back when its cable does."""

import errno
import os
import termios
import time

import serial

from jalgateware.contract.serial_port import BASE_BAUD
from jalhost.environment import serial_ports
from jalhost.errors import ConnectionLost, LinkError
from jalhost.links.latency import lower_latency
from jalhost.links.ports import list_ports
from jalhost.progress import Report

WRITE_TIMEOUT_S = 30.0
"""Longest time for one request to leave; only a port that takes nothing at all gets there."""

RETURN_S = 30.0
"""How long a port that went away may take to come back."""

LOOK_S = 0.2
"""Between two looks for it."""

FAILURES = (serial.SerialException, OSError, termios.error, TypeError)
"""What pyserial lets through when a port goes away; TypeError, where it has closed it itself."""


def _silent(_: str) -> None:
    """Takes a line for people who do not want it."""


class SerialPort:
    """A serial port, opened for this process alone.

    Args:
        port: its name.
        baud: its rate at first.
        report: takes lines for people.

    Raises:
        LinkError: the port is missing, busy or not allowed; the hint says what to do.
    """

    def __init__(self, port: str, baud: int = BASE_BAUD, report: Report = _silent) -> None:
        self.description = port
        self._baud = baud
        self._report = report
        self._port: serial.Serial
        self._known = next((item for item in list_ports() if item.device == port), None)
        try:
            self._open(port)
        except (*FAILURES, ValueError) as error:
            raise _explain(port, error) from error
        hint = lower_latency(port, self._port.set_low_latency_mode)
        if hint:
            report(hint)

    def _open(self, port: str) -> None:
        self._port = serial.Serial(port, self._baud, write_timeout=WRITE_TIMEOUT_S, exclusive=True)

    @property
    def baud(self) -> int:
        """Bits per second."""
        return self._baud

    def set_baud(self, baud: int) -> None:
        """Changes the rate.

        Raises:
            ValueError: the port does not have it.
            ConnectionLost: the connection is lost.
        """
        try:
            self._port.baudrate = baud
        except (*FAILURES, ValueError) as error:
            if _is_gone(error):
                raise self._lost(error) from error
            self._port.baudrate = self._baud
            raise ValueError(f"{self.description} does not have {baud} baud") from error
        self._baud = baud

    def send(self, data: bytes) -> None:
        """Sends all of the data.

        Raises:
            ConnectionLost: the connection is lost.
            LinkError: the port takes nothing.
        """
        try:
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            raise LinkError(f"{self.description} takes nothing", "is it the right port?") from error
        except FAILURES as error:
            raise self._lost(error) from error

    def drain(self) -> None:
        """Returns when everything that was sent has left this computer.

        Raises:
            ConnectionLost: the connection is lost.
        """
        try:
            self._port.flush()
        except FAILURES as error:
            raise self._lost(error) from error

    def receive(self, most: int, timeout_s: float) -> bytes:
        """Returns what is there, 1 to ``most`` bytes; empty if nothing came within the time.

        Raises:
            ConnectionLost: the connection is lost.
        """
        try:
            self._port.timeout = timeout_s
            return bytes(self._port.read(max(1, min(most, self._port.in_waiting))))
        except FAILURES as error:
            raise self._lost(error) from error

    def discard_input(self) -> None:
        """Throws away what has arrived.

        Raises:
            ConnectionLost: the connection is lost.
        """
        try:
            self._port.reset_input_buffer()
        except FAILURES as error:
            raise self._lost(error) from error

    def reopen(self) -> None:
        """Waits until the port is there again, whatever it is called then.

        Raises:
            LinkError: it does not come back, or not to us.
        """
        self.close()
        self._report(f"lost {self.description}: waiting {RETURN_S:g} s for it to come back")
        deadline = time.monotonic() + RETURN_S
        while True:
            time.sleep(LOOK_S)
            port = self._present_name()
            try:
                self._open(port)
            except (*FAILURES, ValueError) as error:
                if time.monotonic() < deadline:
                    continue
                raise LinkError(
                    f"lost the connection to {self.description}, and it did not come back within"
                    f" {RETURN_S:g} s",
                    "was the cable unplugged?",
                ) from error
            self.description = port
            self._report(f"{port} is back; going on")
            return

    def _present_name(self) -> str:
        """What the port is called now: an adapter with a serial number is known by it."""
        if self._known and self._known.serial:
            for port in list_ports():
                if port.is_same_adapter(self._known):
                    return port.device
        return self.description

    def close(self) -> None:
        """Gives the port back."""
        try:
            self._port.close()
        except FAILURES:  # what is gone needs no closing
            return

    def _lost(self, error: Exception) -> ConnectionLost:
        return ConnectionLost(
            f"lost the connection to {self.description}: {error}", "was the cable unplugged?"
        )


def _is_gone(error: Exception) -> bool:
    """Whether an error speaks of the port, and not of what was asked of it."""
    number = getattr(error, "errno", None) or (error.args[0] if error.args else None)
    return number in (errno.ENODEV, errno.EIO, errno.ENXIO, errno.EBADF)


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

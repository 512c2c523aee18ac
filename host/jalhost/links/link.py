"""What every link offers: 32-bit words at byte addresses of the device's bus."""

from collections.abc import Sequence
from typing import Protocol


class Link(Protocol):
    """A connection to a device's Wishbone bus. Addresses are multiples of 4 bytes."""

    @property
    def description(self) -> str:
        """What messages call it, for example the port's name."""

    def read(self, address: int, words: int = 1) -> list[int]:
        """Reads consecutive words.

        Raises:
            LinkError: no or not enough of an answer.
        """

    def write(self, address: int, values: Sequence[int]) -> None:
        """Writes consecutive words.

        Raises:
            LinkError: the connection is lost.
        """

    def close(self) -> None:
        """Gives the port back. May be called twice."""


class ByteStream(Protocol):
    """Bytes to and from a device.

    Every method raises :class:`ConnectionLost` where the connection breaks.
    """

    @property
    def description(self) -> str:
        """What messages call it."""

    @property
    def baud(self) -> int | None:
        """Bits per second; None where bytes go as fast as they can."""

    def send(self, data: bytes) -> None:
        """Sends all of the data.

        Raises:
            LinkError: the connection is lost, or nothing was taken for a long time.
        """

    def drain(self) -> None:
        """Returns when everything that was sent has left this computer."""

    def receive(self, most: int, timeout_s: float) -> bytes:
        """Returns what is there, 1 to ``most`` bytes; empty if nothing came within the time.

        Raises:
            LinkError: the connection is lost.
        """

    def discard_input(self) -> None:
        """Throws away what has arrived.

        Raises:
            LinkError: the connection is lost.
        """

    def close(self) -> None:
        """Gives the port back. May be called twice."""


class TunableStream(ByteStream, Protocol):
    """A serial port: its rate can be chosen, and its cable may come back."""

    @property
    def baud(self) -> int:
        """Bits per second."""

    def set_baud(self, baud: int) -> None:
        """Changes the rate of this end.

        Raises:
            ValueError: the port does not have it.
        """

    def reopen(self) -> None:
        """Waits until a connection that was lost is there again.

        Raises:
            LinkError: it does not come back.
        """

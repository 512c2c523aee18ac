"""LiteX's UARTBone protocol: bus accesses over a byte stream.

From LiteX's ``litex/soc/cores/uart.py`` (class Stream2Wishbone): a request is a command byte, the
number of words (1 byte), the word address (4 bytes, big-endian), and for writes the words
(big-endian). Reads are answered by the words; writes by nothing. A request that breaks off is
dropped after 100 ms without a byte.
"""

import logging
import time
from collections.abc import Sequence
from enum import IntEnum

from jalhost.errors import LinkError
from jalhost.links.link import ByteStream

MAX_BURST = 255
"""Words in one request."""

BRIDGE_TIMEOUT_S = 0.1
"""The bridge forgets an incomplete request after this time."""

_log = logging.getLogger(__name__)


class Command(IntEnum):
    """First byte of a request; the address advances with each word."""

    WRITE = 1
    READ = 2


class UartBone:
    """A link over a byte stream.

    Reads are repeated when the answer is missing or short, behind a pause that lets the bridge
    forget what it was doing. Writes are not acknowledged by the protocol: whoever needs to know
    reads back.

    Args:
        stream: where the bytes go; closed together with the link.
        timeout_s: longest silence while an answer is due.
        retries: how often a read is repeated.
    """

    def __init__(self, stream: ByteStream, timeout_s: float = 2.0, retries: int = 2) -> None:
        self._stream = stream
        self._timeout_s = timeout_s
        self._retries = retries

    @property
    def description(self) -> str:
        """The stream's."""
        return self._stream.description

    def read(self, address: int, words: int = 1) -> list[int]:
        """Reads consecutive words.

        Raises:
            LinkError: no or not enough of an answer, after all retries.
        """
        values: list[int] = []
        while len(values) < words:
            count = min(words - len(values), MAX_BURST)
            values += self._read_burst(address + 4 * len(values), count)
        return values

    def write(self, address: int, values: Sequence[int]) -> None:
        """Writes consecutive words.

        Raises:
            LinkError: the connection is lost.
        """
        for start in range(0, len(values), MAX_BURST):
            part = values[start : start + MAX_BURST]
            data = b"".join(value.to_bytes(4, "big") for value in part)
            self._stream.send(_request(Command.WRITE, len(part), address + 4 * start) + data)

    def close(self) -> None:
        """Gives the port back."""
        self._stream.close()

    def _read_burst(self, address: int, count: int) -> list[int]:
        answer = b""
        for attempt in range(1 + self._retries):
            if attempt:
                _log.debug("repeating a read of %d words at 0x%08x", count, address)
                self._resynchronise()
            # An answer to an earlier request that came too late must not be taken for this one.
            self._stream.discard_input()
            self._stream.send(_request(Command.READ, count, address))
            answer = self._collect(4 * count)
            if len(answer) == 4 * count:
                return [int.from_bytes(answer[i : i + 4], "big") for i in range(0, len(answer), 4)]
        got = f"{len(answer)} of {4 * count} bytes" if answer else "nothing"
        raise LinkError(
            f"no answer from {self.description}: {got} within {self._timeout_s:g} s",
            "is the board powered and configured, and the baud rate right?",
        )

    def _collect(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self._stream.receive(length - len(data), self._timeout_s)
            if not part:
                break
            data += part
        return data

    def _resynchronise(self) -> None:
        time.sleep(1.5 * BRIDGE_TIMEOUT_S)


def _request(command: Command, words: int, address: int) -> bytes:
    assert address % 4 == 0, "bus accesses are word by word"
    return bytes([command, words]) + (address >> 2).to_bytes(4, "big")

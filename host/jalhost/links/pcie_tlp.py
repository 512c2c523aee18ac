"""BAR 0 of a simulated device, by packets over a TCP connection.

Each packet stands behind its length: two bytes, the more significant one first.
"""

import struct
import time
from collections.abc import Sequence

from jalgateware.contract.pcie import DRAM_WINDOW, MAX_READ_WORDS, SIMULATED
from jalhost.errors import LinkError
from jalhost.links.bar0 import WORD_BYTES, Bar0Link
from jalhost.links.link import ByteStream
from jalhost.links.pcie_dma import DmaLink
from jalhost.links.root_complex import RootComplex

BURST_WORDS = MAX_READ_WORDS
"""Words of a packet; packets lie within boundaries of this size, as PCIe's payload is limited."""

LENGTH_BYTES = 2

RECEIVE_BYTES = 1 << 16

LEAST_WAIT_S = 0.001
"""A stream that is not waited for at all says that it is lost."""


class FramedPackets:
    """Packets on a byte stream.

    Args:
        stream: closed together with this.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._received = bytearray()

    @property
    def description(self) -> str:
        """The stream's."""
        return self._stream.description

    def send(self, packets: Sequence[bytes]) -> None:
        """Sends packets.

        Raises:
            LinkError: the connection is lost.
        """
        framed = (len(packet).to_bytes(LENGTH_BYTES, "big") + packet for packet in packets)
        self._stream.send(b"".join(framed))

    def receive(self, timeout_s: float) -> bytes | None:
        """The next packet; None if there is no complete one within the time.

        Raises:
            LinkError: the connection is lost.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            length = int.from_bytes(self._received[:LENGTH_BYTES], "big")
            end = LENGTH_BYTES + length
            if len(self._received) >= max(end, LENGTH_BYTES):
                packet = bytes(self._received[LENGTH_BYTES:end])
                del self._received[:end]
                return packet
            left = max(LEAST_WAIT_S, deadline - time.monotonic())
            data = self._stream.receive(RECEIVE_BYTES, left)
            if not data:
                return None
            self._received += data

    def close(self) -> None:
        """Ends the connection."""
        self._stream.close()


class PacketBar:
    """BAR 0 by read and write requests.

    Args:
        root: closed together with this.
        base: the address that configuration gave BAR 0.
    """

    def __init__(self, root: RootComplex, base: int = SIMULATED.bar0) -> None:
        self._root = root
        self._base = base

    @property
    def description(self) -> str:
        """The device's."""
        return self._root.description

    def read(self, offset: int, words: int) -> list[int]:
        """Reads consecutive words, many requests at a time.

        Raises:
            LinkError: a request is refused or not answered.
        """
        parts = _parts(offset, words)
        answers = self._root.read([(self._base + place, count) for place, count in parts])
        return list(struct.unpack(f"<{words}I", b"".join(answers)))

    def write(self, offset: int, values: Sequence[int]) -> None:
        """Writes consecutive words.

        Raises:
            LinkError: the connection is lost.
        """
        data = struct.pack(f"<{len(values)}I", *values)
        requests = []
        for place, count in _parts(offset, len(values)):
            start = place - offset
            requests.append((self._base + place, data[start : start + WORD_BYTES * count]))
        self._root.write(requests)

    def close(self) -> None:
        """Ends the connection."""
        self._root.close()


def _parts(offset: int, words: int) -> list[tuple[int, int]]:
    """Cuts an access into requests: single words, in the DRAM window as many as a packet takes."""
    most = BURST_WORDS if offset >= DRAM_WINDOW.origin else 1
    parts = []
    while words:
        count = min(words, most - offset // WORD_BYTES % most)
        parts.append((offset, count))
        offset, words = offset + WORD_BYTES * count, words - count
    return parts


def open_pcie_packets(name: str, timeout_s: float, dma: bool = False) -> Bar0Link:
    """Opens a link to a simulator: ``HOST:PORT``; with ``dma``, large transfers are the device's.

    Raises:
        LinkError: nobody listens there, or the name is none.
    """
    from jalhost.links.tcp import TcpConnection

    host, _, port = name.rpartition(":")
    if not port.isdecimal():
        raise LinkError(f"{name!r} is not HOST:PORT")
    root = RootComplex(FramedPackets(TcpConnection(host, int(port))), timeout_s)
    bar = PacketBar(root)
    return DmaLink(bar, root) if dma else Bar0Link(bar)

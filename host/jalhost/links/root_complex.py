"""The host's end of a PCIe link that carries packets: its requests, and memory for the device's."""

import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jalgateware.contract.pcie import MSI_ADDRESS, SIMULATED, SIMULATED_PAYLOAD, BusNumbers
from jalhost.errors import LinkError
from jalhost.links.tlp import (
    WORD_BYTES,
    Completion,
    MemoryRead,
    MemoryWrite,
    Packet,
    Status,
    decode,
    encode,
)

TAGS = 32
"""Requests that may be under way at once: five bits, as every device can keep them."""

_log = logging.getLogger(__name__)

_STATUS_NAMES: dict[int, str] = {
    Status.UNSUPPORTED_REQUEST: "refused it (unsupported request)",
    Status.COMPLETER_ABORT: "aborted it (completer abort)",
    Status.RETRY: "is not configured yet (retry)",
}


class PacketStream(Protocol):
    """Packets to and from a device."""

    @property
    def description(self) -> str:
        """What messages call it."""

    def send(self, packets: Sequence[bytes]) -> None:
        """Sends packets.

        Raises:
            LinkError: the connection is lost.
        """

    def receive(self, timeout_s: float) -> bytes | None:
        """The next packet; None if there is none within the time.

        Raises:
            LinkError: the connection is lost.
        """

    def close(self) -> None:
        """Gives the connection back. May be called twice."""


@dataclass
class _Pending:
    """A read under way: where its answer belongs, and what of it has come."""

    index: int
    address: int
    words: int
    data: bytearray = field(default_factory=bytearray)

    @property
    def description(self) -> str:
        """What messages call it."""
        plural = "s" if self.words > 1 else ""
        return f"a read of {self.words} word{plural} at 0x{self.address:08x}"

    @property
    def missing(self) -> int:
        return WORD_BYTES * self.words - len(self.data)


class RootComplex:
    """Reads and writes a device's memory, and lends it the host's.

    Several reads are under way at once; answers may come in parts and in any order. What the device
    asks for meanwhile is served while this waits.

    Args:
        stream: carries the packets; closed together with this.
        timeout_s: longest time without an answer.
        numbers: where host and device are on the bus.
    """

    def __init__(
        self, stream: PacketStream, timeout_s: float = 30.0, numbers: BusNumbers = SIMULATED
    ) -> None:
        self._stream = stream
        self._timeout_s = timeout_s
        self._numbers = numbers
        self._tag = 0
        self._buffers: dict[int, bytearray] = {}
        self._pending: dict[int, _Pending] = {}
        self.interrupts: list[int] = []
        """Data of the messages that signalled interrupts, in the order in which they came."""

    @property
    def description(self) -> str:
        """The stream's."""
        return self._stream.description

    def lend(self, address: int, buffer: bytearray) -> None:
        """Lets the device read and write a buffer, which it finds at an address."""
        self._buffers[address] = buffer

    def take_back(self, address: int) -> None:
        """Ends that."""
        del self._buffers[address]

    def write(self, requests: Iterable[tuple[int, bytes]]) -> None:
        """Writes whole words to addresses; nobody tells when they are there.

        Raises:
            LinkError: the connection is lost.
        """
        host = self._numbers.host
        self._stream.send([encode(MemoryWrite(host, place, data)) for place, data in requests])

    def read(self, requests: Sequence[tuple[int, int]]) -> list[bytes]:
        """Reads numbers of words from addresses, in this order.

        Raises:
            LinkError: the device refuses, answers wrong or not at all; or the connection is lost.
        """
        answers = [b""] * len(requests)
        waiting = deque(enumerate(requests))
        self._pending.clear()  # what an earlier failure left
        deadline = time.monotonic() + self._timeout_s
        while waiting or self._pending:
            self._ask(waiting)
            packet = self._receive(max(0.0, deadline - time.monotonic()))
            if packet is None:
                raise self._timeout()
            if isinstance(packet, Completion):
                done = self._complete(packet)
                if done:
                    answers[done.index] = bytes(done.data)
                deadline = time.monotonic() + self._timeout_s
            else:
                self._serve(packet)
        return answers

    def serve(self, timeout_s: float) -> bool:
        """Serves the device's next request; False if there is none within the time.

        Raises:
            LinkError: it asks for what it was not lent, or the connection is lost.
        """
        packet = self._receive(timeout_s)
        if packet is None:
            return False
        if isinstance(packet, Completion):
            _log.debug("nobody waits for %s", packet)
        else:
            self._serve(packet)
        return True

    def close(self) -> None:
        """Ends the connection."""
        self._stream.close()

    def _ask(self, waiting: deque[tuple[int, tuple[int, int]]]) -> None:
        """Sends as many requests as there are tags for."""
        packets = []
        while waiting and len(self._pending) < TAGS:
            index, (address, words) = waiting.popleft()
            while self._tag in self._pending:
                self._tag = (self._tag + 1) % TAGS
            self._pending[self._tag] = _Pending(index, address, words)
            packets.append(encode(MemoryRead(self._numbers.host, self._tag, address, words)))
            self._tag = (self._tag + 1) % TAGS
        if packets:
            self._stream.send(packets)

    def _receive(self, timeout_s: float) -> Packet | None:
        data = self._stream.receive(timeout_s)
        return None if data is None else decode(data)

    def _complete(self, packet: Completion) -> _Pending | None:
        """Takes an answer; returns the read if that was all of it.

        Raises:
            LinkError: it is none that could be used.
        """
        pending = self._pending.get(packet.tag)
        if pending is None or packet.requester != self._numbers.host:
            _log.warning("%s sent an answer that nobody waits for: %s", self.description, packet)
            return None
        what = pending.description
        if packet.status != Status.SUCCESS:
            reason = _STATUS_NAMES.get(packet.status, f"ended it with status {packet.status}")
            raise LinkError(
                f"{what} failed: {self.description} {reason}",
                "is this gateware of jalhost's?",
            )
        if packet.poisoned:
            raise LinkError(
                f"{what} failed: the answer of {self.description} is poisoned", "try again"
            )
        low = pending.address + len(pending.data) & 0x7F
        if (
            not packet.data
            or len(packet.data) > pending.missing
            or packet.byte_count != pending.missing
            or packet.lower_address != low
        ):
            raise LinkError(
                f"{what} failed: {self.description} answers with {len(packet.data)} of"
                f" {packet.byte_count} bytes at 0x{packet.lower_address:02x}, expected"
                f" {pending.missing} at 0x{low:02x}",
                "this is a defect of its gateware",
            )
        pending.data += packet.data
        if pending.missing:
            return None
        return self._pending.pop(packet.tag)

    def _timeout(self) -> LinkError:
        lost = min(self._pending.values(), key=lambda item: item.index)
        return LinkError(
            f"no answer from {self.description} to {lost.description} within {self._timeout_s:g} s",
            "does the device still run?",
        )

    def _serve(self, packet: MemoryRead | MemoryWrite) -> None:
        """Does what the device asks for.

        Raises:
            LinkError: it asks for memory that was not lent to it.
        """
        if isinstance(packet, MemoryWrite):
            if packet.address == MSI_ADDRESS:
                self.interrupts.append(int.from_bytes(packet.data, "little"))
                return
            start, buffer = self._find(packet.address, len(packet.data), "write")
            if packet.poisoned:
                raise LinkError(f"{self.description} sends poisoned data", "try again")
            buffer[start : start + len(packet.data)] = packet.data
            return
        length = WORD_BYTES * packet.words
        try:
            start, buffer = self._find(packet.address, length, "read")
        except LinkError:
            self._answer(packet, packet.address, WORD_BYTES, b"", Status.UNSUPPORTED_REQUEST)
            raise
        address, data = packet.address, bytes(buffer[start : start + length])
        while data:
            # Parts end where packets of the largest size would.
            part = data[: SIMULATED_PAYLOAD - address % SIMULATED_PAYLOAD]
            self._answer(packet, address, len(data), part)
            address, data = address + len(part), data[len(part) :]

    def _answer(
        self,
        request: MemoryRead,
        address: int,
        byte_count: int,
        data: bytes,
        status: Status = Status.SUCCESS,
    ) -> None:
        completion = Completion(
            completer=self._numbers.host,
            requester=request.requester,
            tag=request.tag,
            status=status,
            byte_count=byte_count,
            lower_address=address & 0x7F,
            data=data,
        )
        self._stream.send([encode(completion)])

    def _find(self, address: int, length: int, what: str) -> tuple[int, bytearray]:
        """Where in which buffer these bytes are."""
        for start, buffer in self._buffers.items():
            if start <= address and address + length <= start + len(buffer):
                return address - start, buffer
        raise LinkError(
            f"{self.description} wants to {what} {length} bytes of the host's memory at"
            f" 0x{address:08x}, which it was not lent",
            "reset the device",
        )

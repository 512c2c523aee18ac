"""Stand-ins for a PCIe device: one for packets, which fails on request, and one in sysfs."""

import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jalgateware.contract import pcie
from jalgateware.contract.memory_map import CSR_ORIGIN, MAILBOX, MAIN_RAM_ORIGIN
from jalhost.links.tlp import (
    Completion,
    MemoryRead,
    MemoryWrite,
    Packet,
    Status,
    decode,
    encode,
)
from jaltest.bridge import Bridge

Change = Callable[[Completion], Sequence[Packet | bytes]]
"""What a fault makes of an answer."""


def whole(answer: Completion) -> list[Packet | bytes]:
    """No fault."""
    return [answer]


def lost(answer: Completion) -> list[Packet | bytes]:
    return []


def refused(status: int) -> Change:
    """Without data, as a device ends what it cannot do."""
    return lambda answer: [replace(answer, status=status, data=b"", byte_count=4)]


def poisoned(answer: Completion) -> list[Packet | bytes]:
    return [replace(answer, poisoned=True)]


def in_parts(answer: Completion) -> list[Packet | bytes]:
    """A completion for each word."""
    return [
        replace(
            answer,
            data=answer.data[i : i + 4],
            byte_count=answer.byte_count - i,
            lower_address=answer.lower_address + i & 0x7F,
        )
        for i in range(0, len(answer.data), 4)
    ]


@dataclass
class FakeEndpoint:
    """A device for :class:`jalhost.links.root_complex.RootComplex`: its packets and its BAR 0.

    ``change`` is a fault; ``after`` counts answers that come before it. ``last_first`` gives the
    newest answer first. ``asks`` are requests of its own.
    """

    device: Bridge
    change: Change = whole
    after: int = 0
    last_first: bool = False
    asks: deque[Packet] = field(default_factory=deque)
    requests: list[Packet] = field(default_factory=list)
    answers: list[Completion] = field(default_factory=list)
    """Of the host, to what it asked."""
    most_waiting: int = 0
    closed: bool = False
    description: str = "endpoint"

    def __post_init__(self) -> None:
        self._output: deque[bytes] = deque()

    # The stream, as the host sees it.

    def send(self, packets: Sequence[bytes]) -> None:
        for data in packets:
            packet = decode(data)
            if isinstance(packet, Completion):
                self.answers.append(packet)
                continue
            self.requests.append(packet)
            if isinstance(packet, MemoryWrite):
                for i in range(0, len(packet.data), 4):
                    (value,) = struct.unpack_from("<I", packet.data, i)
                    self.device.store(self._bus(packet.address + i), value)
            else:
                self._complete(packet)
        self.most_waiting = max(self.most_waiting, len(self._output))

    def receive(self, timeout_s: float) -> bytes | None:
        assert timeout_s >= 0
        if self.asks:
            return encode(self.asks.popleft())
        if not self._output:
            return None
        return self._output.pop() if self.last_first else self._output.popleft()

    def close(self) -> None:
        self.closed = True

    # The device.

    def _bus(self, address: int) -> int:
        offset = address - pcie.SIMULATED.bar0
        if offset >= pcie.DRAM_WINDOW.origin:
            base = self.device.load(pcie.WINDOW_BASE)
            return MAIN_RAM_ORIGIN + base + offset - pcie.DRAM_WINDOW.origin
        if offset >= pcie.MAILBOX_WINDOW.origin:
            return MAILBOX.origin + offset - pcie.MAILBOX_WINDOW.origin
        return CSR_ORIGIN + offset

    def _complete(self, request: MemoryRead) -> None:
        words = [self.device.load(self._bus(request.address + 4 * i)) for i in range(request.words)]
        answer = Completion(
            completer=pcie.SIMULATED.device,
            requester=request.requester,
            tag=request.tag,
            status=Status.SUCCESS,
            byte_count=4 * request.words,
            lower_address=request.address & 0x7F,
            data=struct.pack(f"<{request.words}I", *words),
        )
        change = whole if self.after else self.change
        self.after = max(0, self.after - 1)
        for packet in change(answer):
            self._output.append(packet if isinstance(packet, bytes) else encode(packet))


@dataclass
class FakeSysfs:
    """A tree like ``/sys/bus/pci``."""

    root: Path

    def __post_init__(self) -> None:
        (self.root / "devices").mkdir(parents=True)
        (self.root / "rescan").write_text("")

    def add(
        self,
        address: str,
        vendor: int = pcie.VENDOR_ID,
        device: int = pcie.DEVICE_IDS[2],
        command: int = 0x0006,
        bar0_bytes: int = pcie.BAR0_BYTES,
        fill: bytes = b"\0",
    ) -> Path:
        """A device whose BAR 0 is a file."""
        folder = self.root / "devices" / address
        folder.mkdir()
        start = 0xF000_0000 if bar0_bytes else 0
        end = start + bar0_bytes - 1 if bar0_bytes else 0
        texts = {
            "vendor": f"0x{vendor:04x}\n",
            "device": f"0x{device:04x}\n",
            "resource": f"0x{start:016x} 0x{end:016x} 0x{0x40200:016x}\n" + "0x0 0x0 0x0\n",
            "current_link_speed": "5.0 GT/s PCIe\n",
            "current_link_width": "4\n",
            "remove": "",
            "enable": "1\n",
        }
        for name, text in texts.items():
            (folder / name).write_text(text)
        config = struct.pack("<3H", vendor, device, command)
        (folder / "config").write_bytes(config.ljust(64, b"\0"))
        (folder / "resource0").write_bytes(fill * bar0_bytes)
        return folder

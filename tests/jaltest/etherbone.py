"""A stand-in for the device's end of an Etherbone link, and for the network in between."""

import random
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from jalgateware.contract import etherbone
from jaltest.bridge import Bridge

HEADER_BYTES = 12


@dataclass
class EtherboneBridge:
    """Takes packets, and gives answers, as the gateware does; ``bridge`` has the bus behind it."""

    bridge: Bridge
    last: int | None = None
    executed: list[int] = field(default_factory=list)
    """Numbers of the requests that were executed."""

    def feed(self, packet: bytes) -> bytes | None:
        """Takes a packet; returns the answer, if there is one."""
        header, words = packet[:HEADER_BYTES], len(packet[HEADER_BYTES:]) // 4
        number, writes, reads = int.from_bytes(header[4:8], "big"), header[10], header[11]
        assert header[:4] == bytes((0x4E, 0x6F, 0x10, 0x44))
        assert header[8:10] == bytes((0, 15))
        assert words == bool(writes) + writes + bool(reads) + reads <= etherbone.RECORD_WORDS
        if number:
            if self.last is not None and not etherbone.follows(number, self.last):
                return None
            self.last = number
            self.executed.append(number)
        payload = list(struct.unpack(f">{words}I", packet[HEADER_BYTES:]))
        if writes:
            address, *values = payload[: 1 + writes]
            for i, value in enumerate(values):
                self.bridge.store(address + 4 * i, value)
        if not reads:
            return None
        tag, *addresses = payload[-1 - reads :]
        answer = [tag, *map(self.load, addresses)]
        return bytes((0x4E, 0x6F, 0x10, 0x44, 0, 0, 0, 0, 0, 15, reads, 0)) + struct.pack(
            f">{len(answer)}I", *answer
        )

    def load(self, address: int) -> int:
        """A read access."""
        if address == etherbone.LAST_NUMBER_ADDRESS:
            return self.last or 0
        return self.bridge.load(address)


@dataclass
class Faults:
    """What a network does to packets: each with this probability, one by one."""

    seed: int = 0
    lose: float = 0.0
    repeat: float = 0.0
    delay: float = 0.0

    def __post_init__(self) -> None:
        self.pick = random.Random(self.seed)

    def copies(self) -> list[bool]:
        """Whether each copy of a packet that arrives is late."""
        copies = 0 if self.pick.random() < self.lose else 1 + (self.pick.random() < self.repeat)
        return [self.pick.random() < self.delay for _ in range(copies)]


class SimulatedNetwork:
    """Datagrams to an :class:`EtherboneBridge`, in a time of their own.

    A packet takes a millisecond each way; one that is delayed takes up to 100 times as long.
    """

    LATENCY_S = 0.001

    def __init__(self, bridge: EtherboneBridge, faults: Faults | None = None) -> None:
        self.description = "network"
        self.refused = False
        self.bridge = bridge
        self.faults = faults or Faults()
        self.now = 0.0
        self.sent: list[bytes] = []
        self._on_the_way: list[tuple[float, int, bytes, bool]] = []
        """Time of arrival, a number, the packet, whether it goes to the device."""
        self._numbers = count()

    def clock(self) -> float:
        return self.now

    def send(self, packet: bytes) -> None:
        self.sent.append(packet)
        self._post(packet, self.now, True)

    def receive(self, timeout_s: float) -> bytes | None:
        deadline = self.now + timeout_s
        while self._on_the_way and self._on_the_way[0][0] <= deadline:
            time, _, packet, to_device = heappop(self._on_the_way)
            self.now = max(self.now, time)
            if not to_device:
                return packet
            answer = self.bridge.feed(packet)
            if answer:
                self._post(answer, time, False)
        self.now = deadline
        return None

    def close(self) -> None:
        return

    def _post(self, packet: bytes, now: float, to_device: bool) -> None:
        for late in self.faults.copies():
            time = now + self.LATENCY_S * (self.faults.pick.uniform(1, 100) if late else 1)
            heappush(self._on_the_way, (time, next(self._numbers), packet, to_device))


def serve_etherbone(bridge: EtherboneBridge) -> tuple[socket.socket, tuple[str, int]]:
    """Serves a bridge in a thread on a UDP port, until the socket is closed; returns both."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def work() -> None:
        try:
            while True:
                packet, sender = server.recvfrom(4096)
                answer = bridge.feed(packet)
                if answer:
                    server.sendto(answer, sender)
        except OSError:
            return

    threading.Thread(target=work, daemon=True).start()
    return server, server.getsockname()


class RoughNetwork:
    """A UDP proxy that loses, repeats and reorders datagrams; also a context manager.

    A delayed packet waits until some others have overtaken it, or for a little while.
    """

    OVERTAKEN_BY = 3
    WAIT_S = 0.02

    def __init__(self, device: tuple[str, int], faults: Faults) -> None:
        self.faults = faults
        self.lost = self.passed = 0
        self._device = device
        self._client: tuple[str, int] | None = None
        self._front, self._back = (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)
        )
        self._front.bind(("127.0.0.1", 0))
        self._back.bind(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._carry, args=(source, send), daemon=True)
            for source, send in ((self._front, self._to_device), (self._back, self._to_client))
        ]
        self._ended = False

    @property
    def address(self) -> tuple[str, int]:
        """Where the device seems to be."""
        host, port = self._front.getsockname()
        return str(host), int(port)

    def __enter__(self) -> "RoughNetwork":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join()
        self._front.close()
        self._back.close()

    def _to_device(self, packet: bytes) -> None:
        self._back.sendto(packet, self._device)

    def _to_client(self, packet: bytes) -> None:
        if self._client:
            self._front.sendto(packet, self._client)

    def _carry(self, source: socket.socket, send: Callable[[bytes], None]) -> None:
        source.settimeout(self.WAIT_S)
        held: list[tuple[int, bytes]] = []
        while not self._ended:
            try:
                packet, sender = source.recvfrom(4096)
            except TimeoutError:
                for _, late in held:
                    send(late)
                held = []
                continue
            if source is self._front:
                self._client = sender
            with self._lock:
                copies = self.faults.copies()
                self.lost += not copies
                self.passed += len(copies)
            held = [(left - 1, late) for left, late in held]
            for _, late in [item for item in held if item[0] <= 0]:
                send(late)
            held = [item for item in held if item[0] > 0]
            for is_late in copies:
                if is_late:
                    held.append((self.OVERTAKEN_BY, packet))
                else:
                    send(packet)

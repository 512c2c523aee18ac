"""A serial line in simulated time: bit rates, an adapter, and faults, with a device at its end.

Ten bits a byte, in both directions. The bridge is LiteX's Stream2Wishbone byte by byte, with its
timeout and the FIFO in front of it; ``time.sleep`` and ``time.monotonic`` are the model's own.
"""

import random
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

from jalgateware.contract.mailbox import TUNING_MS, Field
from jalgateware.contract.memory_map import (
    CSR_BANK_BYTES,
    CSR_LOCATIONS,
    CSR_ORIGIN,
    MAILBOX,
    MAIN_RAM_ORIGIN,
    TUNING_WORD_ADDRESS,
)
from jalgateware.contract.serial_port import BASE_BAUD, FIFO_BYTES, tuning_word
from jalhost.errors import ConnectionLost, LinkError
from jaltest.device import CLOCK_HZ, FakeDevice

BYTE_BITS = 10
KERNEL_BYTES = 4096
"""What the operating system takes before a write waits."""

BRIDGE_TIMEOUT_S = 0.1
BUS_TIMEOUT_S = 0.01
"""An access to an address where nothing is."""

TOLERANCE = 0.03
"""Difference of both ends' rates that a byte survives."""

RESET_ADDRESS = CSR_ORIGIN + CSR_LOCATIONS["ctrl"] * CSR_BANK_BYTES


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)

    def monotonic(self) -> float:
        return self.now


@contextmanager
def simulated_time(seed: int = 0) -> Iterator[Clock]:
    """A clock in the place of this computer's; marks and patterns come from a seed, as faults do.

    What a damaged request does depends on the bytes behind it.
    """
    clock = Clock()
    state = random.getstate()
    random.seed(seed)
    try:
        with (
            mock.patch.object(time, "sleep", clock.sleep),
            mock.patch.object(time, "monotonic", clock.monotonic),
        ):
            yield clock
    finally:
        random.setstate(state)


@dataclass
class SerialDevice(FakeDevice):
    """A device whose serial port has a tuning word, and which can be reset as a whole."""

    tunable: bool = True
    baud: int = BASE_BAUD
    """At which it is found."""
    resets: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        word = tuning_word(self.baud, CLOCK_HZ)
        self.memory[TUNING_WORD_ADDRESS] = word
        self.put(Field.TUNING_WORD, word)

    def exists(self, address: int) -> bool:
        """Whether something answers there."""
        dram = MAIN_RAM_ORIGIN <= address < MAIN_RAM_ORIGIN + self.dram_bytes
        mailbox = MAILBOX.origin <= address < MAILBOX.origin + MAILBOX.size
        return dram or mailbox or address >= CSR_ORIGIN

    def store(self, address: int, value: int) -> None:
        if address == TUNING_WORD_ADDRESS and not self.tunable:
            return
        if address == RESET_ADDRESS and value & 3:
            self.restart(whole=bool(value & 1))
            return
        if self.exists(address):
            super().store(address, value)

    def restart(self, whole: bool) -> None:
        """Resets the CPU, or the whole system: rate and mailbox, but not DRAM."""
        self.resets += 1
        self.run = None
        if whole:
            boots = self.get(Field.BOOTS)
            self.memory.clear()
            self.put(Field.BOOTS, boots)
            self.memory[TUNING_WORD_ADDRESS] = tuning_word(BASE_BAUD, CLOCK_HZ)
        self.machine = self.header = None
        self.boot()


@dataclass(frozen=True)
class Faults:
    """Probabilities for each byte, in either direction."""

    corrupt: float = 0.0
    drop: float = 0.0
    repeat: float = 0.0

    @property
    def total(self) -> float:
        return self.corrupt + self.drop + self.repeat


NO_FAULTS = Faults()
NOISE = Faults(0.05, 0.02, 0.02)
"""What happens above the rate that a cable is good for."""


@dataclass
class Counts:
    """What happened on the line."""

    corrupted: int = 0
    dropped: int = 0
    repeated: int = 0
    overrun: int = 0
    sent: int = 0


class Bridge:
    """The device's end: requests, byte by byte and second by second."""

    def __init__(self, device: SerialDevice) -> None:
        self.device = device
        self._bytes = bytearray()
        self._since = 0.0
        self._left = 0
        self._address = 0
        self._step = 4
        self.busy_until = 0.0

    def take(self, byte: int, at: float, byte_s: float) -> list[int]:
        """Takes a byte at a time, and returns the bytes of an answer."""
        if (self._bytes or self._left) and at - self._since > BRIDGE_TIMEOUT_S:
            self._bytes.clear()
            self._left = 0
        if not self._bytes and not self._left:
            self._since = at
        self._bytes.append(byte)
        if self._left:
            if len(self._bytes) == 4:
                self._write(at)
            return []
        if len(self._bytes) < 6:
            return []
        command, words = self._bytes[0], self._bytes[1] or 1 << 30
        self._address = 4 * int.from_bytes(self._bytes[2:6], "big") & 0xFFFFFFFF
        self._step = 4 if command in (1, 2) else 0
        self._bytes.clear()
        if command in (1, 3):
            self._left = words
        return self._read(words, at, byte_s) if command in (2, 4) else []

    def _write(self, at: float) -> None:
        self.device.store(self._address, int.from_bytes(self._bytes, "big"))
        self._wait(at)
        self._bytes.clear()
        self._address = (self._address + self._step) & 0xFFFFFFFF
        self._left -= 1

    def _read(self, words: int, at: float, byte_s: float) -> list[int]:
        answer: list[int] = []
        self.busy_until = at
        for _ in range(words):
            answer += self.device.load(self._address).to_bytes(4, "big")
            self._wait(self.busy_until)
            self.busy_until += 4 * byte_s
            self._address = (self._address + self._step) & 0xFFFFFFFF
            if self.busy_until - at > BRIDGE_TIMEOUT_S:
                break
        return answer

    def _wait(self, at: float) -> None:
        nothing = 0.0 if self.device.exists(self._address) else BUS_TIMEOUT_S
        self.busy_until = max(self.busy_until, at + nothing)


@dataclass
class Cut:
    """A cable that is pulled out, and put in again under a new name."""

    at: float
    seconds: float
    power: bool = True
    """Whether the device keeps its power."""


class Uart:
    """The host's end: a :class:`jalhost.links.link.TunableStream`."""

    def __init__(
        self,
        device: SerialDevice,
        clock: Clock,
        faults: Faults = NO_FAULTS,
        seed: int = 0,
        best_baud: int = 3_000_000,
        adapter_baud: int = 3_000_000,
        latency_s: float = 0.001,
    ) -> None:
        self.description = "ttyTEST0"
        self.device = device
        self.clock = clock
        self.faults = faults
        self.best_baud = best_baud
        self.adapter_baud = adapter_baud
        self.latency_s = latency_s
        self.noise = NOISE
        self.baud = BASE_BAUD
        self.counts = Counts()
        self.cuts: list[Cut] = []
        self.closed = False
        self._random = random.Random(seed)
        self._bridge = Bridge(device)
        self._waiting: deque[float] = deque()
        self._line_free = 0.0
        self._input: deque[tuple[float, int]] = deque()
        self._dead = False
        self._odd_since: float | None = None

    # TunableStream.

    def set_baud(self, baud: int) -> None:
        self._check()
        if baud > self.adapter_baud:
            raise ValueError(baud)
        self.baud = baud

    def send(self, data: bytes) -> None:
        self._check()
        byte_s = BYTE_BITS / self.baud
        self._line_free = max(self._line_free, self.clock.now)
        for byte in data:
            self._line_free += byte_s
            self.counts.sent += 1
            for arriving in self._on_the_way(byte):
                self._arrive(arriving, self._line_free)
        self.clock.sleep(self._line_free - self.clock.now - KERNEL_BYTES * byte_s)
        self._check()

    def drain(self) -> None:
        self._check()
        self.clock.sleep(self._line_free - self.clock.now)

    def receive(self, most: int, timeout_s: float) -> bytes:
        self._check()
        if not self._input or self._input[0][0] > self.clock.now + timeout_s:
            self.clock.sleep(timeout_s)
            self._check()
            return b""
        self.clock.sleep(self._input[0][0] - self.clock.now)
        data = bytearray()
        while self._input and len(data) < most and self._input[0][0] <= self.clock.now:
            data.append(self._input.popleft()[1])
        return bytes(data)

    def discard_input(self) -> None:
        self._check()
        while self._input and self._input[0][0] <= self.clock.now:
            self._input.popleft()

    def reopen(self) -> None:
        cut = self.cuts.pop(0)
        if cut.seconds > 30:
            self.clock.sleep(30)
            raise LinkError("lost the connection to ttyTEST0, and it did not come back")
        self.clock.sleep(max(0.0, cut.at + cut.seconds - self.clock.now))
        if not cut.power:
            self.device.dram[:] = 0
            self.device.restart(whole=True)
        self._dead = False
        self._input.clear()
        self._line_free = 0.0
        self.description = "ttyTEST1"

    def close(self) -> None:
        self.closed = True

    # The line.

    def _check(self) -> None:
        if self.cuts and self.clock.now >= self.cuts[0].at:
            self._dead = True
        if self._dead:
            raise ConnectionLost("lost the connection to ttyTEST0: unplugged")

    def device_baud(self, at: float) -> float:
        """The device's rate, once the firmware has looked at it."""
        word = self.device.memory[TUNING_WORD_ADDRESS]
        base = tuning_word(BASE_BAUD, CLOCK_HZ)
        if word in (base, self.device.get(Field.TUNING_WORD)):
            self._odd_since = None
        elif self._odd_since is None:
            self._odd_since = at
        elif at - self._odd_since > TUNING_MS / 1000:
            self.device.memory[TUNING_WORD_ADDRESS] = word = base
        return word * CLOCK_HZ / 2**32

    def _on_the_way(self, byte: int) -> list[int]:
        """What becomes of a byte."""
        faults = self.noise if self.baud > self.best_baud else self.faults
        dice = self._random.random() if faults.total else 1.0
        if dice >= faults.total:
            return [byte]
        if dice < faults.corrupt:
            self.counts.corrupted += 1
            return [byte ^ self._random.randrange(1, 256)]
        if dice < faults.corrupt + faults.drop:
            self.counts.dropped += 1
            return []
        self.counts.repeated += 1
        return [byte, byte]

    def _understood(self, byte: int, at: float) -> int | None:
        """A byte as an end with perhaps another rate reads it."""
        if abs(self.baud / self.device_baud(at) - 1) < TOLERANCE:
            return byte
        return self._random.choice([None, self._random.randrange(256)])

    def _arrive(self, sent: int, at: float) -> None:
        """A byte reaches the device's FIFO."""
        if self.cuts and at >= self.cuts[0].at:
            return
        byte = self._understood(sent, at)
        if byte is None:
            return
        while self._waiting and self._waiting[0] <= at:
            self._waiting.popleft()
        if len(self._waiting) >= FIFO_BYTES:
            self.counts.overrun += 1
            return
        begin = max(at, self._bridge.busy_until)
        if begin > at:
            self._waiting.append(begin)
        byte_s = BYTE_BITS / self.device_baud(at)
        for number, answered in enumerate(self._bridge.take(byte, begin, byte_s), 1):
            for arriving in self._on_the_way(answered):
                read = self._understood(arriving, at)
                if read is not None:
                    self._input.append((begin + number * byte_s + self.latency_s, read))

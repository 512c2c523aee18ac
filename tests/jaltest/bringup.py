"""A device for bring-ups: the stand-in for a whole device, with memory tests, time, and faults."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jalgateware.contract import mailbox
from jalgateware.contract.mailbox import Field, MemoryTest, Result, State
from jalgateware.contract.memory_map import IDENTIFIER_ADDRESS, MAIN_RAM_ORIGIN
from jalhost.bringup.bench import Bench
from jalhost.bringup.build import Build, Geometry
from jalhost.bringup.report import StageReport
from jalhost.bringup.runner import run_round
from jalhost.bringup.sequence import FUNCTIONS
from jalhost.bringup.stages import Stage
from jalhost.identity import Identity
from jalhost.links.link import Link
from jalhost.links.uartbone import UartBone
from jaltest.bridge import BridgeStream
from jaltest.device import CLOCK_HZ, FINGERPRINT, FakeDevice
from jaltest.tiny import tiny_image

LOOK_S = 0.001
"""Time that passes whenever somebody asks for it."""

GEOMETRY = Geometry(data_bits=16, banks=8, row_bytes=2048)

WORD = 0xFFFFFFFF


@dataclass
class BoardUnderTest(FakeDevice):
    """Broken as its fields say. ``stuck``: bits of words that read as ones."""

    stuck: int = 0
    noisy: int = 0
    """Bits that read as noise."""
    deaf_address: int = 0
    """Address bits that do nothing."""
    forgetful: bool = False
    """Loses a bit of each word when it is left alone for 10 ms."""
    clock: float = 1.0
    counting: float = 1.0
    """Counts of the cycle counter in a cycle."""
    levelling: str = ""
    dram_failed: bool = False
    wrong_sample: int | None = None
    """A run's sample that comes as another token."""
    now: float = 0.0
    written: float = 0.0

    def boot(self) -> None:
        super().boot()
        self.put(Field.BOOT_CYCLES, 36_505, self.dram_bytes, WORD)
        if self.dram_failed:
            self.put(Field.STATE, State.FAULT)
            self.put(Field.FAULT, Result.DRAM_FAILED)
        text = self.levelling.encode().ljust(mailbox.LEVELLING_BYTES, b"\0")
        words = [int.from_bytes(text[i : i + 4], "little") for i in range(0, len(text), 4)]
        self.put(Field.LEVELLING, *words)
        for index, character in enumerate("jalhost stand-in\0"):
            self.memory[IDENTIFIER_ADDRESS + 4 * index] = ord(character)

    def load(self, address: int) -> int:
        value = super().load(self._decoded(address))
        if not self._in_dram(address):
            return value
        noise = mailbox.memory_word(address, self.looks) & self.noisy
        lost = 0x10 if self.forgetful and self.now - self.written > 0.01 else 0
        return (value | self.stuck) & ~self.noisy & ~lost & WORD | noise

    def store(self, address: int, value: int) -> None:
        if self._in_dram(address):
            self.written = self.now
        super().store(self._decoded(address), value)

    def _in_dram(self, address: int) -> bool:
        return MAIN_RAM_ORIGIN <= address < MAIN_RAM_ORIGIN + self.dram_bytes

    def _decoded(self, address: int) -> int:
        return address & ~self.deaf_address if self._in_dram(address) else address

    def samples(self, *arguments: Any) -> Iterator[tuple[int, int]]:
        for index, (word, cycles) in enumerate(super().samples(*arguments)):
            yield word ^ (index == self.wrong_sample), cycles

    def do_status(self, arguments: list[int]) -> tuple[Result, list[int]]:
        result, words = super().do_status(arguments)
        cycles = int(self.now * CLOCK_HZ * self.clock * self.counting) + 1
        return result, [*words, cycles & WORD, cycles >> 32]

    def do_test_memory(self, arguments: list[int]) -> tuple[Result, list[int]]:
        kind, offset, count, seed, reach = arguments[:5]
        spread = kind in (MemoryTest.SCATTER, MemoryTest.GATHER)
        places = [
            (index * mailbox.SCATTER_STEP + seed) % reach if spread else index
            for index in range(count)
        ]
        addresses = [MAIN_RAM_ORIGIN + offset + 4 * place for place in places]
        expected = {address: mailbox.memory_word(address, seed) for address in addresses}
        if kind == MemoryTest.MARCH:
            expected = dict.fromkeys(addresses, seed)
        if kind not in (MemoryTest.CHECK, MemoryTest.GATHER):
            for address, word in expected.items():
                self.store(address, word)
        if kind in (MemoryTest.FILL, MemoryTest.SCATTER):
            return Result.OK, []
        found = {address: self.load(address) for address in addresses}
        wrong = [address for address in addresses if found[address] != expected[address]]
        if not wrong:
            return Result.OK, []
        bits = [0, 0]
        for address in wrong:
            bits[address // 4 % 2] |= found[address] ^ expected[address]
        first = wrong[0]
        return Result.FAILED, [len(wrong), *bits, first, expected[first], found[first]]


@dataclass
class FakeAccess:
    """The way to it: bytes go over a stream in this process, and time is its own."""

    device: BoardUnderTest
    build: Build | None = None
    sensors: tuple[str, ...] = ()
    simulated: bool = True
    boot_timeout_s: float = 0.05
    patience_s: float = 0.2
    lose_answer: list[int] = field(default_factory=list)
    """Bytes that answers lose on each link that is opened."""

    def open(self, probing: bool = False) -> Link:
        stream = BridgeStream(self.device)
        stream.lose_answer = list(self.lose_answer)
        return UartBone(stream, mark_address=mailbox.Field.MARK + 0x9000_0000)

    def time(self) -> tuple[int | None, float]:
        self.device.now += LOOK_S
        cycles = int(self.device.now * CLOCK_HZ * self.device.clock)
        return (cycles if self.simulated else None), self.device.now

    def settle(self, link: Link, identity: Identity) -> None:
        """As it is."""

    def close(self) -> None:
        """Nothing to give back."""


class Silent:
    """Takes what a listener hears."""

    def started(self, stage: Stage) -> None:
        """Nobody looks."""

    def ended(self, report: StageReport) -> None:
        """Nobody looks."""


def bench_of(device: BoardUnderTest, access: FakeAccess | None = None) -> Bench:
    """A bench with this device, and a tiny model."""
    build = Build(FINGERPRINT, CLOCK_HZ, {}, None, GEOMETRY)
    return Bench("sim", access or FakeAccess(device, build), tiny_image(), lambda _: None)


def run_stages(bench: Bench, stages: Sequence[Stage]) -> dict[Stage, StageReport]:
    """Runs stages; returns their reports."""
    with_all = run_round(1, bench, stages, FUNCTIONS, Silent())
    return {report.stage: report for report in with_all.stages}

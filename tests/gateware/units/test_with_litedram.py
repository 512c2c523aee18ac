"""The DRAM units on a real LiteDRAM controller with its DDR3 PHY model."""

import random

from litedram.core.controller import LiteDRAMController
from litedram.core.crossbar import LiteDRAMCrossbar
from litedram.modules import MT41K64M16
from litedram.phy.model import SDRAMPHYModel
from migen import Module, run_simulation

from jalgateware.contract.config import EngineConfig
from jalgateware.units.kv_writer import KVWriter
from jalgateware.units.reader import StreamReader
from jaltest.gateware import Clock, Process, Receiver, wait_for

CLOCK_HZ = 100e6
ROW_WORDS, BANKS, ROWS = 128, 8, 2
WORDS = ROW_WORDS * BANKS * ROWS
HEAD_WORDS, HEADS = 2, 3


class Bench:
    """LiteDRAM with a reader on four ports and a writer on a fifth, as wide as its words."""

    def __init__(self) -> None:
        pick = random.Random(3)
        content = [pick.getrandbits(32) for _ in range(4 * WORDS)]
        parts = [content[4 * i : 4 * i + 4] for i in range(WORDS)]
        self.words = [sum(part << (32 * i) for i, part in enumerate(word)) for word in parts]

        # The real chip's timing with few rows: a simulated memory costs a signal per word.
        small = type("SmallChip", (MT41K64M16,), {"nrows": ROWS})
        chip = small(CLOCK_HZ, "1:4")
        # As wide as the chip's: so few rows would leave no room for A10, which closes all banks.
        chip.geom_settings.addressbits = 13
        phy = SDRAMPHYModel(chip, data_width=16, clk_freq=CLOCK_HZ, init=content)
        controller = LiteDRAMController(
            phy.settings, chip.geom_settings, chip.timing_settings, CLOCK_HZ
        )
        crossbar = LiteDRAMCrossbar(controller.interface)
        config = EngineConfig(lanes=16)
        self.reader = StreamReader(config, [crossbar.get_port("read") for _ in range(4)])
        self.writer = KVWriter(config, crossbar.get_port("write"))
        self.system = Module()
        self.system.comb += controller.dfi.connect(phy.dfi)
        self.system.submodules += phy, controller, crossbar, self.reader, self.writer

        self.clock = Clock()
        self.received = Receiver(self.reader.source, [self.reader.source.data], self.clock)

    def read(self, commands: list[tuple[int, int]]) -> Process:
        sink = self.reader.sink
        for address, words in commands:
            yield sink.address.eq(address)
            yield sink.words.eq(words)
            yield sink.valid.eq(1)
            yield
            yield from wait_for(sink.ready)
            yield sink.valid.eq(0)
        yield
        yield from wait_for(self.reader.idle)

    def write(self, base: int, stride: int, position: int, words: list[int]) -> Process:
        unit = self.writer
        yield unit.head_words.eq(HEAD_WORDS)
        yield unit.head_stride.eq(stride)
        yield unit.base.eq(base)
        yield unit.positions[0].eq(position)
        # Its place is looked up ahead.
        for _ in range(10):
            yield
        yield unit.valid.eq(1)
        for number, word in enumerate(words):
            yield unit.head.eq(number // HEAD_WORDS)
            yield unit.chunk.eq(number % HEAD_WORDS)
            yield unit.word.eq(word)
            yield
        yield unit.valid.eq(0)
        yield
        yield from wait_for(unit.idle)

    def run(self, main: Process) -> None:
        run_simulation(self.system, [self.clock.process(), main, self.received.process()])


def test_reads_and_writes_arrive() -> None:
    bench = Bench()
    # Across rows and banks, single words, the same bank twice in another row, the last word.
    commands = [(100, 150), (1000, 1), (3, 2), (ROW_WORDS * BANKS + 5, 20), (WORDS - 1, 1)]
    written = [random.Random(n).getrandbits(128) for n in range(HEADS * HEAD_WORDS)]
    base, stride, position = 300, 130, 7

    def main() -> Process:
        yield from bench.read(commands)
        expected = [word for start, n in commands for word in bench.words[start : start + n]]
        assert bench.received.values == expected
        bench.received.clear()
        yield from bench.write(base, stride, position, written)
        # Around what was written: a word of the old content on each side.
        starts = [base + head * stride + 2 * position - 1 for head in range(HEADS)]
        yield from bench.read([(start, 4) for start in starts])
        for head, start in enumerate(starts):
            words = bench.received.values[4 * head : 4 * head + 4]
            assert words[0] == bench.words[start]
            assert words[1:3] == written[2 * head : 2 * head + 2]
            assert words[3] == bench.words[start + 3]

    bench.run(main())

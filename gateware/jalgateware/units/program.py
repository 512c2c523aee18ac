"""Where the program lives: written as 32-bit words, read as instructions."""

from litex.gen import LiteXModule
from migen import READ_FIRST, Cat, If, Memory, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import FIELDS, INSTRUCTION_WORDS
from jalgateware.units.fifo import NEVER_COLLIDES


class ProgramMemory(LiteXModule):
    """The program, and the instruction that was read last.

    Interface: ``write`` (strobe), ``write_address`` (in 32-bit words), ``write_data``, not while a
    program runs; ``read`` (pulse) with ``index`` -> ``done`` (pulse); ``field``: the fields of
    :data:`~jalgateware.contract.isa.FIELDS`, valid from ``done`` on until the next ``read``.
    Latency: ``LATENCY`` cycles from ``read`` to ``done``.
    """

    LATENCY = INSTRUCTION_WORDS + 2

    def __init__(self, config: EngineConfig) -> None:
        depth = config.max_instructions * INSTRUCTION_WORDS
        self.write = Signal()
        self.write_address = Signal(max=depth)
        self.write_data = Signal(32)
        self.read = Signal()
        self.index = Signal(max=config.max_instructions)
        self.done = Signal()
        bits = Signal(32 * INSTRUCTION_WORDS, reset_less=True)
        self.field = {name: bits[low : low + width] for name, (low, width) in FIELDS.items()}

        # # #

        memory = Memory(32, depth)
        memory.attr = {NEVER_COLLIDES}
        writer = memory.get_port(write_capable=True, mode=READ_FIRST)
        reader = memory.get_port(mode=READ_FIRST)
        self.specials += memory, writer, reader

        word = Signal(max=INSTRUCTION_WORDS)
        reading, arriving, last = Signal(), Signal(), Signal()
        self.comb += [
            writer.we.eq(self.write),
            writer.adr.eq(self.write_address),
            writer.dat_w.eq(self.write_data),
            reader.adr.eq(Cat(word, self.index)),
        ]
        self.sync += [
            If(reading, word.eq(word + 1)),
            If(word == INSTRUCTION_WORDS - 1, reading.eq(0)),
            If(self.read, reading.eq(1), word.eq(0)),
            arriving.eq(reading),
            last.eq(reading & (word == INSTRUCTION_WORDS - 1)),
            If(arriving, bits.eq(Cat(bits[32:], reader.dat_r))),
            self.done.eq(last),
        ]

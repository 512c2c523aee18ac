"""Sums of probability x value over the positions, and what brings their parts together."""

from litex.gen import LiteXModule
from migen import READ_FIRST, Array, Cat, If, Memory, Mux, Signal, log2_int

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV, PROBABILITY, VALUE_ACCUMULATOR
from jalgateware.units.attention_lanes import slot_steps
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.pipeline import delayed

PLACES = 4
"""Parts of a sum, of every fourth position each: a part is in the memory again before it is next
wanted, even where every cycle has a position of its own."""

TERM_BITS = PROBABILITY.fraction + KV.bits
"""A probability, which is at most 1, times a value."""


def address_bits(config: EngineConfig) -> tuple[int, int]:
    """Bits of a sum's address: of the word of the head, and of the step."""
    words = -(-config.max_head_dim // config.kv_lanes)
    return (max(2, words) - 1).bit_length(), (max(2, slot_steps(config)) - 1).bit_length()


class ValueSums(LiteXModule):
    """Per-lane sums of a slot in block RAM, by part, step and word.

    Interface: ``address`` {word, step, part}; ``write``: the sum that comes of it is kept;
    ``first``: nothing is stored there yet; ``fold``: what is stored is added up, and no products:
    to the sum of the cycle before where ``chain`` is set. All ``AHEAD`` cycles ahead of the
    ``products``. ``lane``: the one of ``address`` whose stored sum is ``result``
    {VALUE_ACCUMULATOR} ``READ_LATENCY`` cycles later. Latency: ``LATENCY`` cycles from the products
    until the sum can be read; an address may come again after ``PLACES`` cycles. Throughput: one
    word per cycle. Overflow: none. Golden model: the value sum in
    :func:`jalgateware.golden.attention.attend_head`.
    """

    AHEAD = 2
    LATENCY = 2
    READ_LATENCY = 3

    def __init__(self, config: EngineConfig, products: list[Signal]) -> None:
        part_bits = log2_int(PLACES)
        self.address = Signal(sum(address_bits(config)) + part_bits)
        self.first = Signal()
        self.write = Signal()
        self.fold = Signal()
        self.chain = Signal()
        self.lane = Signal(max=max(2, len(products)))
        self.result = Signal((VALUE_ACCUMULATOR.bits, True), reset_less=True)

        # # #

        width = TERM_BITS + log2_int(config.max_context)
        memory = Memory(width * len(products), 1 << len(self.address))
        memory.attr = {NEVER_COLLIDES}
        write = memory.get_port(write_capable=True, mode=READ_FIRST)
        read = memory.get_port(mode=READ_FIRST)
        self.specials += memory, write, read
        self.comb += [
            read.adr.eq(self.address),
            write.adr.eq(delayed(self, self.address, self.AHEAD + 1)),
            write.we.eq(delayed(self, self.write, self.AHEAD + 1)),
        ]
        first = delayed(self, self.first, 1)
        fold, chain = (delayed(self, flag, self.AHEAD) for flag in (self.fold, self.chain))
        olds, totals = [], []
        for lane, product in enumerate(products):
            old, total = (Signal((width, True), reset_less=True) for _ in range(2))
            added = Signal((width, True))
            self.comb += If(~fold, added.eq(product)).Elif(chain, added.eq(total))
            self.sync += [
                # Block RAM outputs are slow: a register of their own.
                old.eq(read.dat_r[width * lane : width * (lane + 1)]),
                If(first, old.eq(0)),
                total.eq(old + added),
            ]
            olds.append(old)
            totals.append(total)
        self.comb += write.dat_w.eq(Cat(*totals))
        self.sync += self.result.eq(Array(olds)[delayed(self, self.lane, self.AHEAD)])


class Fold(LiteXModule):
    """Walks the parts of all sums of a turn once its values are through, down to the first.

    That one, written last, becomes the sum.

    Interface: ``start`` (pulse) with ``first_step``, ``last_step``, ``last_part`` (parts that are
    used, less one); ``last_word``: constant for a model -> ``active``, ``address`` {word, step,
    part}, ``first_part``, ``final_part``: to :class:`ValueSums`; ``done`` (pulse): with the last
    one. Latency: 1 cycle. Throughput: a part per cycle.
    """

    def __init__(self, config: EngineConfig) -> None:
        word_bits, step_bits = address_bits(config)
        self.start = Signal()
        self.first_step, self.last_step = Signal(step_bits), Signal(step_bits)
        self.last_part = Signal(log2_int(PLACES))
        self.last_word = Signal(word_bits)
        self.active = Signal()
        self.first_part, self.final_part = Signal(), Signal()
        self.done = Signal()

        # # #

        word, step, part = Signal(word_bits), Signal(step_bits), Signal(log2_int(PLACES))
        self.address = Cat(word, step, part)
        last_word = Signal()
        self.comb += [
            self.first_part.eq(part == self.last_part),
            self.final_part.eq(part == 0),
            last_word.eq(word == self.last_word),
            self.done.eq(self.active & self.final_part & last_word & (step == self.last_step)),
        ]
        self.sync += [
            If(
                self.active,
                part.eq(part - 1),
                If(
                    self.final_part,
                    part.eq(self.last_part),
                    word.eq(Mux(last_word, 0, word + 1)),
                    If(last_word, step.eq(step + 1)),
                ),
            ),
            If(self.done, self.active.eq(0)),
            If(
                self.start,
                self.active.eq(1),
                part.eq(self.last_part),
                word.eq(0),
                step.eq(self.first_step),
            ),
        ]

"""Multipliers of attention, shared by scores and values, and what sums their products up."""

from typing import Any

from litex.gen import LiteXModule
from migen import READ_FIRST, Array, Cat, If, Memory, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV, PROBABILITY, SCORE, VALUE_ACCUMULATOR
from jalgateware.contract.isa import FIELDS
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.pipeline import delayed, fits, registered_sum, sum_latency

RAW_SCORE_BITS = 40
"""16 x 16 bits over up to 128 elements, and a sign."""


class SlotLanes(LiteXModule):
    """One query head's multipliers: a word of keys or values per cycle.

    ``products[i] = operand[i] * word[i]``

    Interface: ``query`` (word of KV), ``probability`` {PROBABILITY}, ``use_probability``, ``word``
    (word of KV) -> ``products``; valid-only. Latency: ``LATENCY`` cycles (operands, product twice).
    Throughput: one word per cycle. Overflow: none.
    """

    LATENCY = 3

    def __init__(self, lanes: int) -> None:
        self.query = Signal(KV.bits * lanes)
        self.probability = Signal(PROBABILITY.bits)
        self.use_probability = Signal()
        self.word = Signal(KV.bits * lanes)
        self.products = [Signal((KV.bits + 18, True)) for _ in range(lanes)]

        # # #

        for i, product in enumerate(self.products):
            # Not reset, as nobody reads them before they are valid: they fit into the multiplier.
            first = Signal((KV.bits + 18, True), reset_less=True)
            left = Signal((18, True), reset_less=True)
            right = Signal((KV.bits, True), reset_less=True)
            query = Signal((KV.bits, True))
            self.comb += query.eq(self.query[KV.bits * i : KV.bits * (i + 1)])
            self.sync += [
                left.eq(query),
                If(self.use_probability, left.eq(self.probability)),
                right.eq(self.word[KV.bits * i : KV.bits * (i + 1)]),
                # Two registers: the first one stays at the multiplier, wherever the adders are.
                first.eq(left * right),
                product.eq(first),
            ]


class ScoreSum(LiteXModule):
    """Sums the products of a head row, word by word, and brings the sum to SCORE.

    ``score = sat(round(sum / 2**shift))``

    Interface: ``products``, ``step`` (which query head of the slot), ``first``, ``last`` (word of
    the head row), ``valid``; ``shift`` -> ``score`` {SCORE}, ``score_valid``; valid-only. Latency:
    ``latency`` cycles from the last word. Throughput: one word per cycle. Overflow: saturates;
    ``saturated`` is high with such a score. Golden model:
    :func:`jalgateware.golden.attention.scores`.
    """

    def __init__(self, products: list[Signal], steps: int) -> None:
        self.step = Signal(max=max(2, steps))
        self.first = Signal()
        self.last = Signal()
        self.valid = Signal()
        self.shift = Signal(FIELDS["out_shift"][1])
        self.score = Signal((SCORE.bits, True))
        self.score_valid = Signal()
        self.saturated = Signal()

        # # #

        total, depth = registered_sum(self, products)
        step, first = delayed(self, self.step, depth), delayed(self, self.first, depth)
        valid, last = delayed(self, self.valid, depth), delayed(self, self.last, depth)
        partial = Array([Signal((RAW_SCORE_BITS, True)) for _ in range(steps)])
        raw, kept = Signal((RAW_SCORE_BITS, True)), Signal((RAW_SCORE_BITS, True))
        finished = Signal()
        self.comb += If(~first, kept.eq(partial[step]))
        self.sync += [
            finished.eq(valid & last),
            If(valid, partial[step].eq(kept + total), raw.eq(kept + total)),
        ]
        # Shift in steps of 4, then of 1, keeping a rounding bit; round; saturate.
        wide = Signal((RAW_SCORE_BITS + 1, True))
        coarse, fine, rounded = Signal.like(wide), Signal.like(wide), Signal.like(wide)
        self.comb += wide.eq(raw << 1)
        self.sync += [
            coarse.eq(Array([wide >> (4 * i) for i in range(8)])[self.shift[2:]]),
            fine.eq(Array([coarse >> i for i in range(4)])[self.shift[:2]]),
            rounded.eq((fine + 1) >> 1),
            self.score.eq(rounded),
            self.saturated.eq(0),
            If(
                ~fits(rounded, SCORE.bits),
                self.score.eq(Mux(rounded[-1], SCORE.minimum, SCORE.maximum)),
                self.saturated.eq(delayed(self, finished, 3)),
            ),
            self.score_valid.eq(delayed(self, finished, 3)),
        ]
        self.latency = self.latency_of(len(products))

    @staticmethod
    def latency_of(lanes: int) -> int:
        """Cycles from the last word's products to the score."""
        return sum_latency(lanes) + 5


class ValueSums(LiteXModule):
    """Per-lane sums of probability x value over the positions, per query head and word of a slot.

    Few sums are in distributed RAM, which answers at once. Many are in block RAM, which answers
    late: an address is read before its products are there, and sums that are still on their way
    into the memory are taken from the way.

    Interface: ``address`` (step and word), ``first`` (position), ``valid``, all ``AHEAD`` cycles
    ahead of their ``products``; ``read_address``, ``read_lane`` -> ``result`` {VALUE_ACCUMULATOR}
    ``READ_LATENCY`` cycles later, while nothing is summed. Latency: ``LATENCY`` cycles from the
    products until a sum can be read. Throughput: one word per cycle. Overflow: none, 48 bits hold
    2**15 positions. Golden model: the value sum in
    :func:`jalgateware.golden.attention.attend_head`.
    """

    AHEAD = 2
    LATENCY = 3
    READ_LATENCY = 2

    def __init__(self, products: list[Signal], depth: int, block_ram: bool) -> None:
        self.address = Signal(max=max(2, depth))
        self.first = Signal()
        self.valid = Signal()
        self.read_address = Signal(max=max(2, depth))
        self.read_lane = Signal(max=max(2, len(products)))
        self.result = Signal((VALUE_ACCUMULATOR.bits, True))

        # # #

        if block_ram:
            self._in_block_ram(products, depth)
        else:
            self._in_distributed_ram(products, depth)

    def _in_distributed_ram(self, products: list[Signal], depth: int) -> None:
        address, first, valid = (
            delayed(self, item, self.AHEAD) for item in (self.address, self.first, self.valid)
        )
        sums = []
        for product in products:
            memory = Memory(VALUE_ACCUMULATOR.bits, max(2, depth))
            write = memory.get_port(write_capable=True)
            read = memory.get_port(async_read=True)
            self.specials += memory, write, read
            old = Signal((VALUE_ACCUMULATOR.bits, True))
            self.comb += [
                If(~first, old.eq(read.dat_r)),
                write.adr.eq(address),
                write.dat_w.eq(old + product),
                write.we.eq(valid),
                read.adr.eq(Mux(valid, address, self.read_address)),
            ]
            sums.append(read.dat_r)
        chosen = Signal.like(self.result)
        self.sync += [chosen.eq(Array(sums)[self.read_lane]), self.result.eq(chosen)]

    def _in_block_ram(self, products: list[Signal], depth: int) -> None:
        width = VALUE_ACCUMULATOR.bits
        memory = Memory(width * len(products), max(2, depth))
        memory.attr = {NEVER_COLLIDES}
        write = memory.get_port(write_capable=True, mode=READ_FIRST)
        read = memory.get_port(mode=READ_FIRST)
        self.specials += memory, write, read
        # The addresses of the last three cycles: what they add up is not in the memory yet.
        recent = [(self.address, self.valid)]
        for _ in range(3):
            address, valid = recent[-1]
            recent.append((delayed(self, address, 1), delayed(self, valid, 1)))
        same = [(address == self.address) & valid & ~self.first for address, valid in recent[1:]]
        last, second, third = (
            delayed(self, _signal(self, match), cycles)
            for match, cycles in zip(same, (self.AHEAD, 1, 1), strict=True)
        )
        first = delayed(self, self.first, 1)
        self.comb += [
            read.adr.eq(Mux(self.valid, self.address, self.read_address)),
            write.adr.eq(delayed(self, self.address, self.AHEAD + 1)),
            write.we.eq(delayed(self, self.valid, self.AHEAD + 1)),
        ]
        parts = []
        for lane, product in enumerate(products):
            stored = read.dat_r[width * lane : width * (lane + 1)]
            total, before, old = (Signal((width, True)) for _ in range(3))
            self.sync += [
                before.eq(total),
                old.eq(stored),
                If(third, old.eq(before)),
                If(second, old.eq(total)),
                If(first, old.eq(0)),
                total.eq(Mux(last, total, old) + product),
            ]
            parts.append(total)
        self.comb += write.dat_w.eq(Cat(*parts))
        lanes = Array([read.dat_r[width * i : width * (i + 1)] for i in range(len(products))])
        self.sync += self.result.eq(lanes[delayed(self, self.read_lane, 1)])


DISTRIBUTED_DEPTH = 32
"""Most sums of a lane in distributed RAM; deeper ones are slow."""


def _signal(module: LiteXModule, value: Any) -> Signal:
    """A bit with a name."""
    signal = Signal()
    module.comb += signal.eq(value)
    return signal


def slot_steps(config: EngineConfig) -> int:
    """Query heads of a key/value head, of all token rows, that one slot serves in turn, at most."""
    return -(-config.max_group * config.tokens // config.attention_slots)

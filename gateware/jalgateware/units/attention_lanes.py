"""Multipliers of attention, shared by scores and values, and what sums their products up."""

from litex.gen import LiteXModule
from migen import Array, If, Memory, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV, PROBABILITY, SCORE, VALUE_ACCUMULATOR
from jalgateware.contract.isa import FIELDS
from jalgateware.units.pipeline import delayed, fits, registered_sum, sum_latency

RAW_SCORE_BITS = 40
"""16 x 16 bits over up to 128 elements, and a sign."""


class SlotLanes(LiteXModule):
    """One query head's multipliers: a word of keys or values per cycle.

    ``products[i] = operand[i] * word[i]``

    Interface: ``query`` (word of KV), ``probability`` {PROBABILITY}, ``use_probability``, ``word``
    (word of KV) -> ``products``; valid-only. Latency: ``LATENCY`` cycles (operands, product).
    Throughput: one word per cycle. Overflow: none.
    """

    LATENCY = 2

    def __init__(self, lanes: int) -> None:
        self.query = Signal(KV.bits * lanes)
        self.probability = Signal(PROBABILITY.bits)
        self.use_probability = Signal()
        self.word = Signal(KV.bits * lanes)
        self.products = [Signal((KV.bits + 18, True)) for _ in range(lanes)]

        # # #

        for i, product in enumerate(self.products):
            left, right, query = (
                Signal((18, True)),
                Signal((KV.bits, True)),
                Signal((KV.bits, True)),
            )
            self.comb += query.eq(self.query[KV.bits * i : KV.bits * (i + 1)])
            self.sync += [
                left.eq(query),
                If(self.use_probability, left.eq(self.probability)),
                right.eq(self.word[KV.bits * i : KV.bits * (i + 1)]),
                product.eq(left * right),
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

    Interface: ``products``, ``address`` (step and word), ``first`` (position), ``valid``;
    ``read_address``, ``read_lane`` -> ``result`` {VALUE_ACCUMULATOR} one cycle later, while nothing
    is summed. Latency: 1 cycle. Throughput: one word per cycle. Overflow: none, 48 bits hold 2**15
    positions. Golden model: the value sum in :func:`jalgateware.golden.attention.attend_head`.
    """

    def __init__(self, products: list[Signal], depth: int) -> None:
        self.address = Signal(max=max(2, depth))
        self.first = Signal()
        self.valid = Signal()
        self.read_address = Signal(max=max(2, depth))
        self.read_lane = Signal(max=max(2, len(products)))
        self.result = Signal((VALUE_ACCUMULATOR.bits, True))

        # # #

        sums = []
        for product in products:
            memory = Memory(VALUE_ACCUMULATOR.bits, depth)
            write = memory.get_port(write_capable=True)
            read = memory.get_port(async_read=True)
            self.specials += memory, write, read
            old = Signal((VALUE_ACCUMULATOR.bits, True))
            new = Signal((VALUE_ACCUMULATOR.bits, True))
            self.comb += [
                If(~self.first, old.eq(read.dat_r)),
                new.eq(old + product),
                write.adr.eq(self.address),
                write.dat_w.eq(new),
                write.we.eq(self.valid),
                read.adr.eq(Mux(self.valid, self.address, self.read_address)),
            ]
            sums.append(read.dat_r)
        self.sync += self.result.eq(Array(sums)[self.read_lane])


def slot_steps(config: EngineConfig) -> int:
    """Query heads of a key/value head, of all token rows, that one slot serves in turn, at most."""
    return -(-config.max_group * config.tokens // config.attention_slots)

"""Multipliers of attention, shared by scores and values, and what sums their products up."""

from litex.gen import LiteXModule
from migen import Array, If, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV, PROBABILITY, SCORE
from jalgateware.contract.isa import FIELDS
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
        # Not reset, as nobody reads them before they are valid: they fit into the multiplier.
        self.products = [Signal((KV.bits + 18, True), reset_less=True) for _ in range(lanes)]

        # # #

        for i, product in enumerate(self.products):
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
        sums = (RAW_SCORE_BITS, True)
        partial = Array([Signal(sums, reset_less=True) for _ in range(steps)])
        raw, kept = Signal(sums, reset_less=True), Signal(sums)
        finished = Signal()
        self.comb += If(~first, kept.eq(partial[step]))
        self.sync += [
            finished.eq(valid & last),
            If(valid, partial[step].eq(kept + total), raw.eq(kept + total)),
        ]
        # Shift in steps of 4, then of 1, keeping a rounding bit; round; saturate.
        wide = Signal((RAW_SCORE_BITS + 1, True))
        coarse, fine, rounded = (Signal.like(wide, reset_less=True) for _ in range(3))
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


def slot_steps(config: EngineConfig) -> int:
    """Query heads of a key/value head, of all token rows, that one slot serves in turn, at most."""
    return -(-config.max_group * config.tokens // config.attention_slots)

"""Softmax weights: scores are kept, their maximum followed, and powers of two looked up."""

from litex.gen import LiteXModule
from migen import READ_FIRST, Array, Cat, If, Memory, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import PROBABILITY, SCORE, SUM_BITS
from jalgateware.contract.tables import EXP2
from jalgateware.units.attention_lanes import slot_steps
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.pipeline import delayed


class Softmax(LiteXModule):
    """Unnormalised softmax of one slot: ``2**(score - maximum)`` for each position, and their sum.

    Interface: ``score`` {SCORE}, ``score_step``, ``score_position``, ``score_valid``: keeps a
    score; position 0 starts a query head anew. ``step``, ``position``, and one cycle later
    ``visible`` -> ``probability`` {PROBABILITY}, ``LATENCY`` cycles behind the step, once all
    scores of the head are kept; 0 for a position that the head does not see. ``sum_step``,
    ``sum_first``, ``sum_valid``, aligned with ``probability``: adds it up; ``total_step`` ->
    ``total``, the sum of a step, in the same cycle, while nothing is added up.
    Latency: ``LATENCY``. Throughput: one score and one probability per cycle. Overflow: none.
    Golden model: :func:`jalgateware.golden.functions.exp2_negative`.
    """

    LATENCY = 6

    def __init__(self, config: EngineConfig) -> None:
        steps = slot_steps(config)
        step_bits = max(2, steps)
        self.score = Signal((SCORE.bits, True))
        self.score_step = Signal(max=step_bits)
        self.score_position = Signal(max=config.max_context)
        self.score_valid = Signal()
        self.step = Signal(max=step_bits)
        self.position = Signal(max=config.max_context)
        self.visible = Signal()
        self.probability = Signal(PROBABILITY.bits, reset_less=True)
        self.sum_step = Signal(max=step_bits)
        self.sum_first = Signal()
        self.sum_valid = Signal()
        self.total_step = Signal(max=step_bits)
        self.total = Signal(SUM_BITS)

        # # #

        scores = Memory(SCORE.bits, config.max_context * max(1, 1 << (steps - 1).bit_length()))
        scores.attr = {NEVER_COLLIDES}
        write = scores.get_port(write_capable=True, mode=READ_FIRST)
        read = scores.get_port(mode=READ_FIRST)
        self.specials += scores, write, read
        maxima = Array([Signal((SCORE.bits, True)) for _ in range(steps)])
        self.comb += [
            write.adr.eq(Cat(self.score_position, self.score_step)),
            write.dat_w.eq(self.score),
            write.we.eq(self.score_valid),
            read.adr.eq(Cat(self.position, self.step)),
        ]
        # Compared with all of them, as choosing one first takes longer.
        self.sync += [
            If(
                self.score_valid
                & (self.score_step == step)
                & ((self.score_position == 0) | (self.score > most)),
                most.eq(self.score),
            )
            for step, most in enumerate(maxima)
        ]
        # Stages 1 and 2: score. Stage 3: distance from the maximum.
        # Data without reset: ``score`` and ``power`` can be registers inside their block RAMs then.
        score = Signal((SCORE.bits, True), reset_less=True)
        maximum = Signal((SCORE.bits, True), reset_less=True)
        distance = Signal(SCORE.bits, reset_less=True)
        self.sync += [
            score.eq(read.dat_r),
            maximum.eq(maxima[delayed(self, self.step, 1)]),
            distance.eq(maximum - score),
        ]
        # Stages 4 and 5: power of the fraction. Stage 6: shift by the whole.
        table = Memory(PROBABILITY.bits, len(EXP2), init=list(EXP2))
        look_up = table.get_port(mode=READ_FIRST)
        self.specials += table, look_up
        power = Signal(PROBABILITY.bits, reset_less=True)
        visible = delayed(self, self.visible, self.LATENCY - 2)
        whole = delayed(self, distance[SCORE.fraction :], 2)
        self.comb += look_up.adr.eq(distance[: SCORE.fraction])
        self.sync += [
            power.eq(look_up.dat_r),
            self.probability.eq(Array([power >> i for i in range(PROBABILITY.bits)])[whole[:5]]),
            If((whole >= PROBABILITY.bits) | ~visible, self.probability.eq(0)),
        ]
        self._sum(steps)

    def _sum(self, steps: int) -> None:
        """Sums of all steps, in distributed RAM."""
        sums = Memory(SUM_BITS, max(2, steps))
        write, read = sums.get_port(write_capable=True), sums.get_port(async_read=True)
        self.specials += sums, write, read
        self.comb += [
            read.adr.eq(Mux(self.sum_valid, self.sum_step, self.total_step)),
            write.adr.eq(self.sum_step),
            write.dat_w.eq(Mux(self.sum_first, 0, read.dat_r) + self.probability),
            write.we.eq(self.sum_valid),
            self.total.eq(read.dat_r),
        ]

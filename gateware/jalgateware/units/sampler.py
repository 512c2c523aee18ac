"""Sampler: picks a token while the logits stream by."""

from litex.gen import LiteXModule
from migen import Cat, Constant, If, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import (
    INVERSE_TEMPERATURE,
    LOG2,
    POSITION_BITS,
    SCALED_LOGIT,
    TOKEN_BITS,
    VECTOR,
)
from jalgateware.contract.isa import FIELDS
from jalgateware.units.delay_line import DelayLine
from jalgateware.units.gumbel import Gumbel
from jalgateware.units.hash import Hash32
from jalgateware.units.pipeline import delayed
from jalgateware.units.reset import spare_reset
from jalgateware.units.rotary import WideProduct

SEED_BITS = 32


class Sampler(LiteXModule):
    """Argmax of the logits, or of ``logit / temperature`` plus Gumbel noise: an exact sample.

    ``token = argmax(round(logit * inverse_temperature / 2**12) + gumbel(hash(index ^ key)))``
    with ``key = hash(hash(seed) + position)``

    Interface: ``start`` (pulse) takes ``seed``, ``position`` and ``inverse_temperature``
    {INVERSE_TEMPERATURE; 0: argmax of the logits alone} and forgets whatever went before, also
    unfinished passes; ``ready`` rises ``KEY_LATENCY`` cycles later and falls behind the last row.
    Then rows ``valid`` {``logit`` {VECTOR}, ``index`` (token), ``last``}, valid-only, in ascending
    order of ``index``: of equals the first wins. ``done`` pulses ``LATENCY`` cycles behind the last
    row; ``token`` stays until the first row of the next pass arrives there.
    Latency: ``KEY_LATENCY``, ``LATENCY``. Throughput: one row per cycle.
    Overflow: none.
    Cost: 1411 LUTs, 1518 flip-flops, 11 multipliers, 2 block RAMs. 118 MHz (ECP5 speed
    6, yosys 0.70).
    Golden model: :func:`jalgateware.golden.sampler.sample`.

    ``config`` is what every unit of the engine is made from; the sampler is the same for all.
    """

    KEY_LATENCY = 2 * (1 + Hash32.LATENCY) + 1
    NOISE_LATENCY = 1 + Hash32.LATENCY + Gumbel.LATENCY
    LATENCY = NOISE_LATENCY + 2

    def __init__(self, config: EngineConfig) -> None:
        self.start = Signal()
        self.seed = Signal(SEED_BITS)
        self.position = Signal(POSITION_BITS)
        self.inverse_temperature = Signal(INVERSE_TEMPERATURE.bits)
        self.ready = Signal()
        self.valid = Signal()
        self.logit = Signal((VECTOR.bits, True))
        self.index = Signal(FIELDS["rows"][1])
        self.last = Signal()
        self.done = Signal()
        self.token = Signal(TOKEN_BITS)

        # # #

        total = Signal((SCALED_LOGIT.bits, True))
        self._steps = Signal(self.KEY_LATENCY - 1)
        self._rows = Signal(self.LATENCY - 1)
        self._first = Signal()
        self._make_noise()
        self._add_noise(total)
        self._compare(total)
        spare_reset(self, self._steps, self._rows, self._first, self.ready, self.done)

    def _make_noise(self) -> None:
        """Key of the pass, then noise of each row, ``NOISE_LATENCY`` cycles behind it."""
        self.hash, self.gumbel = Hash32(), Gumbel()
        key, operand = Signal(SEED_BITS), Signal(SEED_BITS)
        position = Signal(POSITION_BITS)
        # A one travels along with the seed through the hash, and a second time with the sum.
        steps = self._steps
        again = steps[Hash32.LATENCY]
        self.sync += [
            steps.eq(Cat(0, steps)),
            operand.eq(self.index ^ key),
            If(again, operand.eq(self.hash.result + position)),
            If(steps[-1], key.eq(self.hash.result), self.ready.eq(1)),
            If(self.valid & self.last, self.ready.eq(0)),
            If(
                self.start,
                steps.eq(1),
                operand.eq(self.seed),
                position.eq(self.position),
                self.ready.eq(0),
            ),
        ]
        self.comb += [self.hash.value.eq(operand), self.gumbel.uniform.eq(self.hash.result)]

    def _add_noise(self, total: Signal) -> None:
        """Scaled logit plus noise, ``NOISE_LATENCY`` + 1 cycles behind its row."""
        one = 1 << INVERSE_TEMPERATURE.fraction
        greedy, factor = Signal(), Signal(INVERSE_TEMPERATURE.bits)
        self.sync += If(
            self.start,
            greedy.eq(self.inverse_temperature == 0),
            factor.eq(Mux(self.inverse_temperature == 0, one, self.inverse_temperature)),
        )
        # The logit waits until its product meets the noise; so do index and last.
        tag = Cat(self.index, self.last)
        self.wait = DelayLine(VECTOR.bits + len(tag), self.NOISE_LATENCY - WideProduct.LATENCY)
        self.product = WideProduct()
        self.comb += [
            self.wait.input.eq(Cat(self.logit, tag)),
            self.product.a.eq(self.wait.output[: VECTOR.bits]),
            self.product.b.eq(factor),
        ]
        # One addition for noise and rounding: the noise has no bits where the product drops its.
        noise = Signal((LOG2.bits, True))
        addend = Signal((LOG2.bits + INVERSE_TEMPERATURE.fraction, True))
        total_wide = Signal((SCALED_LOGIT.bits + INVERSE_TEMPERATURE.fraction, True))
        self.comb += [
            noise.eq(Mux(greedy, 0, self.gumbel.noise)),
            addend.eq(Cat(Constant(one // 2, INVERSE_TEMPERATURE.fraction), noise)),
            total_wide.eq(self.product.product + addend),
        ]
        self.sync += total.eq(total_wide[INVERSE_TEMPERATURE.fraction :])

    def _compare(self, total: Signal) -> None:
        """Keeps the largest total and its index."""
        rows, first = self._rows, self._first
        index, last = Signal.like(self.index), Signal()
        tag = self.wait.output[VECTOR.bits :]
        self.comb += Cat(index, last).eq(delayed(self, tag, WideProduct.LATENCY + 1))
        best, best_index = Signal.like(total), Signal.like(self.index)
        self.sync += [
            rows.eq(Cat(self.valid, rows)),
            self.done.eq(rows[-1] & last),
            If(
                rows[-1],
                first.eq(0),
                If(first | (total > best), best.eq(total), best_index.eq(index)),
            ),
            If(self.start, rows.eq(0), first.eq(1), self.done.eq(0)),
        ]
        self.comb += self.token.eq(best_index)

"""Sampler: picks a token while the logits stream by."""

from typing import Any

from litex.gen import LiteXModule
from migen import Array, Cat, Constant, If, Mux, Signal

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
from jalgateware.units.pipeline import delayed, held
from jalgateware.units.reset import spare_reset
from jalgateware.units.rotary import WideProduct

SEED_BITS = 32


class Sampler(LiteXModule):
    """Argmax of the logits, or of ``logit / temperature`` plus Gumbel noise: an exact sample.

    ``token = argmax(round(logit * inverse_temperature / 2**12) + gumbel(hash(index ^ key)))``
    with ``key = hash(hash(seed) + position)``, for each token row.

    Interface: ``start`` (pulse) takes ``inverse_temperature`` {INVERSE_TEMPERATURE; 0: argmax of
    the logits alone} and forgets whatever went before, also unfinished passes; ``seeds`` and
    ``positions`` stay until ``ready``, which rises ``key_latency`` cycles later and falls behind
    the last logit. ``last_row``: the last token row in use, constant for a pass. Then logits
    ``valid`` {``logit`` {VECTOR}, ``index`` (token), ``row`` (token row), ``last``}, valid-only,
    for each token row in ascending order of ``index``: of equals the first wins. ``done`` pulses
    ``LATENCY`` cycles behind the last logit of token row ``last_row``; ``tokens`` stay until the
    first logit of the next pass arrives there. An engine without noise takes the argmax of the
    logits, has no keys, and is always ready.
    Latency: ``key_latency``, ``latency``. Throughput: one logit per cycle.
    Overflow: none.
    Golden model: :func:`jalgateware.golden.sampler.sample`.
    """

    NOISE_LATENCY = 1 + Hash32.LATENCY + Gumbel.LATENCY

    def __init__(self, config: EngineConfig) -> None:
        self.start = Signal()
        self.seeds = [Signal(SEED_BITS) for _ in range(config.tokens)]
        self.positions = [Signal(POSITION_BITS) for _ in range(config.tokens)]
        self.inverse_temperature = Signal(INVERSE_TEMPERATURE.bits)
        self.ready = Signal()
        self.valid = Signal()
        self.logit = Signal((VECTOR.bits, True))
        self.index = Signal(FIELDS["rows"][1])
        self.row = Signal(max=max(2, config.tokens))
        self.last_row = Signal.like(self.row)
        self.last = Signal()
        self.done = Signal()
        self.tokens = [Signal(TOKEN_BITS) for _ in range(config.tokens)]

        # # #

        self._first = Signal(config.tokens)
        self.latency, self.key_latency = 2, 0
        tag = Cat(self.index, self.row, self.last)
        if not config.noise:
            self.comb += self.ready.eq(1)
            self._rows = Signal(self.latency - 1)
            self._compare(self.logit, tag, 0, config.slow_rows)
            spare_reset(self, self._rows, self._first, self.done)
            return
        total = Signal((SCALED_LOGIT.bits, True))
        # The token rows' keys follow each other through the hash.
        self.key_latency = 2 * (1 + Hash32.LATENCY) + config.tokens
        assert config.tokens <= Hash32.LATENCY, "the hash is free again for the second round"
        self.latency += self.NOISE_LATENCY + 1
        self._steps = Signal(self.key_latency - 1)
        self._rows = Signal(self.latency - 1)
        self._make_noise()
        self._add_noise(total, tag)
        self._compare(total, self.wait.output[VECTOR.bits :], WideProduct.LATENCY + 1)
        spare_reset(self, self._steps, self._rows, self._first, self.ready, self.done)

    def _make_noise(self) -> None:
        """Key of the pass, then noise of each row, ``NOISE_LATENCY`` cycles behind it."""
        self.hash, self.gumbel = Hash32(), Gumbel()
        keys = Array([Signal(SEED_BITS) for _ in self.seeds])
        operand = Signal(SEED_BITS)
        # A one travels along with the first seed through the hash, and again with its sum.
        steps, rows = self._steps, range(len(self.seeds))
        again = 1 + Hash32.LATENCY
        self.sync += [
            steps.eq(Cat(0, steps)),
            operand.eq(self.index ^ keys[self.row]),
            *[If(steps[t - 1], operand.eq(self.seeds[t])) for t in rows if t],
            *[
                If(steps[again - 1 + t], operand.eq(self.hash.result + self.positions[t]))
                for t in rows
            ],
            *[If(steps[2 * again - 1 + t], keys[t].eq(self.hash.result)) for t in rows],
            If(steps[-1], self.ready.eq(1)),
            If(self.valid & self.last & (self.row == self.last_row), self.ready.eq(0)),
            If(self.start, steps.eq(1), operand.eq(self.seeds[0]), self.ready.eq(0)),
        ]
        self.comb += [self.hash.value.eq(operand), self.gumbel.uniform.eq(self.hash.result)]

    def _add_noise(self, total: Signal, tag: Any) -> None:
        """Scaled logit plus noise, ``NOISE_LATENCY`` + 1 cycles behind its row."""
        one = 1 << INVERSE_TEMPERATURE.fraction
        greedy, factor = Signal(), Signal(INVERSE_TEMPERATURE.bits)
        self.sync += If(
            self.start,
            greedy.eq(self.inverse_temperature == 0),
            factor.eq(Mux(self.inverse_temperature == 0, one, self.inverse_temperature)),
        )
        # The logit waits until its product meets the noise; so do index and last.
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

    def _compare(self, total: Signal, tag: Any, behind: int, slow: bool = False) -> None:
        """Keeps the largest total and its index, whose tag came ``behind`` cycles before it.

        ``slow``: both stay for a cycle.

        A total is compared in one cycle and kept in the next, when the one behind it is compared
        already: that one counts as larger than what was kept then, or than this one if it is kept.
        """
        rows, first, tokens = self._rows, self._first, range(len(self.tokens))
        index, row, last = Signal.like(self.index), Signal.like(self.row), Signal()
        met = Cat(Signal.like(index), Signal.like(row), Signal())
        self.comb += [
            met.eq(delayed(self, tag, behind)),
            Cat(index, row, last).eq(held(self, met, 1, slow)),
        ]
        early = met[len(index) : -1]
        best = [Signal.like(total) for _ in tokens]
        best_index = [Signal.like(self.index) for _ in tokens]
        before, larger, here = held(self, total, 1, slow), Signal(), Signal(len(tokens))
        largest, wins, won = (Signal(len(tokens)) for _ in range(3))
        self.comb += [wins[t].eq(here[t] & Mux(won[t], larger, largest[t])) for t in tokens]
        self.sync += [
            rows.eq(Cat(self.valid, rows)),
            larger.eq(total > before),
            won.eq(wins),
            self.done.eq(rows[-1] & last & (row == self.last_row)),
            *[here[t].eq(Cat(self.valid, rows)[-2] & (early == t)) for t in tokens],
            # Compared with each row's, as choosing one first takes longer.
            *[largest[t].eq(first[t] | (total > best[t])) for t in tokens],
            *[If(here[t], first[t].eq(0)) for t in tokens],
            *[If(wins[t], best[t].eq(before), best_index[t].eq(index)) for t in tokens],
            If(
                self.start,
                rows.eq(0),
                here.eq(0),
                first.eq((1 << len(first)) - 1),
                self.done.eq(0),
            ),
        ]
        self.comb += [token.eq(kept) for token, kept in zip(self.tokens, best_index, strict=True)]

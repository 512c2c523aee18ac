"""Packs logits into words of DRAM."""

from litex.gen import LiteXModule
from migen import If, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import VECTOR
from jalgateware.contract.isa import FIELDS
from jalgateware.units.pipeline import delayed, registered


class LogitPacker(LiteXModule):
    """Packs the logits of one token row, 32 bits each, the first one in the lowest bits.

    Interface: ``enable``: constant for a run; ``row``: of the logit; ``chosen``: the token row
    whose logits are packed; ``valid``, ``logit`` {VECTOR}, ``index``, ``last``: valid-only, in
    ascending order of ``index`` and, where a word has 16 bits, at most every second cycle.
    Leaves: ``word_valid``, ``word``, ``offset``: words in their order; what the last one has
    behind the last logit means nothing. Latency: 2 cycles (3 to the upper half of a logit).
    Throughput: one logit per cycle, or every second one. Overflow: none.
    Golden model: :attr:`jalgateware.golden.machine.Machine.logits`.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.enable = Signal()
        self.row = Signal(max=max(2, config.tokens))
        self.chosen = Signal.like(self.row)
        self.valid = Signal()
        self.logit = Signal((VECTOR.bits, True))
        self.index = Signal(FIELDS["rows"][1])
        self.last = Signal()
        self.word_valid = Signal()
        self.word = Signal(config.word_bits, reset_less=True)
        self.offset = Signal(len(self.index) + (config.word_bits < VECTOR.bits), reset_less=True)

        # # #

        # Registered, as whether a logit is taken reaches every bit of the word.
        take = delayed(self, self.valid & self.enable & (self.row == self.chosen), 1)
        self._logit, self._index = (registered(self, x, 1) for x in (self.logit, self.index))
        if config.word_bits < VECTOR.bits:
            self._halve(take, config.word_bits)
        else:
            self._gather(take, config.word_bits // VECTOR.bits)

    def _gather(self, take: Signal, logits: int) -> None:
        """``logits`` of them in a word."""
        bits = (logits - 1).bit_length()
        place = self._index[:bits] if bits else 0
        last = delayed(self, self.last, 1)
        self.sync += [
            self.word_valid.eq(take & (last | (place == logits - 1))),
            If(take, self.offset.eq(self._index[bits:])),
        ]
        for i in range(logits):
            part = self.word[VECTOR.bits * i : VECTOR.bits * (i + 1)]
            self.sync += If(take & (place == i), part.eq(self._logit))

    def _halve(self, take: Signal, bits: int) -> None:
        """Each logit is two words."""
        upper, second = Signal(bits, reset_less=True), Signal()
        self.sync += [
            second.eq(take),
            self.word_valid.eq(take | second),
            self.word.eq(upper),
            self.offset[0].eq(1),
            If(
                take,
                self.word.eq(self._logit[:bits]),
                upper.eq(self._logit[bits:]),
                self.offset.eq(self._index << 1),
            ),
        ]

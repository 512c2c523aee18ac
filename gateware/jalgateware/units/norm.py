"""1/rms of the residual vectors, from the sums of their squares."""

from litex.gen import LiteXModule
from migen import Array, If, Mux, Signal

from jalgateware.contract.formats import MANTISSA, SQUARE_SUM_BITS
from jalgateware.units.pipeline import delayed
from jalgateware.units.reset import spare_reset
from jalgateware.units.rsqrt import ReciprocalRoot
from jalgateware.units.scaler import SHIFT_BITS

RSQRT_SHIFT = 33
"""From rsqrt's exponent to the scaler's shift: 32 (unit of the square sum) + GUARD_BITS - 1."""


class Norm(LiteXModule):
    """1/rms of the residual vectors of all token rows, held until the vectors are replaced.

    Interface: ``square_sums``, ``square_sum_valid`` (a bit per token row, one at a time): a
    complete vector; ``last_row``: the last token row in use; ``epsilon`` {2**-32 units};
    ``invalidate`` (pulse): the vectors are about to change -> ``mantissas`` {MANTISSA}, ``shifts``
    (scaler shift but for the accumulator's fraction bits), ``valid``. With ``heads``: ``head_sum``,
    ``head_sum_valid``: another sum whose root is wanted, while none of a vector comes ->
    ``root.mantissa``, ``root.k``, ``head_valid``. Latency:
    ``ReciprocalRoot.LATENCY`` + 2 cycles. Throughput: a vector per cycle. Overflow: none; epsilon
    is at least 1. Golden model: ``Machine._set_residual`` in :mod:`jalgateware.golden.machine`. A
    ``slow`` one takes one vector at a time.
    """

    def __init__(self, tokens: int, heads: bool = False, slow: bool = False) -> None:
        self.square_sums = [Signal(SQUARE_SUM_BITS) for _ in range(tokens)]
        self.square_sum_valid = Signal(tokens)
        self.last_row = Signal(max=max(2, tokens))
        self.epsilon = Signal(32)
        self.invalidate = Signal()
        self.mantissas = Array([Signal(MANTISSA.bits) for _ in range(tokens)])
        self.shifts = Array([Signal((SHIFT_BITS, True)) for _ in range(tokens)])
        self.valid = Signal()
        self.head_sum = Signal(SQUARE_SUM_BITS)
        self.head_sum_valid, self.head_valid = Signal(), Signal()

        # # #

        self.root = root = ReciprocalRoot(slow)
        total = self.square_sums[0]
        for row in range(1, tokens):
            total = Mux(self.square_sum_valid[row], self.square_sums[row], total)
        # The vectors of a pass arrive one after the other, in the order of the token rows.
        row = Signal.like(self.last_row)
        vector_valid = root.valid_out
        if heads:
            vector_valid = root.valid_out & ~self.head_valid
        self.sync += [
            root.value.eq(total + self.epsilon),
            root.valid_in.eq((self.square_sum_valid != 0) | self.head_sum_valid),
            If(self.head_sum_valid, root.value.eq(self.head_sum)),
            If(
                vector_valid,
                self.mantissas[row].eq(root.mantissa),
                self.shifts[row].eq(root.k - RSQRT_SHIFT),
                If(row == self.last_row, self.valid.eq(1), row.eq(0)).Else(row.eq(row + 1)),
            ),
            If(self.invalidate, self.valid.eq(0)),
        ]
        spare_reset(self, self.valid, root.valid_in, row)
        if heads:
            wait = 1 + ReciprocalRoot.LATENCY
            self.comb += self.head_valid.eq(delayed(self, self.head_sum_valid, wait))

"""The residual vectors of all token rows, and what is added to them."""

from litex.gen import LiteXModule
from migen import READ_FIRST, Cat, If, Memory, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import VECTOR
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.pipeline import delayed, fits, held


class Residual(LiteXModule):
    """``x += row``, saturated; or ``x = embedding``. The new element goes on to the quantiser.

    Interface: ``early_index``, ``early_token``: row of the matrix and token row, ``AHEAD`` cycles
    before ``row`` {VECTOR}, ``row_last``, ``row_valid``; ``embed_value`` {VECTOR}, ``embed_index``,
    ``embed_token``, ``embed_last``, ``embed_valid``: elements of a new vector -> ``value``
    {VECTOR}, ``token``, ``last``, ``valid``; valid-only. Latency: ``LATENCY`` cycles, of embeddings
    1. Throughput: one element per cycle. Overflow: saturates; ``saturated`` is high with such an
    element. Golden model: ``Machine._deliver`` in :mod:`jalgateware.golden.machine`. Slow rows stay
    with their index for ``AHEAD + LATENCY`` cycles.
    """

    AHEAD = 2
    LATENCY = 2

    def __init__(self, config: EngineConfig, index_bits: int) -> None:
        slow = config.slow_rows
        self.early_index = Signal(index_bits)
        self.early_token = Signal(max=max(2, config.tokens))
        self.row = Signal((VECTOR.bits, True))
        self.row_last, self.row_valid = Signal(), Signal()
        self.embed_value = Signal((VECTOR.bits, True))
        self.embed_index = Signal(max=config.max_dim)
        self.embed_token = Signal.like(self.early_token)
        self.embed_last, self.embed_valid = Signal(), Signal()
        self.value = Signal((VECTOR.bits, True))
        self.token = Signal.like(self.early_token)
        self.last, self.valid = Signal(), Signal()
        self.saturated = Signal()

        # # #

        bits = (config.max_dim - 1).bit_length()
        depth = config.max_dim if config.tokens == 1 else config.tokens << bits
        memory = Memory(VECTOR.bits, depth)
        memory.attr = {NEVER_COLLIDES}
        write = memory.get_port(write_capable=True, mode=READ_FIRST)
        read = memory.get_port(mode=READ_FIRST)
        self.specials += memory, write, read
        total = Signal((VECTOR.bits + 1, True))
        old = Signal((VECTOR.bits, True), reset_less=True)
        self.comb += read.adr.eq(Cat(self.early_index[:bits], self.early_token))
        over = ~fits(total, VECTOR.bits)
        index = Signal(max=config.max_dim)
        added = held(self, self.early_index, self.AHEAD + 1, slow)
        token = held(self, self.early_token, self.AHEAD + 1, slow)
        was_valid = delayed(self, self.row_valid, 1)
        embed = self.embed_valid
        self.sync += [
            # Block RAM outputs are slow: a register of their own.
            old.eq(read.dat_r),
            total.eq(self.row + old),
            self.valid.eq(was_valid | embed),
            self.last.eq(Mux(embed, self.embed_last, held(self, self.row_last, 1, slow))),
            self.saturated.eq(was_valid & over),
            index.eq(Mux(embed, self.embed_index, added)),
            self.token.eq(Mux(embed, self.embed_token, token)),
            self.value.eq(total),
            If(over, self.value.eq(Mux(total[-1], VECTOR.minimum, VECTOR.maximum))),
            If(embed, self.value.eq(self.embed_value)),
        ]
        self.comb += [
            write.adr.eq(Cat(index, self.token)),
            write.dat_w.eq(self.value),
            write.we.eq(self.valid),
        ]

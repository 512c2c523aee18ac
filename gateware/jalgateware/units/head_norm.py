"""RMSNorm over each head of queries and keys: their rows wait until the head's length is known."""

from litex.gen import LiteXModule
from migen import READ_FIRST, Array, Cat, If, Memory, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import (
    GAIN,
    GUARD_BITS,
    MANTISSA,
    SQUARE_SUM_BITS,
    TABLE_ENTRY_BITS,
    VECTOR,
)
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.pipeline import delayed, registered
from jalgateware.units.scaler import SHIFT_BITS

HEAD_NORM_SHIFT = MANTISSA.fraction + GUARD_BITS + VECTOR.fraction - GAIN.fraction - 1
"""From rsqrt's exponent to the scaler's shift."""

HALF = VECTOR.bits // 2


class HeadSums(LiteXModule):
    """Sums of squares of a head's rows, of all token rows in turn.

    ``total = epsilon + sum of value**2``

    Interface: ``value`` {VECTOR}, ``odd``, ``row`` (token row), ``first``, ``last`` (pair of the
    head), ``valid``: rows of heads in order, pair by pair, each for all token rows up to
    ``last_row``; ``epsilon`` {2**-32 units} -> ``total`` {2**-32 units}, ``done`` (pulse): a sum is
    complete; valid-only. Latency: ``LATENCY`` cycles from a token row's last row of the head.
    Throughput: one row per cycle. Overflow: none. Golden model:
    :func:`jalgateware.golden.vector.normalise_heads`.
    """

    LATENCY = 4

    def __init__(self, config: EngineConfig) -> None:
        self.value = Signal((VECTOR.bits, True))
        self.odd = Signal()
        self.row = Signal(max=max(2, config.tokens))
        self.last_row = Signal.like(self.row)
        self.first, self.last = Signal(), Signal()
        self.valid = Signal()
        self.epsilon = Signal(32)
        bits = 2 * VECTOR.bits - 1 + (config.max_head_dim - 1).bit_length()
        self.total = Signal(bits, reset_less=True)
        self.done = Signal()

        # # #

        # Stages 1 to 3: (upper * 2**16 + lower)**2 from three products.
        value = registered(self, self.value, 1)
        lower, upper = Signal((HALF + 1, True)), Signal((HALF, True))
        self.comb += [lower.eq(value[:HALF]), upper.eq(value[HALF:])]
        # Each a signal of its own: Verilator 5.006 gets a register wrong whose parts are assigned
        # signed products (the upper part becomes the lower one's sign).
        low, high = (Signal(2 * HALF, reset_less=True) for _ in range(2))
        mixed = Signal((2 * HALF + 1, True), reset_less=True)
        rest = Signal(HALF + 1, reset_less=True)
        upper_part = Signal(3 * HALF - 2, reset_less=True)
        self.sync += [
            low.eq(lower * lower),
            high.eq(upper * upper),
            mixed.eq(upper * lower),
            rest.eq(low),
            upper_part.eq(Cat(low[HALF + 1 :], high) + mixed),
        ]
        square = Cat(rest, upper_part)
        # Stage 4: to the token row's sum. An odd row's is that of the cycle before, and so is an
        # even one's where there is but one token row.
        valid, odd = (delayed(self, flag, 3) for flag in (self.valid, self.odd))
        before, first = (delayed(self, flag, 2) for flag in (self.odd, self.first))
        sums = Memory(bits, max(2, config.tokens))
        write, read = sums.get_port(write_capable=True), sums.get_port(async_read=True)
        self.specials += sums, write, read
        old, chain = Signal(bits, reset_less=True), Signal()
        early = delayed(self, self.row, 2)
        self.comb += [
            read.adr.eq(early),
            write.adr.eq(delayed(self, early, 2)),
            write.dat_w.eq(self.total),
            write.we.eq(delayed(self, valid & odd, 1)),
            self.done.eq(delayed(self, valid & odd & delayed(self, self.last, 3), 1)),
        ]
        self.sync += [
            old.eq(read.dat_r),
            If(first, old.eq(self.epsilon)),
            chain.eq(before | ((self.last_row == 0) & ~first)),
            If(valid, self.total.eq(Mux(chain, self.total, old) + square)),
        ]


class HeadWalk(LiteXModule):
    """Counts rows of heads: pair by pair, each for all token rows.

    Interface: ``step``: the row that ``odd``, ``row``, ``pair`` and ``half`` tell is through;
    ``last_row``, ``last_pair``: constant -> ``end``: it is the head's last one. ``half`` tells
    every other head. Latency: none.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.step = Signal()
        self.last_row = Signal(max=max(2, config.tokens))
        self.last_pair = Signal(max=max(2, config.max_head_dim // 2))
        self.odd, self.half = Signal(), Signal()
        self.row, self.pair = Signal.like(self.last_row), Signal.like(self.last_pair)
        self.end = Signal()

        # # #

        pair_end, last_pair = Signal(), Signal()
        self.comb += [
            pair_end.eq(self.odd & (self.row == self.last_row)),
            last_pair.eq(self.pair == self.last_pair),
            self.end.eq(pair_end & last_pair),
        ]
        self.sync += If(
            self.step,
            self.odd.eq(~self.odd),
            If(self.odd, self.row.eq(self.row + 1)),
            If(pair_end, self.row.eq(0), self.pair.eq(self.pair + 1)),
            If(self.end, self.pair.eq(0), self.half.eq(~self.half)),
        )


class HeadNorm(LiteXModule):
    """Divides each head by its length, and multiplies its rows by their gains.

    ``y = value / sqrt(epsilon + sum of value**2) * gain``: here only the scaler's operands for it.
    Two heads of all token rows have room: while one leaves, the next one arrives.

    Interface: ``room``: a row may enter the scaler, ``admit``: it does; ``value``, ``valid``
    {VECTOR}: it arrives; heads in order, rows as :class:`HeadWalk` counts them. ``sum``,
    ``sum_valid`` -> ``mantissa``, ``k``, ``root_valid``: a reciprocal root, results in order.
    ``take``: a row may leave, and does so ``DELAY`` cycles later, where one is ready (``issue``):
    ``leave`` with ``leave_value`` {VECTOR}, ``factor`` {MANTISSA}, ``shift``, ``leave_index``,
    ``leave_row``. ``start`` (pulse): a matrix begins; ``key``: it is one of keys. ``empty``: all
    rows have left. ``write``, ``table_index``, ``table_value``: the table of gains. ``head_dim``,
    ``epsilon``, ``last_row``: constant. Latency: from a head's last row the root's, plus
    ``HeadSums.LATENCY`` and ``DELAY`` and 1. Throughput: one row per cycle,
    and a cycle between heads that arrive. Overflow: none. Golden model:
    :func:`jalgateware.golden.vector.normalise_heads`.
    """

    DELAY = 4

    def __init__(self, config: EngineConfig) -> None:
        row_bits = len(Signal(max=max(2, config.tokens)))
        self.room, self.admit = Signal(), Signal()
        self.value, self.valid = Signal((VECTOR.bits, True)), Signal()
        self.sum, self.sum_valid = Signal(SQUARE_SUM_BITS), Signal()
        self.mantissa, self.k, self.root_valid = Signal(MANTISSA.bits), Signal(6), Signal()
        self.take, self.leave = Signal(), Signal()
        self.leave_value = Signal((VECTOR.bits, True), reset_less=True)
        self.factor = Signal(MANTISSA.bits, reset_less=True)
        self.shift = Signal((SHIFT_BITS, True), reset_less=True)
        self.leave_index = Signal((config.max_hidden - 1).bit_length())
        self.leave_row = Signal(row_bits)
        self.start, self.key, self.empty = Signal(), Signal(), Signal()
        self.write = Signal()
        self.table_index = Signal(gain_address_bits(config))
        self.table_value = Signal(TABLE_ENTRY_BITS)
        self.head_dim = Signal(max=config.max_head_dim + 1)
        self.epsilon = Signal(32)
        self.last_row = Signal(row_bits)

        # # #

        self.entering, self.arriving, self.leaving = (HeadWalk(config) for _ in range(3))
        for walk in (self.entering, self.arriving, self.leaving):
            self.comb += [
                walk.last_row.eq(self.last_row),
                walk.last_pair.eq(self.head_dim[1:] - 1),
            ]
        self.issue = issue = Signal()
        leaving = self.leaving
        self._sum(config)
        ready = self._turns()
        self.comb += [
            issue.eq(self.take & Array(ready)[leaving.half]),
            leaving.step.eq(issue),
        ]
        self._keep(config)
        self._multiply(config)
        pairs = Signal(len(self.leave_index) - 1)
        odd = delayed(self, leaving.odd, self.DELAY)
        self.comb += [
            self.leave_row.eq(delayed(self, leaving.row, self.DELAY)),
            self.leave_index.eq(Cat(odd, pairs)),
        ]
        self.sync += [
            If(self.leave & odd & (self.leave_row == self.last_row), pairs.eq(pairs + 1)),
            If(self.start, pairs.eq(0)),
        ]

    def _turns(self) -> list[Signal]:
        """Which halves are in use, and which hold a head whose roots are known."""
        entering, leaving, issue = self.entering, self.leaving, self.issue
        full, ready = ([Signal() for _ in range(2)] for _ in range(2))
        # The halves' roots come in the order of the token rows.
        self._root_row, self._root_half = Signal.like(self.last_row), Signal()
        last = self._root_row == self.last_row
        self.sync += If(
            self.root_valid,
            self._root_row.eq(self._root_row + 1),
            If(last, self._root_row.eq(0), self._root_half.eq(~self._root_half)),
        )
        for half in range(2):
            left = issue & leaving.end & (leaving.half == half)
            self.sync += [
                If(self.root_valid & last & (self._root_half == half), ready[half].eq(1)),
                If(self.admit & (entering.half == half), full[half].eq(1)),
                If(left, full[half].eq(0), ready[half].eq(0)),
            ]
        # Within a head its own half is full.
        begun = Signal()
        self.sync += If(self.admit, begun.eq(~entering.end))
        # Registered, as who asks decides late: unknown for a cycle behind a head's last row.
        end = self.admit & entering.end
        self.sync += self.room.eq((begun | ~Array(full)[entering.half]) & ~end)
        on_the_way: list[Signal] = [issue]
        for _ in range(self.DELAY):
            on_the_way.append(delayed(self, on_the_way[-1], 1))
        self.comb += [
            entering.step.eq(self.admit),
            self.empty.eq(Cat(*full, *on_the_way) == 0),
            self.leave.eq(on_the_way[-1]),
        ]
        return ready

    def _sum(self, config: EngineConfig) -> None:
        self.sums = sums = HeadSums(config)
        arriving = self.arriving
        self.comb += [
            arriving.step.eq(self.valid),
            sums.value.eq(self.value),
            sums.odd.eq(arriving.odd),
            sums.row.eq(arriving.row),
            sums.last_row.eq(self.last_row),
            sums.first.eq((arriving.pair == 0) & ~arriving.odd),
            sums.last.eq(arriving.pair == arriving.last_pair),
            sums.valid.eq(self.valid),
            sums.epsilon.eq(self.epsilon),
            self.sum.eq(sums.total),
            self.sum_valid.eq(sums.done),
        ]

    def _keep(self, config: EngineConfig) -> None:
        """The rows, from their arrival until they leave."""

        def place(walk: HeadWalk) -> Cat:
            row = [walk.row] if config.tokens > 1 else []
            return Cat(walk.odd, walk.pair, *row, walk.half)

        arriving, leaving = place(self.arriving), place(self.leaving)
        memory = Memory(VECTOR.bits, 1 << len(arriving))
        memory.attr = {NEVER_COLLIDES}
        write = memory.get_port(write_capable=True, mode=READ_FIRST)
        read = memory.get_port(mode=READ_FIRST)
        self.specials += memory, write, read
        self.comb += [
            write.adr.eq(delayed(self, arriving, 1)),
            write.dat_w.eq(delayed(self, self.value, 1)),
            write.we.eq(delayed(self, self.valid, 1)),
            read.adr.eq(delayed(self, leaving, self.DELAY - 2)),
        ]
        self.sync += self.leave_value.eq(read.dat_r)

    def _multiply(self, config: EngineConfig) -> None:
        """The root of the head's token row times the row's gain."""
        leaving = self.leaving
        gains = Memory(GAIN.bits, 1 << gain_address_bits(config))
        gains.attr = {NEVER_COLLIDES}
        write = gains.get_port(write_capable=True, mode=READ_FIRST)
        read = gains.get_port(mode=READ_FIRST)
        roots = Memory(len(self.mantissa) + len(self.k), 2 * max(2, config.tokens))
        write_root = roots.get_port(write_capable=True)
        read_root = roots.get_port(async_read=True)
        self.specials += gains, write, read, roots, write_root, read_root
        self.comb += [
            write.adr.eq(self.table_index),
            write.dat_w.eq(self.table_value),
            write.we.eq(self.write),
            read.adr.eq(Cat(leaving.odd, leaving.pair) + Mux(self.key, self.head_dim, 0)),
            write_root.adr.eq(Cat(self._root_half, self._root_row)),
            write_root.dat_w.eq(Cat(self.k, self.mantissa)),
            write_root.we.eq(self.root_valid),
            read_root.adr.eq(delayed(self, Cat(leaving.half, leaving.row), 1)),
        ]
        k = Signal(len(self.k), reset_less=True)
        gain, mantissa = Signal(GAIN.bits, reset_less=True), Signal.like(self.mantissa)
        product = Signal(len(gain) + len(mantissa), reset_less=True)
        mantissa.reset_less = True
        half = 1 << (MANTISSA.fraction - 1)
        self.sync += [
            gain.eq(read.dat_r),
            Cat(k, mantissa).eq(read_root.dat_r),
            product.eq(gain * mantissa),
            self.factor.eq((product + half) >> MANTISSA.fraction),
            self.shift.eq(delayed(self, k, 1) - HEAD_NORM_SHIFT),
        ]


def gain_address_bits(config: EngineConfig) -> int:
    """Of the table of gains: two heads, and what fills up its last word on the tape."""
    entries = max(2 * config.max_head_dim, config.word_bits // TABLE_ENTRY_BITS)
    return (entries - 1).bit_length()

"""Writes what a pass leaves in DRAM: keys and values to the KV cache, and logits."""

from functools import reduce
from operator import or_

from litedram.common import LiteDRAMNativePort
from litex.gen import LiteXModule
from migen import Array, If, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import POSITION_BITS
from jalgateware.contract.isa import FIELDS
from jalgateware.units.fifo import BlockFifo
from jalgateware.units.pipeline import delayed, registered
from jalgateware.units.reader import ADDRESS_BITS

DEPTH = 64
"""Words that wait for DRAM."""

ADDRESS_STAGES = 3
"""Registers on a word's way: its place in the layer's cache, that of the token row, their sum."""


class KVWriter(LiteXModule):
    """Writes words of keys and values where they belong.

    Word ``chunk`` of head ``h`` of a token row goes to ``kv_base + base + h * head_stride +
    position * head_words + chunk``. Where gateware has logits, words of the "token row" behind the
    last one go to ``logits_base + base``: ``head`` and ``chunk`` are 0 with them.

    Interface: ``kv_bases`` (absolute, in words), ``positions``: of each token row, from ten cycles
    before a pass' first word to its last one; ``logits_base`` (absolute, in words): constant for a
    run; ``head_words``, ``head_stride``: constant for a model; ``valid``, ``word``, ``row`` (token
    row), ``head``, ``chunk``, ``base`` (of the layer's keys or values): words in the order of
    heads. ``room``: when it becomes 0, ``ROOM_WORDS`` words may still follow. ``idle``: the port
    took all words (a cycle behind).
    Latency: ``LATENCY`` cycles from a word to its write command. Throughput: one word per cycle.
    Overflow: ``overflow`` pulses when a word is lost, which happens only to those who disobey
    ``room``.
    Golden model: the cache of :class:`jalgateware.golden.machine.Machine`.
    """

    LATENCY = ADDRESS_STAGES + BlockFifo.LATENCY
    # Half the FIFO, less what can be in the pipeline unseen where each element fills a word.
    ROOM_WORDS = DEPTH // 2 - 8

    def __init__(self, config: EngineConfig, write_port: LiteDRAMNativePort) -> None:
        if write_port.data_width != config.word_bits:
            raise ValueError(
                f"the port is {write_port.data_width} bits wide, an engine word {config.word_bits}"
            )
        head_words = -(-config.max_head_dim // config.kv_lanes)
        self.kv_bases = [Signal(ADDRESS_BITS) for _ in range(config.tokens)]
        self.positions = [Signal(POSITION_BITS) for _ in range(config.tokens)]
        self.head_words = Signal(max=head_words + 1)
        self.head_stride = Signal(ADDRESS_BITS)
        self.valid = Signal()
        self.word = Signal(config.word_bits)
        self.row = Signal(max=max(2, config.tokens + config.logits))
        self.logits_base = Signal(ADDRESS_BITS)
        self.head = Signal(max=max(2, config.max_kv_heads))
        self.chunk = Signal(max=max(2, head_words))
        self.base = Signal(FIELDS["kv_base"][1])
        self.room = Signal()
        self.idle = Signal(reset=1)
        self.overflow = Signal()

        # # #

        self._address = Signal(len(write_port.cmd.addr), reset_less=True)
        self._place(config)
        self._write(write_port)

    def _place(self, config: EngineConfig) -> None:
        """The address of a word, ``ADDRESS_STAGES`` cycles behind it."""
        bits = len(self._address)
        # Where each token row's position starts: they are looked through over and over.
        row, second = (Signal(max=max(2, config.tokens)) for _ in range(2))
        product = Signal(POSITION_BITS + len(self.head_words), reset_less=True)
        origins = [Signal(bits, reset_less=True) for _ in range(config.tokens)]
        bases = Array(self.kv_bases)
        self.sync += [
            row.eq(Mux(row == config.tokens - 1, 0, row + 1)),
            second.eq(row),
            product.eq(Array(self.positions)[row] * self.head_words),
            *[If(second == t, origin.eq(bases[t] + product)) for t, origin in enumerate(origins)],
        ]
        # Where the head starts.
        offset, kept, head = Signal(bits), Signal(bits, reset_less=True), Signal.like(self.head)
        self.comb += [
            offset.eq(kept),
            If(self.head != head, offset.eq(kept + self.head_stride)),
            If(self.head == 0, offset.eq(0)),
        ]
        local, inner = Signal(bits, reset_less=True), Signal(bits, reset_less=True)
        chunk = delayed(self, self.chunk, 1)
        origin = Signal(bits, reset_less=True)
        starts = [*origins, self.logits_base] if config.logits else origins
        self.sync += [
            If(self.valid, kept.eq(offset), head.eq(self.head)),
            local.eq(self.base + offset),
            inner.eq(local + chunk),
            origin.eq(Array(starts)[delayed(self, self.row, 1)]),
            self._address.eq(inner + origin),
        ]

    def _write(self, port: LiteDRAMNativePort) -> None:
        """LiteDRAM takes the data cycles after the command and does not ask whether it is there."""
        self.addresses = addresses = BlockFifo(len(self._address), DEPTH)
        self.words = words = BlockFifo(len(self.word), DEPTH)
        # Registered, as the word is chosen late.
        arrived = delayed(self, self.valid, 1)
        stages = [arrived & words.sink.ready]
        for _ in range(ADDRESS_STAGES - 1):
            stages.append(delayed(self, stages[-1], 1))
        self.comb += [
            # The word is there before its address, so that it is there when the port asks.
            words.sink.valid.eq(arrived),
            words.sink.data.eq(registered(self, self.word, 1)),
            addresses.sink.valid.eq(stages[-1]),
            addresses.sink.data.eq(self._address),
            self.overflow.eq(arrived & ~words.sink.ready),
            port.cmd.we.eq(1),
            port.cmd.valid.eq(addresses.source.valid),
            port.cmd.addr.eq(addresses.source.data),
            addresses.source.ready.eq(port.cmd.ready),
            port.wdata.valid.eq(words.source.valid),
            port.wdata.data.eq(words.source.data),
            port.wdata.we.eq((1 << len(port.wdata.we)) - 1),
            words.source.ready.eq(port.wdata.ready),
        ]
        self.sync += self.room.eq(words.level <= DEPTH // 2)
        # Registered: who asks has waited for the unit that sends words.
        self.sync += self.idle.eq(words.empty & ~(self.valid | reduce(or_, stages)))

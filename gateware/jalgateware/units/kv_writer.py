"""Appends the keys or values of a position to the KV cache in DRAM."""

from functools import reduce
from operator import or_

from litedram.common import LiteDRAMNativePort
from litex.gen import LiteXModule
from migen import If, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV, POSITION_BITS
from jalgateware.units.fifo import BlockFifo
from jalgateware.units.pipeline import delayed
from jalgateware.units.reader import ADDRESS_BITS

DEPTH = 64
"""Words that wait for DRAM."""

PRODUCT_STAGES = 3
"""Registers on the way of ``base + position * head_words``: factors, product, sum."""


class KVWriter(LiteXModule):
    """Packs elements to words and writes them where they belong.

    Word ``c`` of head ``h`` goes to ``base + h * head_stride + position * head_words + c``. Each
    head starts a new word; what its last word has too many is zero.

    Interface: ``begin`` (pulse, with or before a row's first element, after the last one of the row
    before) with ``base`` (absolute), ``position``; ``head_dim``, ``head_words``, ``head_stride``:
    constant for a model; ``valid``, ``data`` {KV}: the row's elements in order, valid-only, at most
    one per cycle. ``room``: when it becomes 0, ``ROOM_WORDS`` words may still follow. ``idle``: the
    port took all words.
    Latency: ``LATENCY`` cycles from a word's last element to its write command. Throughput: one
    element per cycle.
    Overflow: ``overflow`` pulses when a word is lost, which happens only to those who disobey
    ``room``.
    Cost: 350 LUTs, 540 flip-flops, 1 MULT18X18D, 5 DP16KD, 140 MHz (16 lanes, LFE5U-85F, speed
    grade 6).
    Golden model: the cache of :class:`jalgateware.golden.machine.Machine`.
    """

    LATENCY = PRODUCT_STAGES + 1 + BlockFifo.LATENCY
    # Half the FIFO, less what can be in the pipeline unseen where each element fills a word.
    ROOM_WORDS = DEPTH // 2 - 8

    def __init__(self, config: EngineConfig, write_port: LiteDRAMNativePort) -> None:
        if write_port.data_width != config.word_bits:
            raise ValueError(
                f"the port is {write_port.data_width} bits wide, an engine word {config.word_bits}"
            )
        self.begin = Signal()
        self.base = Signal(ADDRESS_BITS)
        self.position = Signal(POSITION_BITS)
        self.head_dim = Signal(max=config.max_head_dim + 1)
        self.head_words = Signal(max=-(-config.max_head_dim // config.kv_lanes) + 1)
        self.head_stride = Signal(ADDRESS_BITS)
        self.valid = Signal()
        self.data = Signal((KV.bits, True))
        self.room = Signal()
        self.idle = Signal()
        self.overflow = Signal()

        # # #

        self._word = Signal(config.word_bits, reset_less=True)
        self._word_valid, self._head_end = Signal(), Signal()
        self._partial = Signal()
        self._address = Signal(len(write_port.cmd.addr), reset_less=True)
        self._pack(config.kv_lanes)
        self._place()
        self._write(write_port)

    def _pack(self, lanes: int) -> None:
        """Elements wait until the row's address is known, then fill words from the low end."""
        valid = delayed(self, self.valid, PRODUCT_STAGES)
        element = delayed(self, self.data, PRODUCT_STAGES)
        # A cycle ahead of the row's first element, at the earliest with the last row's last one.
        begin = delayed(self, self.begin, PRODUCT_STAGES - 1)
        lane, left = Signal(max=max(lanes, 2)), Signal.like(self.head_dim)
        head_end, word_end = Signal(), Signal()
        self.comb += [
            head_end.eq(left == 1),
            word_end.eq(head_end | (lane == lanes - 1)),
            self._partial.eq(lane != 0),
        ]
        for index in range(lanes):
            part = self._word[index * KV.bits : (index + 1) * KV.bits]
            self.sync += If(valid, If(lane == index, part.eq(element)).Elif(lane == 0, part.eq(0)))
        self.sync += [
            self._word_valid.eq(valid & word_end),
            self._head_end.eq(valid & head_end),
            If(valid, lane.eq(lane + 1), left.eq(left - 1)),
            If(valid & word_end, lane.eq(0)),
            If(begin | (valid & head_end), lane.eq(0), left.eq(self.head_dim)),
        ]

    def _place(self) -> None:
        """The address of the word that is complete."""
        base = delayed(self, self.base, 2)
        position, head_words = delayed(self, self.position, 1), delayed(self, self.head_words, 1)
        product, row = Signal(len(position) + len(head_words)), Signal.like(self._address)
        head, next_head = Signal.like(self._address), Signal.like(self._address)
        begin = delayed(self, self.begin, PRODUCT_STAGES)
        self.comb += next_head.eq(head + self.head_stride)
        self.sync += [
            product.eq(position * head_words),
            row.eq(base + product),
            If(self._word_valid, self._address.eq(self._address + 1)),
            If(self._head_end, self._address.eq(next_head), head.eq(next_head)),
            If(begin, self._address.eq(row), head.eq(row)),
        ]

    def _write(self, port: LiteDRAMNativePort) -> None:
        """LiteDRAM takes the data cycles after the command and does not ask whether they are there.

        Both go into FIFOs at the same time and with the same latency, so they are.
        """
        self.addresses = addresses = BlockFifo(len(self._address), DEPTH)
        self.words = words = BlockFifo(len(self._word), DEPTH)
        self.comb += [
            addresses.sink.valid.eq(self._word_valid & words.sink.ready),
            addresses.sink.data.eq(self._address),
            words.sink.valid.eq(self._word_valid),
            words.sink.data.eq(self._word),
            self.overflow.eq(self._word_valid & ~words.sink.ready),
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
        # By the end of the pipeline an element is part of a word, or of what will become one.
        stages = [delayed(self, self.valid, stage) for stage in range(PRODUCT_STAGES + 2)]
        self.comb += self.idle.eq(words.empty & ~(reduce(or_, stages) | self._partial))

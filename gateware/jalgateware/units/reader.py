"""Reads runs of words from DRAM through several ports, in order."""

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_

from litedram.common import LiteDRAMNativePort
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import Cat, If, Mux, Replicate, ResetInserter, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import FIELDS
from jalgateware.units.fifo import BlockFifo, CountedFifo
from jalgateware.units.pipeline import delayed, each, registered

ADDRESS_BITS = 32
"""Absolute word addresses, as wide as the engine's CSRs."""

WORDS_BITS = FIELDS["words"][1]

QUEUE_DEPTH = 16
"""Words between the ports' FIFOs and the engine: whether one is taken there is known late."""

ORDER_DEPTH = 32
"""Pieces on their way: bounds the words in flight only where pieces are very short."""


class PortReader(LiteXModule):
    """Reads pieces of consecutive words through one port, and keeps the answers.

    Interface: ``piece_valid``/``piece_ready`` {piece_address, piece_last: words - 1} -> ``source``
    {data}, the words in order. While ``drop`` is set no new word is asked for, apart from a request
    that the port already sees, and all answers are thrown away; ``idle`` tells that none is left.
    Latency: 2 cycles from piece to request, 3 from answer to ``source``. Throughput: one word per
    cycle; a piece every other cycle.
    Overflow: none. LiteDRAM's answers cannot be stalled, so each request first reserves its place
    in the FIFO.
    """

    def __init__(self, port: LiteDRAMNativePort, config: EngineConfig) -> None:
        self.piece_valid = Signal()
        self.piece_ready = Signal()
        self.piece_address = Signal(len(port.cmd.addr))
        self.piece_last = Signal(max=config.port_burst_words)
        self.source = stream.Endpoint([("data", config.word_bits)])
        self.drop = Signal()
        self.idle = Signal()

        # # #

        # The next piece waits here, so that only this port's counters hang on its cmd.ready.
        waiting = Signal()
        next_address = Signal.like(self.piece_address, reset_less=True)
        next_last = Signal.like(self.piece_last, reset_less=True)
        take = Signal()
        self.comb += self.piece_ready.eq(~waiting)
        self.sync += [
            If(take, waiting.eq(0)),
            If(
                self.piece_valid & self.piece_ready,
                waiting.eq(1),
                next_address.eq(self.piece_address),
                next_last.eq(self.piece_last),
            ),
            If(self.drop, waiting.eq(0)),
        ]

        # Requests.
        active, credit, issue = Signal(), Signal(), Signal()
        address = Signal.like(self.piece_address, reset_less=True)
        left = Signal.like(self.piece_last, reset_less=True)
        low = address[: len(left)]
        self.comb += [
            port.cmd.we.eq(0),
            port.cmd.addr.eq(address),
            port.cmd.valid.eq(active & credit),
            issue.eq(port.cmd.valid & port.cmd.ready),
            take.eq(waiting & (~active | (issue & (left == 0)))),
        ]
        self.sync += [
            # A piece never leaves its burst, so only the address's low bits count.
            If(issue, low.eq(low + 1), left.eq(left - 1)),
            If(issue & ((left == 0) | self.drop), active.eq(0)),
            If(~credit & self.drop, active.eq(0)),
            If(
                take & ~self.drop,
                active.eq(1),
                address.eq(next_address),
                left.eq(next_last),
            ),
        ]

        # Answers. A place is free again when its word has left the FIFO.
        depth = config.port_fifo_words
        self.fifo = fifo = BlockFifo(config.word_bits, depth)
        free = Signal(max=depth + 1, reset=depth)
        pop = Signal()
        self.comb += [
            fifo.sink.valid.eq(port.rdata.valid),
            fifo.sink.data.eq(port.rdata.data),
            port.rdata.ready.eq(fifo.sink.ready),
            self.source.data.eq(fifo.source.data),
            self.source.valid.eq(fifo.source.valid & ~self.drop),
            fifo.source.ready.eq(self.source.ready | self.drop),
            pop.eq(fifo.source.valid & fifo.source.ready),
            self.idle.eq(~waiting & ~active & (free == depth)),
        ]
        self.sync += [
            If(issue & ~pop, free.eq(free - 1)),
            If(pop & ~issue, free.eq(free + 1)),
            # Is a place free after this cycle, not counting one that becomes free in it?
            credit.eq(Mux(issue & ~pop, free[1:] != 0, free != 0)),
        ]


class StreamReader(LiteXModule):
    """Turns read commands into one stream of words.

    A command is cut at multiples of ``port_burst_words`` and its pieces go to the ports in turn, so
    that one port's change of DRAM bank hides behind the words of the others.

    Interface: ``sink`` {address: absolute, in words; words} -> ``source`` {data}, the words in the
    order of the commands; both valid/ready. A command for no words does nothing. ``abort`` (pulse)
    forgets all commands and throws away what is on its way, from the next cycle on; the last word
    leaves in that cycle. Commands are accepted again when all that is done.
    ``idle``: no command, no word.
    Latency: ``LATENCY`` cycles from command to request, ``ANSWER_LATENCY`` from answer to
    ``source``. Throughput: one word per cycle, a piece and a command every other cycle.
    Overflow: none, see :class:`PortReader`.
    """

    LATENCY = 6
    ANSWER_LATENCY = BlockFifo.LATENCY + 2

    def __init__(self, config: EngineConfig, ports: Sequence[LiteDRAMNativePort]) -> None:
        for port in ports:
            if port.data_width != config.word_bits:
                raise ValueError(
                    f"a port is {port.data_width} bits wide, an engine word {config.word_bits}"
                )
        self.sink = stream.Endpoint([("address", ADDRESS_BITS), ("words", WORDS_BITS)])
        self.source = stream.Endpoint([("data", config.word_bits)])
        self.abort = Signal()
        self.idle = Signal()

        # # #

        self.readers = [PortReader(port, config) for port in ports]
        self.submodules += self.readers
        piece_bits = len(self.readers[0].piece_last)
        self.order = stream.SyncFIFO([("piece_last", piece_bits)], ORDER_DEPTH)
        # Its level hangs on registers alone, on either side.
        self._space = Signal()
        # A command waits here, so that the queue in front does not hang on how the last one ends.
        self._command = stream.Endpoint(self.sink.description)
        self.sync += self._space.eq(self.order.level < ORDER_DEPTH - 1)
        self.next_order = stream.PipeReady(self.order.source.description)
        self.comb += self.order.source.connect(self.next_order.sink)
        self._drop = Signal()
        self._cutting = Signal()
        self._collecting = Signal()
        self._cut(piece_bits)
        self._collect(piece_bits)

        ports_idle = Signal()
        self.comb += [
            ports_idle.eq(reduce(and_, [reader.idle for reader in self.readers])),
            self.idle.eq(
                ports_idle
                & ~(self._command.valid | self._cutting | self._collecting)
                & ~(self._on_the_way | self.source.valid)
                & ~(self.next_order.source.valid | self._drop)
            ),
        ]
        self.comb += [reader.drop.eq(self._drop) for reader in self.readers]
        # Registered, as it reaches everything: what is done in its first cycle shows in its second.
        settled = Signal()
        self.sync += [
            settled.eq(self._drop),
            If(settled & ports_idle & ~self.next_order.source.valid, self._drop.eq(0)),
            If(self.abort, self._drop.eq(1)),
        ]

    def _cut(self, piece_bits: int) -> None:
        """Cuts commands into pieces, one every other cycle, and deals them to the ports."""
        address = Signal(ADDRESS_BITS, reset_less=True)
        last = Signal(WORDS_BITS, reset_less=True)
        low, to_end = Signal(piece_bits), Signal(piece_bits)
        final, settled, go, take = Signal(), Signal(), Signal(), Signal()
        command = self._command
        piece_last, turn = Signal(piece_bits), Signal(len(self.readers), reset=1)
        ready = [reader.piece_ready & turn[i] for i, reader in enumerate(self.readers)]
        self.comb += [
            low.eq(address[:piece_bits]),
            to_end.eq(~low),
            piece_last.eq(Mux(final, last[:piece_bits], to_end)),
            go.eq(self._cutting & settled & self._space & reduce(or_, ready)),
            self.order.sink.valid.eq(go),
            self.order.sink.piece_last.eq(piece_last),
            self.sink.ready.eq(~self._drop & ~command.valid),
            take.eq(command.valid & (~self._cutting | (go & final))),
        ]
        # Ports are far apart: a piece reaches its port from a register, before that one is asked
        # again.
        dealt = [registered(self, value, 1) for value in (address, piece_last)]
        for i, reader in enumerate(self.readers):
            self.comb += [
                reader.piece_valid.eq(delayed(self, go & turn[i], 1)),
                *each([reader.piece_address, reader.piece_last], dealt),
            ]
        self.sync += [
            # Whether the piece is the last one is known a cycle behind its address.
            final.eq((last[piece_bits:] == 0) & (last[:piece_bits] <= to_end)),
            settled.eq(1),
            If(
                go,
                settled.eq(0),
                turn.eq(Cat(turn[-1], turn[:-1])),
                address.eq(Cat(Replicate(0, piece_bits), address[piece_bits:] + 1)),
                # Minus the piece's words, that is plus ...111 above the address's low bits.
                last.eq(last + Cat(low, Replicate(1, WORDS_BITS - piece_bits))),
                If(final, self._cutting.eq(0)),
            ),
            If(
                take,
                settled.eq(0),
                command.valid.eq(0),
                self._cutting.eq(command.words != 0),
                address.eq(command.address),
                last.eq(command.words - 1),
            ),
            If(
                self.sink.valid & self.sink.ready,
                command.valid.eq(1),
                command.payload.eq(self.sink.payload),
            ),
            If(self._drop, self._cutting.eq(0), command.valid.eq(0), turn.eq(1)),
        ]

    def _collect(self, piece_bits: int) -> None:
        """Takes the words from the ports in the order of the pieces."""
        left, final = Signal(piece_bits, reset_less=True), Signal()
        turn = Signal(len(self.readers), reset=1)
        enable, take, load, end = Signal(), Signal(), Signal(), Signal()
        word_valid = Signal()
        word_data = Signal.like(self.source.data, reset_less=True)
        # ``room`` sees to it that it does not overflow.
        self.queue = queue = ResetInserter()(CountedFifo(len(self.source.data), QUEUE_DEPTH))
        room = Signal()
        self._on_the_way = word_valid
        self.comb += [
            queue.sink.valid.eq(word_valid),
            queue.sink.data.eq(word_data),
            queue.source.connect(self.source),
            queue.reset.eq(self._drop),
        ]
        words = [reader.source for reader in self.readers]
        valid = [word.valid & turn[i] for i, word in enumerate(words)]
        data = [word.data & Replicate(turn[i], len(word.data)) for i, word in enumerate(words)]
        self.comb += [
            enable.eq(self._collecting & room),
            take.eq(enable & reduce(or_, valid)),
            end.eq(take & final),
            load.eq(~self._collecting | end),
            self.next_order.source.ready.eq(load | self._drop),
        ]
        self.comb += [word.ready.eq(enable & turn[i]) for i, word in enumerate(words)]
        self.sync += [
            word_valid.eq(take),
            word_data.eq(reduce(or_, data)),
            # What is on its way when the queue is found to fill up still finds room.
            room.eq(self.queue.level <= QUEUE_DEPTH - 4),
            If(take, left.eq(left - 1), final.eq(left == 1)),
            If(end, turn.eq(Cat(turn[-1], turn[:-1]))),
            If(
                load,
                self._collecting.eq(self.next_order.source.valid),
                left.eq(self.next_order.source.piece_last),
                final.eq(self.next_order.source.piece_last == 0),
            ),
            If(self._drop, self._collecting.eq(0), word_valid.eq(0), turn.eq(1)),
        ]

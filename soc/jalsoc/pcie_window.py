"""What BAR 0 shows: DRAM by a window that moves, and a refusal for what is not there."""

from collections.abc import Callable
from typing import Any

from litedram.common import LiteDRAMNativePort
from litepcie.core import LitePCIeEndpoint
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from litex.soc.interconnect.csr import CSRStorage
from migen import FSM, Array, Case, Cat, If, NextState, NextValue, Replicate, Signal

from jalgateware.contract.pcie import DRAM_WINDOW, MAX_READ_WORDS

WORD_BITS, WORD_BYTES = 32, 4

FIFO_WORDS = 16
"""Words whose commands the DRAM controller has taken, and whose data it has not."""

Decoder = Callable[[Any], Any]
"""From an address in BAR 0 to whether a port is meant."""


class DramWindow(LiteXModule):
    """Reads and writes DRAM for the host: a request of many words, one word per DRAM command.

    A request is over when the DRAM controller has taken its last command, so that whatever comes
    behind it, by whatever way, finds DRAM as the request leaves it.

    Interface: a slave port of the endpoint's crossbar, a native port of the DRAM controller of any
    width, and the register ``base``, in bytes: bits below the window's size do not count.
    Requests are whole words: LitePCIe passes no byte enables on.
    Throughput: a word per cycle for writes; for reads, a port's word per read latency.
    Error state: reads of more than MAX_READ_WORDS are refused (unsupported request).
    """

    def __init__(
        self, endpoint: LitePCIeEndpoint, port: LiteDRAMNativePort, decoder: Decoder
    ) -> None:
        self.base = CSRStorage(
            32, description="Bytes from the start of DRAM to what the PCIe window shows."
        )

        # # #

        slave = endpoint.crossbar.get_slave_port(decoder)
        self._request, self._answer = slave.sink, slave.source
        data_width = len(self._request.dat)
        self._lanes = data_width // WORD_BITS
        self._place_bits = (port.data_width // WORD_BITS).bit_length() - 1
        window_bits = DRAM_WINDOW.size.bit_length() - 1
        # In words: of DRAM, left of the request, within the beat.
        self._address = Signal(len(port.cmd.addr) + self._place_bits)
        self._left = Signal(11)
        self._lane = Signal(max=self._lanes)
        self._first = Signal()
        self._answer_fields(endpoint)
        start = Cat(self._request.adr[2:window_bits], self.base.storage[window_bits:])
        self.fsm = fsm = FSM(reset_state="IDLE")
        fsm.act(
            "IDLE",
            NextValue(self._address, start),
            NextValue(self._left, self._request.len),
            NextValue(self._lane, 0),
            NextValue(self._first, 1),
            If(
                self._request.valid & self._request.first,
                If(self._request.we, NextState("WRITE"))
                .Elif(
                    (self._request.len == 0) | (self._request.len > MAX_READ_WORDS),
                    NextState("REFUSE"),
                )
                .Else(NextState("FETCH")),
            ).Else(self._request.ready.eq(1)),
        )
        self._write(fsm, port)
        self._read(fsm, port)
        fsm.act(
            "REFUSE",
            self._answer.valid.eq(1),
            self._answer.first.eq(1),
            self._answer.last.eq(1),
            self._answer.err.eq(1),
            If(self._answer.ready, self._request.ready.eq(1), NextState("IDLE")),
        )

    def _answer_fields(self, endpoint: LitePCIeEndpoint) -> None:
        """What all beats of a completion repeat."""
        self.comb += [
            self._answer.len.eq(self._request.len),
            self._answer.tag.eq(self._request.tag),
            self._answer.adr.eq(self._request.adr),
            self._answer.req_id.eq(self._request.req_id),
            self._answer.cmp_id.eq(endpoint.phy.id),
        ]

    def _write(self, fsm: FSM, port: LiteDRAMNativePort) -> None:
        """LiteDRAM takes the data cycles after the command and does not ask whether it is there."""
        places = 1 << self._place_bits
        self.fifo = fifo = stream.SyncFIFO(
            [("data", WORD_BITS), ("place", max(1, self._place_bits))], FIFO_WORDS
        )
        request = self._request
        words = Array(request.dat[WORD_BITS * i : WORD_BITS * (i + 1)] for i in range(self._lanes))
        self.comb += [
            port.cmd.addr.eq(self._address[self._place_bits :]),
            fifo.sink.data.eq(words[self._lane]),
            fifo.sink.place.eq(self._address[: self._place_bits]),
            port.wdata.valid.eq(fifo.source.valid),
            port.wdata.data.eq(Replicate(fifo.source.data, places)),
            Case(
                fifo.source.place,
                {i: port.wdata.we.eq(0xF << WORD_BYTES * i) for i in range(places)},
            ),
            fifo.source.ready.eq(port.wdata.ready),
        ]
        fsm.act(
            "WRITE",
            port.cmd.we.eq(1),
            port.cmd.valid.eq(request.valid & fifo.sink.ready),
            fifo.sink.valid.eq(request.valid & port.cmd.ready),
            If(
                port.cmd.valid & port.cmd.ready,
                NextValue(self._address, self._address + 1),
                NextValue(self._left, self._left - 1),
                NextValue(self._lane, self._lane + 1),
                If(
                    (self._lane == self._lanes - 1) | (self._left == 1),
                    request.ready.eq(1),
                    # IDLE drops beats behind the request's last word.
                    If(request.last | (self._left == 1), NextState("IDLE")),
                ),
            ),
        )

    def _read(self, fsm: FSM, port: LiteDRAMNativePort) -> None:
        """A word of the port at a time, from which the words of the completion are taken."""
        places = 1 << self._place_bits
        fetched = Signal(port.data_width, reset_less=True)
        words = Array(fetched[WORD_BITS * i : WORD_BITS * (i + 1)] for i in range(places))
        place = self._address[: self._place_bits]
        beat = [Signal(WORD_BITS, reset_less=True) for _ in range(self._lanes)]
        self.comb += [port.rdata.ready.eq(1), self._answer.dat.eq(Cat(*beat))]
        fsm.act("FETCH", port.cmd.valid.eq(1), If(port.cmd.ready, NextState("WAIT")))
        fsm.act(
            "WAIT",
            If(port.rdata.valid, NextValue(fetched, port.rdata.data), NextState("COLLECT")),
        )
        fsm.act(
            "COLLECT",
            Case(
                self._lane,
                {i: NextValue(word, words[place]) for i, word in enumerate(beat)},
            ),
            NextValue(self._address, self._address + 1),
            NextValue(self._left, self._left - 1),
            NextValue(self._lane, self._lane + 1),
            If((self._lane == self._lanes - 1) | (self._left == 1), NextState("SEND")).Elif(
                place == places - 1, NextState("FETCH")
            ),
        )
        # LitePCIe takes a completion of one beat for one of one word: longer ones get a second
        # beat, which is cut off again behind it.
        short = Signal()
        self.comb += short.eq((self._request.len > 1) & (self._request.len <= self._lanes))
        fsm.act(
            "SEND",
            self._answer.valid.eq(1),
            self._answer.first.eq(self._first),
            self._answer.last.eq((self._left == 0) & ~(short & self._first)),
            If(
                self._answer.ready,
                NextValue(self._first, 0),
                NextValue(self._lane, 0),
                If(self._answer.last, self._request.ready.eq(1), NextState("IDLE"))
                .Elif(self._left == 0, NextState("SEND"))
                .Elif(place == 0, NextState("FETCH"))
                .Else(NextState("COLLECT")),
            ),
        )


class Refusal(LiteXModule):
    """Answers reads of what does not exist as unsupported requests, and drops writes to it.

    Without it the host would wait for an answer until it gives up.
    """

    def __init__(self, endpoint: LitePCIeEndpoint, decoder: Decoder) -> None:
        slave = endpoint.crossbar.get_slave_port(decoder)
        request, answer = slave.sink, slave.source
        self.comb += [
            answer.valid.eq(request.valid & request.first & ~request.we),
            answer.first.eq(1),
            answer.last.eq(1),
            answer.err.eq(1),
            answer.len.eq(1),
            answer.tag.eq(request.tag),
            answer.adr.eq(request.adr),
            answer.req_id.eq(request.req_id),
            answer.cmp_id.eq(endpoint.phy.id),
            request.ready.eq(~answer.valid | answer.ready),
        ]

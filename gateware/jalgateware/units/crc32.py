"""Checks what lies in DRAM: CRC-32, one 32-bit word per cycle."""

from functools import reduce
from operator import xor

from litedram.common import LiteDRAMNativePort
from litedram.frontend.dma import LiteDRAMDMAReader
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from litex.soc.interconnect.csr import CSRField, CSRStatus, CSRStorage
from migen import Cat, If, Signal, log2_int

from jalgateware.golden.crc32 import WORD_BITS, advance_masks


class Crc32(LiteXModule):
    """CRC-32 of a run of words.

    ``state = advance(state ^ word)``, from all ones; ``result = ~state``.

    Interface: ``clear`` starts anew; ``valid`` with ``word`` (32 bits, the first byte lowest),
    valid-only; ``result`` (32 bits).
    Latency: ``LATENCY`` cycle. Throughput: one word per cycle.
    Overflow: none.
    Golden model: :func:`jalgateware.golden.crc32.crc32`.
    """

    LATENCY = 1

    def __init__(self) -> None:
        self.clear = Signal()
        self.valid = Signal()
        self.word = Signal(WORD_BITS)
        self.result = Signal(WORD_BITS)

        # # #

        state = Signal(WORD_BITS, reset=2**WORD_BITS - 1)
        added = Signal(WORD_BITS)
        following = [
            reduce(xor, [added[bit] for bit in range(WORD_BITS) if mask >> bit & 1])
            for mask in advance_masks()
        ]
        self.comb += [added.eq(state ^ self.word), self.result.eq(~state)]
        self.sync += [
            If(self.valid, state.eq(Cat(*following))),
            If(self.clear, state.eq(state.reset)),
        ]


class CrcEngine(LiteXModule):
    """Reads a run of bytes from DRAM and gives their CRC-32.

    Interface: ``start`` (pulse, while not ``busy``) with ``address`` (bytes from the start of DRAM,
    a multiple of the port's width) and ``length`` (bytes, a multiple of 4); both stable while
    ``busy``. ``result`` is valid once ``busy`` is 0 again.
    Latency: ``LATENCY`` cycles plus those of DRAM for the first word. Throughput: one 32-bit word
    per cycle.
    Overflow: none; a run beyond the end of DRAM wraps.
    Golden model: :func:`jalgateware.golden.crc32.crc32`.

    Args:
        port: a port for reading, at least 32 bits wide.
        fifo_depth: port words on their way.
        with_csr: adds registers for all of this.
    """

    LATENCY = 4

    def __init__(
        self, port: LiteDRAMNativePort, fifo_depth: int = 32, with_csr: bool = True
    ) -> None:
        if port.data_width % WORD_BITS:
            raise ValueError(f"the port is {port.data_width} bits wide, not a multiple of 32")
        self.start = Signal()
        self.address = Signal(32)
        self.length = Signal(32)
        self.busy = Signal()
        self.result = Signal(WORD_BITS)

        # # #

        shift = log2_int(port.data_width // 8)
        self.reader = reader = LiteDRAMDMAReader(port, fifo_depth, fifo_buffered=True)
        self.converter = converter = stream.Converter(port.data_width, WORD_BITS)
        self.crc = crc = Crc32()

        # Requests: words of the port.
        next_address = Signal(port.address_width)
        to_request = Signal(33 - shift)
        self.comb += [
            reader.sink.valid.eq(to_request != 0),
            reader.sink.address.eq(next_address),
        ]
        self.sync += [
            If(
                reader.sink.valid & reader.sink.ready,
                next_address.eq(next_address + 1),
                to_request.eq(to_request - 1),
            ),
            If(
                self.start & ~self.busy,
                next_address.eq(self.address[shift:]),
                to_request.eq((self.length + (port.data_width // 8 - 1))[shift:]),
            ),
        ]

        # Answers: what the last word has too many is thrown away.
        to_check = Signal(30)
        wanted = Signal()
        self.comb += [
            reader.source.connect(converter.sink),
            converter.source.ready.eq(1),
            wanted.eq(to_check != 0),
            crc.clear.eq(self.start & ~self.busy),
            crc.valid.eq(converter.source.valid & wanted),
            crc.word.eq(converter.source.data),
            self.result.eq(crc.result),
        ]
        self.sync += [
            If(crc.valid, to_check.eq(to_check - 1)),
            If(~wanted & ~converter.source.valid, self.busy.eq(0)),
            If(self.start & ~self.busy, to_check.eq(self.length[2:]), self.busy.eq(1)),
        ]
        if with_csr:
            self._add_csr()

    def _add_csr(self) -> None:
        self._address = CSRStorage(
            32, description="First byte, from the start of DRAM; a multiple of the port's width."
        )
        self._length = CSRStorage(32, description="Bytes, a multiple of 4.")
        self._control = CSRStorage(
            fields=[CSRField("start", pulse=True, description="Write 1 to start.")],
            description="Starts a check.",
        )
        self._status = CSRStatus(
            fields=[CSRField("busy", description="A check goes on; its result is not valid yet.")],
            description="State of the check.",
        )
        self._result = CSRStatus(32, description="CRC-32 of the bytes.")
        self.comb += [
            self.address.eq(self._address.storage),
            self.length.eq(self._length.storage),
            self.start.eq(self._control.fields.start),
            self._status.fields.busy.eq(self.busy),
            self._result.status.eq(self.result),
        ]

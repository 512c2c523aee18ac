"""Gives packets of the PCIe transaction layer as many beats as their headers say."""

from litepcie.common import phy_layout
from litepcie.tlp.common import tlp_request_header_fields, type_dict
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import FSM, If, NextState, NextValue, Signal

DWORD_BITS = 32

LONG_HEADER, WITH_DATA = 0, 1
"""Bits of a header's ``fmt``: four words instead of three; data follow."""


class PacketFrame(LiteXModule):
    """Passes packets on, cut or padded to the beats that their headers ask for.

    LitePCIe 2024.12 has faults at packets' ends. Its packetizer sends completions without data and
    those of an odd number of words with a word too many, and tells the end of a single beat wrong;
    so packets are cut here, and no length is left where there are no data. Its depacketizer loses
    the last word of a packet that fills its last beat; with ``pad``, such a packet gets another
    beat.

    Interface: ``sink`` -> ``source``, both LitePCIe's layout of a PHY with big-endian words, as
    ``S7PCIEPHY`` has it; ``source.be`` and ``source.last`` follow the header.
    Latency: 0 cycles. Throughput: a beat per cycle; a padded packet takes one more.
    """

    def __init__(self, data_width: int, pad: bool) -> None:
        self.sink = sink = stream.Endpoint(phy_layout(data_width))
        self.source = source = stream.Endpoint(phy_layout(data_width))

        # # #

        words = data_width // DWORD_BITS
        field = tlp_request_header_fields
        fmt, kind, length = (
            sink.dat[field[name].offset : field[name].offset + field[name].width]
            for name in ("fmt", "type", "length")
        )
        # Words of the packet that are not sent yet, this beat's included.
        total, kept, left = Signal(12), Signal(12), Signal(12)
        first = Signal(reset=1)
        self.comb += [
            total.eq(3 + fmt[LONG_HEADER]),
            # A length of 0 stands for 1024 words.
            If(fmt[WITH_DATA], total.eq(3 + fmt[LONG_HEADER] + length + ((length == 0) << 10))),
            left.eq(kept),
            If(first, left.eq(total)),
            source.dat.eq(sink.dat),
            If(
                first & ~fmt[WITH_DATA] & (kind == type_dict["cpl"]),
                source.dat[: field["length"].width].eq(0),
            ),
            source.first.eq(first),
            *[source.be[4 * i : 4 * i + 4].eq(0xF * (left > i)) for i in range(words)],
        ]
        ends, padded, more = Signal(), Signal(), Signal()
        self.comb += [ends.eq(left <= words), padded.eq(ends & (left == words) & int(pad))]
        self.fsm = fsm = FSM(reset_state="PASS")
        fsm.act(
            "PASS",
            source.valid.eq(sink.valid),
            sink.ready.eq(source.ready),
            source.last.eq(ends & ~padded),
            If(
                sink.valid & source.ready,
                NextValue(first, ends),
                NextValue(kept, left - words),
                # Beats behind the end belong to nobody: a digest, or one that LitePCIe made up.
                NextValue(more, ~sink.last),
                If(padded, NextState("PAD"))
                .Elif(ends & ~sink.last, NextState("DROP"))
                .Elif(~ends & sink.last, NextState("SHORT")),
            ),
        )
        fsm.act(
            "PAD",
            source.valid.eq(1),
            source.first.eq(0),
            source.last.eq(1),
            source.be.eq(0),
            If(source.ready, NextState("PASS"), If(more, NextState("DROP"))),
        )
        # A packet that breaks off is ended, so that the next one is not taken for its rest.
        fsm.act(
            "SHORT",
            source.valid.eq(1),
            source.first.eq(0),
            source.last.eq(1),
            source.be.eq(0),
            If(source.ready, NextValue(first, 1), NextState("PASS")),
        )
        fsm.act("DROP", sink.ready.eq(1), If(sink.valid & sink.last, NextState("PASS")))

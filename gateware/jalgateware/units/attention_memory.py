"""Row buffers of attention: elements arrive one by one and are read back as words."""

from litex.gen import LiteXModule
from migen import READ_FIRST, If, Memory, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV
from jalgateware.contract.isa import FIELDS
from jalgateware.units.fifo import NEVER_COLLIDES


class HeadRows(LiteXModule):
    """Keeps heads of 16-bit elements as words of ``kv_lanes`` elements, in ``banks`` side by side.

    Head ``n`` goes to bank ``(n % group) % banks``; each head starts a new word and the rest of its
    last word is zero. Words count up as heads come, ``chunk`` words apart, so that a bank's word
    ``(n // group * steps + n % group // banks) * head_words + c`` is word c of head n, with steps =
    ceil(group / banks).

    Interface: ``valid``, ``index``, ``data``: elements in order, index 0 starts anew; ``head_dim``,
    ``group``: constant; ``address`` -> ``words`` (one per bank) one cycle later. Latency: 2 cycles
    from an element to its word. Throughput: one element per cycle. Overflow: none.
    """

    def __init__(self, config: EngineConfig, depth: int, banks: int = 1) -> None:
        lanes = config.kv_lanes
        self.valid = Signal()
        self.index = Signal(FIELDS["rows"][1])
        self.data = Signal((KV.bits, True))
        self.head_dim = Signal(max=config.max_head_dim + 1)
        self.group = Signal(max=config.max_group + 1)
        self.address = Signal(max=max(2, depth))
        self.words = [Signal(config.word_bits) for _ in range(banks)]

        # # #

        word = Signal(config.word_bits)
        lane = Signal(max=max(2, lanes))
        element = Signal.like(self.head_dim)
        member = Signal(max=config.max_group + 1)
        bank = Signal(max=max(2, banks))
        first = self.valid & (self.index == 0)
        # Counters as they apply to the element that is here now.
        now_lane, now_element = Signal.like(lane), Signal.like(element)
        now_member, now_bank = Signal.like(member), Signal.like(bank)
        base, chunk = Signal.like(self.address), Signal.like(self.address)
        now_base, now_chunk = Signal.like(base), Signal.like(chunk)
        for now, kept in (
            (now_lane, lane),
            (now_element, element),
            (now_member, member),
            (now_bank, bank),
            (now_base, base),
            (now_chunk, chunk),
        ):
            self.comb += If(~first, now.eq(kept))
        head_end, word_end = Signal(), Signal()
        self.comb += [
            head_end.eq(now_element == self.head_dim - 1),
            word_end.eq(head_end | (now_lane == lanes - 1)),
        ]
        # A step is one head for each bank; it ends with the last bank or the group's last head.
        step_end = (now_bank == banks - 1) | (now_member == self.group - 1)
        write_bank, write_address, write = Signal.like(bank), Signal.like(self.address), Signal()
        self.sync += [
            write.eq(self.valid & word_end),
            write_bank.eq(now_bank),
            write_address.eq(now_base + now_chunk),
        ]
        self.sync += If(
            self.valid,
            lane.eq(now_lane + 1),
            element.eq(now_element + 1),
            bank.eq(now_bank),
            member.eq(now_member),
            base.eq(now_base),
            chunk.eq(now_chunk),
            If(
                word_end,
                lane.eq(0),
                chunk.eq(now_chunk + 1),
                If(
                    head_end,
                    element.eq(0),
                    chunk.eq(0),
                    bank.eq(now_bank + 1),
                    member.eq(now_member + 1),
                    If(now_member == self.group - 1, member.eq(0)),
                    If(step_end, bank.eq(0), base.eq(now_base + now_chunk + 1)),
                ),
            ),
        )
        for i in range(lanes):
            part = word[KV.bits * i : KV.bits * (i + 1)]
            self.sync += If(
                self.valid,
                If(now_lane == i, part.eq(self.data)).Elif(now_lane == 0, part.eq(0)),
            )
        for i, output in enumerate(self.words):
            memory = Memory(config.word_bits, max(2, depth))
            memory.attr = {NEVER_COLLIDES}
            port = memory.get_port(write_capable=True, mode=READ_FIRST)
            read = memory.get_port(mode=READ_FIRST)
            self.specials += memory, port, read
            self.comb += [
                port.adr.eq(write_address),
                port.dat_w.eq(word),
                port.we.eq(write & (write_bank == i)),
                read.adr.eq(self.address),
                output.eq(read.dat_r),
            ]

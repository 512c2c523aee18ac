"""Attention's results on their way out: the value sums, element by element, and 1/sum."""

from typing import Any

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import Array, Cat, If, Memory, Signal

from jalgateware.contract.config import ROW_CYCLES, EngineConfig
from jalgateware.contract.formats import MANTISSA, SUM_BITS, VALUE_ACCUMULATOR
from jalgateware.contract.isa import FIELDS
from jalgateware.units.pipeline import delayed, held
from jalgateware.units.reciprocal import Reciprocal
from jalgateware.units.value_sums import ValueSums, address_bits


def result_layout(row_bits: int) -> list[tuple[str, Any]]:
    """An element: ``accumulator * mantissa * 2**-(16 + shift)`` of a token row."""
    return [
        ("accumulator", (VALUE_ACCUMULATOR.bits, True)),
        ("mantissa", MANTISSA.bits),
        ("shift", (7, True)),
        ("row", row_bits),
    ]


class Leave(LiteXModule):
    """Hands out the elements of a turn's members, one by one, each with the reciprocal of its sum.

    Interface: ``summed`` (pulse): with the value pass' last step, behind which ``first``, ``last``
    (members), ``first_row``, ``last_head``, ``last_turn`` are valid; ``invert`` (pulse): all
    sums of probabilities are there; ``folded`` (pulse): so are the value sums. ``total_step`` ->
    ``totals`` (a sum of probabilities of each slot) in the same cycle; ``address`` {word, step},
    ``lane`` -> ``results`` (of each slot) ``1 + ValueSums.READ_LATENCY`` cycles later;
    ``head_dim``, ``group``, ``value_shift``: constant ->
    ``source`` {:func:`result_layout`}, valid-only, ``last`` with the last element of a token row;
    ``busy`` from ``summed`` until the last element is read; ``left_all`` (pulse) behind the last
    one of the pass. Throughput: an element per cycle, of slow rows one every ``ROW_CYCLES``.
    """

    def __init__(self, config: EngineConfig, row_bits: int) -> None:
        count = config.max_group * config.tokens
        word_bits, step_bits = address_bits(config)
        self.summed, self.invert, self.folded = Signal(), Signal(), Signal()
        self.first, self.last = Signal(max=max(2, count)), Signal(max=max(2, count))
        self.first_row = Signal(row_bits)
        self.last_head, self.last_turn = Signal(), Signal()
        self.total_step = Signal(step_bits)
        self.totals = [Signal(SUM_BITS) for _ in range(config.attention_slots)]
        self.address = Signal(word_bits + step_bits)
        self.lane = Signal(max=max(2, config.kv_lanes))
        self.results = [
            Signal((VALUE_ACCUMULATOR.bits, True)) for _ in range(config.attention_slots)
        ]
        self.head_dim = Signal(max=config.max_head_dim + 1)
        self.group = Signal(max=config.max_group + 1)
        self.value_shift = Signal(FIELDS["fraction"][1])
        self.source = stream.Endpoint(result_layout(row_bits))
        self.busy, self.left_all = Signal(), Signal()

        # # #

        self.reciprocal = Reciprocal()
        self.member = Signal.like(self.first)
        inverted, inverse = self._invert(config, count)
        self._walk(config, inverted)
        self._hand_out(config, inverse)

    def _invert(self, config: EngineConfig, count: int) -> tuple[Signal, Signal]:
        """Reciprocals of the sums: (all are there, mantissa and exponent of ``member``)."""
        reciprocal = self.reciprocal
        asked, answered = Signal.like(self.first), Signal.like(self.first)
        asking, inverted = Signal(), Signal()
        inverse = Signal(MANTISSA.bits + len(reciprocal.exponent))
        slot = Signal(max=max(2, config.attention_slots))
        memory = Memory(len(inverse), max(2, count))
        write = memory.get_port(write_capable=True)
        read = memory.get_port(async_read=True)
        self.specials += memory, write, read
        self.comb += [
            write.adr.eq(answered),
            write.dat_w.eq(Cat(reciprocal.mantissa, reciprocal.exponent)),
            write.we.eq(reciprocal.valid_out),
            read.adr.eq(self.member),
            Cat(slot, self.total_step).eq(_slot_and_step(config, asked)),
        ]
        self.sync += [
            inverse.eq(read.dat_r),
            reciprocal.valid_in.eq(asking),
            reciprocal.value.eq(Array(self.totals)[slot]),
            If(asking, asked.eq(asked + 1), If(asked == self.last, asking.eq(0))),
            If(
                reciprocal.valid_out,
                answered.eq(answered + 1),
                If(answered == self.last, inverted.eq(1)),
            ),
            If(
                self.invert,
                asking.eq(1),
                asked.eq(self.first),
                answered.eq(self.first),
                inverted.eq(0),
            ),
        ]
        return inverted, inverse

    def _walk(self, config: EngineConfig, inverted: Signal) -> None:
        """Members, elements of a member; ``address`` and ``lane`` are those of the element."""
        lanes, slots = config.kv_lanes, config.attention_slots
        word_bits, step_bits = address_bits(config)
        word, step, element = Signal(word_bits), Signal(step_bits), Signal.like(self.head_dim)
        head = Signal(max=max(2, config.max_group))
        folded, begin = Signal(), Signal()
        last_element, last_member = Signal(), Signal()
        self.emitting, self.row_end = Signal(), Signal()
        # Of slow rows, an element stays for ``ROW_CYCLES``; it is handed out when it is there.
        self._cycle = cycle = Signal(max=ROW_CYCLES)
        self._step = Signal()
        go_on = (cycle == ROW_CYCLES - 1) if config.slow_rows else 1
        self.comb += self._step.eq(self.emitting & go_on)
        self.row, self.slot = Signal.like(self.first_row), Signal(max=max(2, slots))
        self.comb += [
            begin.eq(inverted & folded),
            last_element.eq(element == self.head_dim - 1),
            last_member.eq(self.member == self.last),
            self.row_end.eq(last_element & (head == self.group - 1)),
            Cat(self.slot, step).eq(_slot_and_step(config, self.member)),
            self.address.eq(Cat(word, step)),
        ]
        self.ends = last_element & last_member & self.last_head & self.last_turn
        self.sync += [
            If(self.folded, folded.eq(1)),
            If(self.summed, self.busy.eq(1)),
            If(
                begin,
                folded.eq(0),
                self.emitting.eq(1),
                self.member.eq(self.first),
                self.row.eq(self.first_row),
                head.eq(0),
            ),
            If(self.emitting, cycle.eq(cycle + 1)),
            If(
                self._step,
                element.eq(element + 1),
                self.lane.eq(self.lane + 1),
                If(self.lane == lanes - 1, self.lane.eq(0), word.eq(word + 1)),
                If(
                    last_element,
                    element.eq(0),
                    self.lane.eq(0),
                    word.eq(0),
                    self.member.eq(self.member + 1),
                    head.eq(head + 1),
                    If(last_member, self.emitting.eq(0), self.busy.eq(0)),
                ),
                If(self.row_end, head.eq(0), self.row.eq(self.row + 1)),
            ),
        ]

    def _hand_out(self, config: EngineConfig, inverse: Signal) -> None:
        """Brings an element's sum, reciprocal and row together."""
        wait = 1 + ValueSums.READ_LATENCY
        mantissa, exponent = Signal(MANTISSA.bits), Signal(max=SUM_BITS)
        slow, emitting = config.slow_rows, self.emitting
        if slow:
            # The sum is there a cycle before its element leaves, and the reciprocal sooner.
            emitting = self.emitting & (self._cycle == wait + 1)
        self.comb += Cat(mantissa, exponent).eq(held(self, inverse, wait - 1, slow))
        element = [
            self.source.valid.eq(held(self, emitting, wait, slow)),
            self.source.row.eq(held(self, self.row, wait, slow)),
            self.source.last.eq(held(self, emitting & self.row_end & self.last_head, wait, slow)),
            self.left_all.eq(
                self._step & self.ends if slow else delayed(self, emitting & self.ends, wait)
            ),
            self.source.mantissa.eq(mantissa),
            self.source.shift.eq(exponent - self.value_shift - 1),
            self.source.accumulator.eq(Array(self.results)[held(self, self.slot, wait, slow)]),
        ]
        if slow:
            self.comb += element
        else:
            self.sync += element


def _slot_and_step(config: EngineConfig, member: Signal) -> Any:
    """Expression: the slot that serves a member, and behind it the step in which it does."""
    slots = config.attention_slots
    bits = (max(2, slots) - 1).bit_length()
    members = range(config.max_group * config.tokens)
    return Array([m % slots | m // slots << bits for m in members])[member]

"""Grouped-query attention over the KV cache of a layer."""

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import FSM, Array, Cat, If, Mux, NextState, NextValue, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import (
    MANTISSA,
    POSITION_BITS,
    SUM_BITS,
    VALUE_ACCUMULATOR,
)
from jalgateware.contract.isa import FIELDS
from jalgateware.units.attention_lanes import ScoreSum, SlotLanes, ValueSums, slot_steps
from jalgateware.units.attention_memory import HeadRows
from jalgateware.units.delay_line import DelayLine
from jalgateware.units.pipeline import delayed
from jalgateware.units.reciprocal import Reciprocal
from jalgateware.units.softmax import Softmax

PRODUCTS = Softmax.LATENCY + SlotLanes.LATENCY
"""Cycles from a step's issue to its products."""


class Attention(LiteXModule):
    """Softmax attention of all query heads of a position, key/value head by key/value head.

    ``out = sum(2**(score - max) * value) / sum(2**(score - max))``, the division left to the output
    scaler.

    Two passes per key/value head: over its keys, for the scores of its query heads, and over its
    values. Earlier positions come from DRAM, the current one from local buffers, so nothing is read
    that was just written. A word serves ``attention_slots`` query heads per cycle and stays until
    the group is done. While the results of a head leave, the next head's keys come in.

    Interface: ``query_write``, ``key_write``, ``value_write`` {valid, index, data}: rows of the
    current position, in order, before ``start`` (pulse) with ``position`` (earlier positions),
    ``score_shift``, ``value_shift``; ``kv_heads``, ``group``, ``head_dim``, ``head_words``:
    constant for a model; ``sink`` {data}: per key/value head ``position`` x ``head_words`` words of
    keys, then of values -> ``source`` {accumulator, mantissa, shift}: elements of all query heads
    in order, valid-only, ``last`` with the last one of all. ``busy``; ``stall``: ``sink`` is
    awaited. Latency: a pass drains ``self.key_drain`` cycles. Throughput: one word per ceil(group /
    attention_slots) cycles. Overflow: scores saturate (``saturated`` counts per cycle). Golden
    model: :func:`jalgateware.golden.attention.attend_head`.
    """

    def __init__(self, config: EngineConfig) -> None:
        head_words = -(-config.max_head_dim // config.kv_lanes)
        self.start = Signal()
        self.busy = Signal()
        self.kv_heads = Signal(max=config.max_kv_heads + 1)
        self.group = Signal(max=config.max_group + 1)
        self.head_dim = Signal(max=config.max_head_dim + 1)
        self.head_words = Signal(max=head_words + 1)
        self.position = Signal(POSITION_BITS)
        self.score_shift = Signal(FIELDS["out_shift"][1])
        self.value_shift = Signal(FIELDS["fraction"][1])
        self.sink = stream.Endpoint([("data", config.word_bits)])
        self.source = stream.Endpoint(
            [
                ("accumulator", (VALUE_ACCUMULATOR.bits, True)),
                ("mantissa", MANTISSA.bits),
                ("shift", (7, True)),
            ]
        )
        self.saturated = Signal(max=config.attention_slots + 1)
        self.stall = Signal()

        # # #

        steps = slot_steps(config)
        self.queries = HeadRows(
            config,
            config.max_kv_heads * steps * head_words,
            config.attention_slots,
        )
        self.keys = HeadRows(config, config.max_kv_heads * head_words)
        self.values = HeadRows(config, config.max_kv_heads * head_words)
        self.query_write, self.key_write, self.value_write = self.queries, self.keys, self.values
        self.comb += [
            self.queries.head_dim.eq(self.head_dim),
            self.queries.group.eq(self.group),
            self.keys.head_dim.eq(self.head_dim),
            self.keys.group.eq(1),
            self.values.head_dim.eq(self.head_dim),
            self.values.group.eq(1),
        ]
        self._control(config, steps)
        self._issue(config, steps, head_words)
        self._operands(config)
        self._sums(config, steps, head_words)
        self._leave(config, steps, head_words)

    def _control(self, config: EngineConfig, steps: int) -> None:
        """Which pass is on: keys, drain, values, head by head."""
        self.is_value, self.running = Signal(), Signal()
        self.pass_start, self.issued_all = Signal(), Signal()
        self.heads_left = Signal.like(self.kv_heads)
        self.first_head = Signal()
        self.leaving = Signal()
        self.left_all = Signal()
        self.key_drain = PRODUCTS + ScoreSum.latency_of(config.kv_lanes)
        drain = Signal(max=self.key_drain + 1)
        self.fsm = fsm = FSM(reset_state="IDLE")
        self.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        fsm.act(
            "IDLE",
            NextValue(self.is_value, 0),
            NextValue(self.heads_left, self.kv_heads),
            NextValue(self.first_head, 1),
            If(self.start, NextState("BEGIN")),
        )
        fsm.act("BEGIN", self.pass_start.eq(1), NextState("KEYS"))
        fsm.act(
            "KEYS",
            self.running.eq(1),
            NextValue(drain, self.key_drain),
            If(self.issued_all, NextState("DRAIN")),
        )
        fsm.act(
            "DRAIN",
            NextValue(drain, drain - 1),
            NextValue(self.is_value, 1),
            If((drain <= 1) & ~self.leaving, self.pass_start.eq(1), NextState("VALUES")),
            If((drain <= 1), NextValue(drain, 1)),
        )
        fsm.act(
            "VALUES",
            self.running.eq(1),
            If(
                self.issued_all,
                NextValue(self.is_value, 0),
                NextValue(self.heads_left, self.heads_left - 1),
                NextValue(self.first_head, 0),
                If(self.heads_left == 1, NextState("LEAVE")).Else(NextState("BEGIN")),
            ),
        )
        fsm.act("LEAVE", If(self.left_all, NextState("IDLE")))

    def _issue(self, config: EngineConfig, steps: int, head_words: int) -> None:
        """Walks positions, words and steps of a pass; words come from DRAM or local buffers."""
        step_bits = max(2, steps)
        self.step, word = Signal(max=step_bits), Signal(max=max(2, head_words))
        place = Signal(POSITION_BITS)
        self.steps = Signal(max=steps + 1)
        slots = config.attention_slots
        self.sync += self.steps.eq(
            Array([-(-g // slots) if g else 1 for g in range(config.max_group + 1)])[self.group]
        )
        local, go = Signal(), Signal()
        last_step, last_word = Signal(), Signal()
        self.comb += [
            local.eq(place == self.position),
            last_step.eq(self.step == self.steps - 1),
            last_word.eq(word == self.head_words - 1),
            go.eq(self.running & (local | self.sink.valid)),
            self.sink.ready.eq(self.running & ~local & last_step),
            self.stall.eq(self.running & ~local & ~self.sink.valid),
            self.issued_all.eq(go & local & last_step & last_word),
        ]
        self.sync += [
            If(
                go,
                self.step.eq(self.step + 1),
                If(
                    last_step,
                    self.step.eq(0),
                    word.eq(word + 1),
                    If(last_word, word.eq(0), place.eq(place + 1)),
                ),
            ),
            If(self.pass_start, self.step.eq(0), word.eq(0), place.eq(0)),
        ]
        # Local buffers and queries: word `word` of the head, of the step.
        # A head's queries start behind the one before.
        query_base, row_base = Signal.like(self.queries.address), Signal.like(self.keys.address)
        query_address, row_address = Signal.like(query_base), Signal.like(row_base)
        step_offset = Signal.like(query_base)
        self.sync += [
            If(go, step_offset.eq(step_offset + self.head_words), If(last_step, step_offset.eq(0))),
            If(self.pass_start, step_offset.eq(0)),
            If(
                self.issued_all & self.is_value,
                row_base.eq(row_base + self.head_words),
                query_base.eq(query_base + step_offset + self.head_words),
            ),
            If(self.start, row_base.eq(0), query_base.eq(0)),
        ]
        self.comb += [
            query_address.eq(query_base + step_offset + word),
            row_address.eq(row_base + word),
        ]
        self.go, self.local, self.word, self.place = go, local, word, place
        self.last_word, self.query_address, self.row_address = last_word, query_address, row_address

    def _operands(self, config: EngineConfig) -> None:
        """Brings word, query and probability together, ``Softmax.LATENCY`` behind the issue."""
        wait = Softmax.LATENCY
        captured = Signal(config.word_bits)
        self.sync += captured.eq(self.sink.data)
        self.line = line = DelayLine(config.word_bits, wait - 1)
        word = Signal(config.word_bits)
        is_value, local = delayed(self, self.is_value, wait), delayed(self, self.local, wait)
        address = delayed(self, self.row_address, wait - 1)
        self.comb += [
            line.input.eq(captured),
            self.keys.address.eq(address),
            self.values.address.eq(address),
            self.queries.address.eq(delayed(self, self.query_address, wait - 1)),
            word.eq(
                Mux(local, Mux(is_value, self.values.words[0], self.keys.words[0]), line.output)
            ),
        ]
        self.softmaxes, self.lanes = [], []
        for slot, query in enumerate(self.queries.words):
            softmax, lanes = Softmax(config), SlotLanes(config.kv_lanes)
            self.add_module(f"softmax{slot}", softmax)
            self.add_module(f"lanes{slot}", lanes)
            self.comb += [
                softmax.step.eq(self.step),
                softmax.position.eq(self.place),
                lanes.query.eq(query),
                lanes.probability.eq(softmax.probability),
                lanes.use_probability.eq(is_value),
                lanes.word.eq(word),
            ]
            self.softmaxes.append(softmax)
            self.lanes.append(lanes)

    def _sums(self, config: EngineConfig, steps: int, head_words: int) -> None:
        """Scores from the key pass, value and probability sums from the value pass."""
        early = Softmax.LATENCY
        flags = Cat(self.go & ~self.is_value, self.go & self.is_value, self.word == 0,
                    self.last_word, self.place == 0)  # fmt: skip
        flags6 = delayed(self, flags, early)
        step6 = delayed(self, self.step, early)
        word6, place6 = delayed(self, self.word, early), delayed(self, self.place, early)
        flags8 = delayed(self, flags6, SlotLanes.LATENCY)
        step8, word8 = (delayed(self, s, SlotLanes.LATENCY) for s in (step6, word6))
        place8 = delayed(self, place6, SlotLanes.LATENCY)
        self.value_sums, saturated = [], []
        # The last step may leave slots without a query head; what they hold is of an older run.
        slots = config.attention_slots
        in_last = Signal(max=slots + 1)
        groups = range(config.max_group + 1)
        self.sync += in_last.eq(
            Array([(g - 1) % slots + 1 if g else 0 for g in groups])[self.group]
        )
        stride = 1 << (max(2, head_words) - 1).bit_length()
        for slot, (softmax, lanes) in enumerate(zip(self.softmaxes, self.lanes, strict=True)):
            score = ScoreSum(lanes.products, steps)
            values = ValueSums(lanes.products, steps * stride)
            self.add_module(f"score{slot}", score)
            self.add_module(f"values{slot}", values)
            self.comb += [
                score.step.eq(step8),
                score.valid.eq(flags8[0]),
                score.first.eq(flags8[2]),
                score.last.eq(flags8[3]),
                score.shift.eq(self.score_shift),
                softmax.score.eq(score.score),
                softmax.score_valid.eq(score.score_valid),
                softmax.score_step.eq(delayed(self, step8, score.latency)),
                softmax.score_position.eq(delayed(self, place8, score.latency)),
                softmax.sum_step.eq(step6),
                softmax.sum_first.eq(flags6[4]),
                softmax.sum_valid.eq(flags6[1] & flags6[2]),
                values.address.eq(Cat(word8[: (stride - 1).bit_length()], step8)),
                values.first.eq(flags8[4]),
                values.valid.eq(flags8[1]),
            ]
            self.value_sums.append(values)
            used = (softmax.score_step != self.steps - 1) | (slot < in_last)
            saturated.append(score.saturated & used)
        self.comb += self.saturated.eq(sum(saturated))
        self.values_done = delayed(self, self.issued_all & self.is_value, PRODUCTS + 1)

    def _leave(self, config: EngineConfig, steps: int, head_words: int) -> None:
        """After a value pass: reciprocals of the sums, then the heads' elements one by one."""
        slots, lanes = config.attention_slots, config.kv_lanes
        stride_bits = (max(2, head_words) - 1).bit_length()
        self.reciprocal = reciprocal = Reciprocal()
        asked, answered = Signal(max=config.max_group + 1), Signal(max=config.max_group + 1)
        asking = Signal()
        mantissas = Array([Signal(MANTISSA.bits) for _ in range(config.max_group)])
        exponents = Array([Signal(max=SUM_BITS) for _ in range(config.max_group)])
        sums = Array([self.softmaxes[g % slots].sums[g // slots] for g in range(config.max_group)])
        final = Signal()
        self.sync += [
            If(self.issued_all & self.is_value, self.leaving.eq(1), final.eq(self.heads_left == 1)),
            If(self.values_done, asking.eq(1), asked.eq(0), answered.eq(0)),
            reciprocal.valid_in.eq(asking),
            reciprocal.value.eq(sums[asked]),
            If(asking, asked.eq(asked + 1), If(asked == self.group - 1, asking.eq(0))),
            If(
                reciprocal.valid_out,
                mantissas[answered].eq(reciprocal.mantissa),
                exponents[answered].eq(reciprocal.exponent),
                answered.eq(answered + 1),
            ),
        ]
        # An element is read at t and leaves at t + 1.
        member, element = Signal(max=max(2, config.max_group)), Signal.like(self.head_dim)
        lane, word = Signal(max=max(2, lanes)), Signal(max=max(2, head_words))
        emitting, last_element, last_member = Signal(), Signal(), Signal()
        slot, step = Signal(max=max(2, slots)), Signal(max=max(2, steps))
        self.comb += [
            last_element.eq(element == self.head_dim - 1),
            last_member.eq(member == self.group - 1),
            slot.eq(Array([g % slots for g in range(config.max_group)])[member]),
            step.eq(Array([g // slots for g in range(config.max_group)])[member]),
        ]
        for values in self.value_sums:
            self.comb += [
                values.read_address.eq(Cat(word[:stride_bits], step)),
                values.read_lane.eq(lane),
            ]
        self.sync += [
            If(
                emitting,
                element.eq(element + 1),
                lane.eq(lane + 1),
                If(lane == lanes - 1, lane.eq(0), word.eq(word + 1)),
                If(
                    last_element,
                    element.eq(0),
                    lane.eq(0),
                    word.eq(0),
                    member.eq(member + 1),
                    If(last_member, member.eq(0), emitting.eq(0), self.leaving.eq(0)),
                ),
            ),
            If(reciprocal.valid_out & (answered == self.group - 1), emitting.eq(1)),
            self.source.valid.eq(emitting),
            self.source.last.eq(emitting & last_element & last_member & final),
            self.source.mantissa.eq(mantissas[member]),
            self.source.shift.eq(exponents[member] - self.value_shift - 1),
        ]
        results = Array([values.result for values in self.value_sums])
        self.comb += [
            self.source.accumulator.eq(results[delayed(self, slot, 1)]),
            self.left_all.eq(self.source.valid & self.source.last),
        ]

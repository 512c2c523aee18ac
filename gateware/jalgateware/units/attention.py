"""Grouped-query attention over the KV cache of a layer."""

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import FSM, Array, Cat, If, Mux, NextState, NextValue, Signal, log2_int

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import POSITION_BITS
from jalgateware.contract.isa import FIELDS
from jalgateware.units.attention_lanes import ScoreSum, SlotLanes, slot_steps
from jalgateware.units.attention_leave import Leave, result_layout
from jalgateware.units.attention_members import Members
from jalgateware.units.attention_memory import PassRows
from jalgateware.units.delay_line import DelayLine
from jalgateware.units.pipeline import delayed
from jalgateware.units.row_packer import RowPacker
from jalgateware.units.softmax import Softmax
from jalgateware.units.value_sums import PLACES, Fold, ValueSums, address_bits

PRODUCTS = Softmax.LATENCY + SlotLanes.LATENCY
"""Cycles from a step's issue to its products."""


class Attention(LiteXModule):
    """Softmax attention of all query heads of a pass, key/value head by key/value head.

    ``out = sum(2**(score - max) * value) / sum(2**(score - max))``, the division left to the output
    scaler.

    Two passes per key/value head: over its keys, for the scores of its query heads, and over its
    values. Earlier positions come from DRAM, those of the pass from local memories, so nothing is
    read that was just written. A word serves ``attention_slots`` query heads per cycle and stays
    until all that want it are done. While the results of a head leave, the next head's keys come
    in.

    Token rows that are consecutive positions of one sequence (``shared``) go through the cache
    together, and of the pass' own positions each sees those up to itself. Token rows of different
    sequences take turns.

    Interface: ``packer``: words of the rows of the pass, before ``start`` (pulse) with
    ``positions`` (earlier positions of each token row), ``last_row``, ``shared``, ``score_shift``,
    ``value_shift``; ``kv_heads``, ``group``, ``head_words``, ``head_dim``: constant for a model;
    ``sink`` {data}: per turn and key/value head ``position`` x ``head_words`` words of keys, then
    of values -> ``source`` {accumulator, mantissa, shift, row}: elements of all query heads in
    order, valid-only, the token rows of a key/value head one behind the other, ``last`` with the
    last one of a token row. ``busy``; ``stall``: ``sink`` is awaited. Latency: a pass drains
    ``self.key_drain`` cycles. Throughput: one word per ceil(query heads / attention_slots) cycles.
    Overflow: scores saturate (``saturated`` counts per cycle). Golden model:
    :func:`jalgateware.golden.attention.attend_head`.
    """

    def __init__(self, config: EngineConfig, packer: RowPacker) -> None:
        head_words = -(-config.max_head_dim // config.kv_lanes)
        self.start = Signal()
        self.busy = Signal()
        self.kv_heads = Signal(max=config.max_kv_heads + 1)
        self.group = packer.group
        self.head_dim = packer.head_dim
        self.head_words = Signal(max=head_words + 1)
        self.positions = [Signal(POSITION_BITS) for _ in range(config.tokens)]
        self.last_row = Signal(max=max(2, config.tokens))
        self.shared = Signal()
        self.score_shift = Signal(FIELDS["out_shift"][1])
        self.value_shift = Signal(FIELDS["fraction"][1])
        self.sink = stream.Endpoint([("data", config.word_bits)])
        self.source = stream.Endpoint(result_layout(len(self.last_row)))
        self.saturated = Signal(max=config.attention_slots + 1)
        self.stall = Signal()

        # # #

        steps = slot_steps(config)
        self.rows = PassRows(config, packer)
        self.members = members = Members(config, self.group)
        self.fold, self.leave = Fold(config), Leave(config, len(self.last_row))
        self._control(config)
        self.comb += [members.turn.eq(self.turn), members.last_row.eq(self.last_row)]
        self.comb += members.shared.eq(self.shared)
        self._issue(config, head_words)
        self._operands(config)
        self._sums(config, steps, head_words)
        self._leave()

    def _control(self, config: EngineConfig) -> None:
        """Which pass is on: keys, drain, values, head by head, sequence by sequence."""
        self.is_value, self.running = Signal(), Signal()
        self.pass_start, self.issued_all = Signal(), Signal()
        self.head, last_head, last_turn = Signal.like(self.rows.head), Signal(), Signal()
        self.turn = Signal.like(self.last_row)
        self.last_head, self.last_turn = last_head, last_turn
        self.key_drain = PRODUCTS + ScoreSum.latency_of(config.kv_lanes)
        drain = Signal(max=self.key_drain + 1)
        # Registered, as the end of a pass hangs on its last word, and that on DRAM.
        ended = Signal()
        self.sync += ended.eq(self.issued_all)
        self.fsm = fsm = FSM(reset_state="IDLE")
        self.comb += [
            self.busy.eq(~fsm.ongoing("IDLE")),
            last_head.eq(self.head == self.kv_heads - 1),
            last_turn.eq(self.shared | (self.turn == self.last_row)),
        ]
        fsm.act(
            "IDLE",
            NextValue(self.is_value, 0),
            NextValue(self.head, 0),
            NextValue(self.turn, 0),
            If(self.start, NextState("TURN")),
        )
        # What belongs to the turn is there one cycle later.
        fsm.act("TURN", NextState("BEGIN"))
        fsm.act("BEGIN", self.pass_start.eq(1), NextState("KEYS"))
        fsm.act(
            "KEYS",
            self.running.eq(~ended),
            NextValue(drain, self.key_drain - 1),
            If(ended, NextState("DRAIN")),
        )
        fsm.act(
            "DRAIN",
            NextValue(drain, drain - 1),
            NextValue(self.is_value, 1),
            If((drain <= 1) & ~self.leave.busy, self.pass_start.eq(1), NextState("VALUES")),
            If((drain <= 1), NextValue(drain, 1)),
        )
        fsm.act(
            "VALUES",
            self.running.eq(~ended),
            If(
                ended,
                NextValue(self.is_value, 0),
                NextValue(self.head, self.head + 1),
                NextState("TURN"),
                If(
                    last_head,
                    NextValue(self.head, 0),
                    NextValue(self.turn, self.turn + 1),
                    If(last_turn, NextState("LEAVE")),
                ),
            ),
        )
        fsm.act("LEAVE", If(self.leave.left_all, NextState("IDLE")))

    def _issue(self, config: EngineConfig, head_words: int) -> None:
        """Walks positions, words and steps of a pass; words come from DRAM or local memories."""
        self.step, word = Signal.like(self.rows.step), Signal(max=max(2, head_words))
        place, position = Signal(POSITION_BITS), Signal(POSITION_BITS)
        next_place, word_end = Signal(POSITION_BITS), Signal.like(word)
        local, go, final = Signal(), Signal(), Signal()
        last_step, last_word = Signal(), Signal()
        # The pass' own position that is on, counted from the first one of the turn.
        own = Signal.like(self.turn)
        members = self.members
        self.comb += [
            last_word.eq(word == word_end),
            final.eq(local & (~self.shared | (own == self.last_row))),
            go.eq(self.running & (local | self.sink.valid)),
            self.sink.ready.eq(self.running & ~local & last_step),
            self.stall.eq(self.running & ~local & ~self.sink.valid),
            self.issued_all.eq(go & final & last_step & last_word),
            members.cached.eq(~local),
            members.own.eq(own),
            members.step.eq(self.step),
        ]
        # ``local`` is registered ahead: whether the next position is one of the pass'.
        self.sync += [
            position.eq(Array(self.positions)[self.turn]),
            word_end.eq(self.head_words - 1),
            If(
                go,
                self.step.eq(self.step + 1),
                last_step.eq(self.step + 1 == members.last_step),
                If(
                    last_step,
                    self.step.eq(members.first_step),
                    last_step.eq(members.first_step == members.last_step),
                    word.eq(word + 1),
                    If(
                        last_word,
                        word.eq(0),
                        place.eq(next_place),
                        next_place.eq(next_place + 1),
                        local.eq(local | (next_place == position)),
                        own.eq(own + local),
                    ),
                ),
            ),
            If(
                self.pass_start,
                self.step.eq(members.first_step),
                last_step.eq(members.first_step == members.last_step),
                word.eq(0),
                place.eq(0),
                next_place.eq(1),
                local.eq(position == 0),
                own.eq(0),
            ),
        ]
        self.go, self.local, self.word, self.place = go, local, word, place
        self.last_word, self.own = last_word, Signal.like(own)
        self.comb += self.own.eq(Mux(self.shared, own, self.turn))

    def _operands(self, config: EngineConfig) -> None:
        """Brings word, query and probability together, ``Softmax.LATENCY`` behind the issue."""
        wait = Softmax.LATENCY
        captured = Signal(config.word_bits)
        self.sync += captured.eq(self.sink.data)
        self.line = line = DelayLine(config.word_bits, wait - 2)
        # Chosen a cycle ahead: it comes from far apart, and goes to the multipliers of all slots.
        word = Signal(config.word_bits, reset_less=True)
        is_value, local = (delayed(self, flag, wait - 1) for flag in (self.is_value, self.local))
        use_probability = delayed(self, is_value, 1)
        rows = self.rows
        self.comb += [
            line.input.eq(captured),
            Cat(rows.chunk, rows.head, rows.row, rows.step).eq(
                delayed(
                    self, Cat(self.word, self.head, self.own, self.step), wait - PassRows.LATENCY
                )
            ),
        ]
        self.sync += word.eq(Mux(local, Mux(is_value, rows.value, rows.key), line.output))
        self.softmaxes, self.lanes = [], []
        for slot, query in enumerate(rows.queries):
            softmax, lanes = Softmax(config), SlotLanes(config.kv_lanes)
            self.add_module(f"softmax{slot}", softmax)
            self.add_module(f"lanes{slot}", lanes)
            self.comb += [
                softmax.step.eq(self.step),
                softmax.position.eq(self.place),
                softmax.visible.eq(self.members.visible[slot]),
                lanes.query.eq(query),
                lanes.probability.eq(softmax.probability),
                lanes.use_probability.eq(use_probability),
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
        step8 = delayed(self, step6, SlotLanes.LATENCY)
        place8 = delayed(self, place6, SlotLanes.LATENCY)
        self.value_sums, saturated = [], []
        visible = delayed(self, self.members.visible, PRODUCTS - 1)
        for slot, (softmax, lanes) in enumerate(zip(self.softmaxes, self.lanes, strict=True)):
            score = ScoreSum(lanes.products, steps)
            values = ValueSums(config, lanes.products)
            self.add_module(f"score{slot}", score)
            self.add_module(f"values{slot}", values)
            self.comb += [
                score.step.eq(step8),
                score.valid.eq(flags8[0] & visible[slot]),
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
            ]
            self.value_sums.append(values)
            saturated.append(score.saturated)
        self.comb += self.saturated.eq(sum(saturated))
        self._value_sums(config, flags6[1], word6, step6, place6)

    def _value_sums(
        self, config: EngineConfig, valid: Signal, word: Signal, step: Signal, place: Signal
    ) -> None:
        """What the slots' value sums do, a cycle behind: take products, fold parts, or leave."""
        assert SlotLanes.LATENCY - ValueSums.AHEAD == 1
        fold, leave = self.fold, self.leave
        word_bits, _ = address_bits(config)
        address = Signal.like(self.value_sums[0].address)
        first, write, folds, chain = (Signal() for _ in range(4))
        lane = delayed(self, leave.lane, 1)
        self.sync += [
            address.eq(leave.address),
            If(fold.active, address.eq(fold.address)),
            If(valid, address.eq(Cat(word[:word_bits], step, place[: log2_int(PLACES)]))),
            first.eq(valid & (place < PLACES)),
            write.eq(valid | (fold.active & fold.final_part)),
            folds.eq(fold.active),
            chain.eq(~fold.first_part),
        ]
        for values in self.value_sums:
            self.comb += [
                values.address.eq(address),
                values.first.eq(first),
                values.write.eq(write),
                values.fold.eq(folds),
                values.chain.eq(chain),
                values.lane.eq(lane),
            ]

    def _leave(self) -> None:
        """Behind a value pass: what to fold, and who leaves."""
        fold, leave, members = self.fold, self.leave, self.members
        # A cycle behind, as it hangs on the word from DRAM; ``members`` are still the turn's.
        summed = Signal()
        self.sync += summed.eq(self.issued_all & self.is_value)
        last_part = Signal.like(fold.last_part)
        self.sync += last_part.eq(Mux(self.place < PLACES, self.place, PLACES - 1))
        self.sync += If(
            summed,
            fold.first_step.eq(members.first_step),
            fold.last_step.eq(members.last_step),
            fold.last_part.eq(last_part),
            leave.first.eq(members.first),
            leave.last.eq(members.last),
            leave.first_row.eq(self.turn),
            leave.last_head.eq(self.last_head),
            leave.last_turn.eq(self.last_turn),
        )
        self.comb += [
            # The first part is read in the cycle behind that in which the last sum is written.
            fold.start.eq(delayed(self, summed, PRODUCTS - 1)),
            fold.last_word.eq(self.head_words - 1),
            leave.summed.eq(summed),
            leave.invert.eq(delayed(self, summed, Softmax.LATENCY - 1)),
            # A sum is in the memory some cycles behind its last part.
            leave.folded.eq(delayed(self, fold.done, ValueSums.AHEAD)),
            leave.head_dim.eq(self.head_dim),
            leave.group.eq(self.group),
            leave.value_shift.eq(self.value_shift),
            leave.source.connect(self.source),
            *[
                result.eq(sums.result)
                for result, sums in zip(leave.results, self.value_sums, strict=True)
            ],
            *[
                total.eq(unit.total)
                for total, unit in zip(leave.totals, self.softmaxes, strict=True)
            ],
            *[unit.total_step.eq(leave.total_step) for unit in self.softmaxes],
        ]

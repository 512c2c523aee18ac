"""Runs passes: prompt tokens as they come, then the engine's own samples."""

from typing import Any

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import FSM, Array, If, Mux, NextState, NextValue, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import POSITION_BITS, TOKEN_BITS
from jalgateware.units.drafter import Drafter
from jalgateware.units.engine_registers import COUNTER_BITS

PROMPT_DEPTH = 64
OUTPUT_DEPTH = 64
STOP_TOKENS = 4
STREAM_BITS = 3


class TokenLoop(LiteXModule):
    """Passes of up to ``tokens`` token rows, until every stream has ended.

    A stream is a sequence with its own KV cache. It ends when it has drawn enough samples or a stop
    token, or when its context is full. A pass takes either

    - consecutive prompt tokens of one stream, up to its last one, behind which a sample is drawn,
    - one token of each stream, once all have a sample of their own to go on from, or
    - where there is one stream and drafts are wanted, its last sample and drafted tokens behind it.
      All rows are sampled, and a draft counts if it is what the row before has sampled. What the
      rows behind a wrong draft have computed is forgotten: the next pass writes over their
      positions.

    Interface: ``start`` (pulse) with ``first_position``, ``generate_count`` (at least 1; of each
    stream), ``context``, ``streams``, ``most_drafts``, ``stop_tokens`` (bit 31 enables one);
    ``prompt`` {token, stream, final}; ``pass_start`` (pulse) with ``last_row``, ``shared``,
    ``sample`` and ``tokens``, ``positions``, ``sequences`` of each token row; ``pass_ready``
    before, ``pass_done`` and ``sampled_tokens`` after; ``output`` {token, stream, cycles}: samples
    with the cycle in which they were drawn; ``cycles``: since the start.
    Latency: 9 cycles from ``pass_done`` to the next ``pass_start``, and 5 for each row more;
    drafting takes the drafter's time. Throughput: one pass at a time. Overflow: none; a full output
    FIFO holds the next pass back.
    """

    def __init__(self, config: EngineConfig) -> None:
        rows = config.tokens
        self.start = Signal()
        self.first_position = Signal(POSITION_BITS)
        self.generate_count = Signal(32)
        self.context = Signal(POSITION_BITS + 1)
        self.streams = Signal(STREAM_BITS)
        self.most_drafts = Signal(2)
        self.stop_tokens = [Signal(32) for _ in range(STOP_TOKENS)]
        self.prompt = stream.Endpoint(
            [("token", TOKEN_BITS), ("stream", STREAM_BITS), ("final", 1)]
        )
        self.output = stream.Endpoint(
            [("token", TOKEN_BITS), ("stream", STREAM_BITS), ("cycles", COUNTER_BITS)]
        )
        self.pass_start = Signal()
        self.pass_ready = Signal()
        self.pass_done = Signal()
        self.last_row = Signal(max=max(2, rows))
        self.shared = Signal()
        self.sample = Signal()
        self.tokens = [Signal(TOKEN_BITS) for _ in range(rows)]
        # They stay where a run is cut off: keys and values on their way to the cache need them.
        self.positions = [Signal(POSITION_BITS, reset_less=True) for _ in range(rows)]
        self.sequences = [Signal(max=max(2, rows), reset_less=True) for _ in range(rows)]
        self.sampled_tokens = [Signal(TOKEN_BITS) for _ in range(rows)]
        self.running = Signal()
        self.waits = Signal()
        self.cycles = Signal(COUNTER_BITS)

        # # #

        self._state(rows)
        self.drafter = Drafter(rows - 1) if rows > 1 else None
        self._learnt, self._learn_valid, self._learn_token = (
            *(Signal(reset=1), Signal()),
            Signal(TOKEN_BITS, reset_less=True),
        )
        if self.drafter:
            # Registered, as tokens come no sooner than every third cycle.
            learn = self.drafter.learn
            self.comb += learn.valid.eq(self._learn_valid), learn.token.eq(self._learn_token)
            self.sync += [
                self._learnt.eq(learn.ready | ~self._speculates),
                If(learn.ready, self._learn_valid.eq(0)),
            ]
        # It stays ready until a sample comes.
        self.buffer = stream.PipeValid(self.output.description)
        self.comb += self.buffer.source.connect(self.output)
        self.fsm = FSM(reset_state="IDLE")
        self._compare(rows)
        self._make_rows(rows)
        self._begin(rows)
        self._gather(rows)
        self._collect(rows)
        self._run()
        self._emit()

    def _state(self, rows: int) -> None:
        """What is kept of streams, and of the row that is on."""
        # Of each stream: what it has, and whether it has not ended.
        self._position = Array([Signal(POSITION_BITS + 1) for _ in range(rows)])
        self._pending = Array([Signal(TOKEN_BITS) for _ in range(rows)])
        self._generated = Array([Signal(32) for _ in range(rows)])
        self._alive, self._waiting = Signal(rows), Signal(rows)
        # The row that is being made or emitted, and its stream.
        self._row, self._stream = Signal(max=max(2, rows)), Signal(max=max(2, rows))
        self._prompting, self._some, self._gathers = Signal(), Signal(), Signal()
        self._single, self._speculates = Signal(), Signal()
        self.sync += self._single.eq(self.streams <= 1)
        if rows > 1:
            self.sync += self._speculates.eq((self.streams <= 1) & (self.most_drafts != 0))
        self._drawn = Signal(COUNTER_BITS)

    def _compare(self, rows: int) -> None:
        """Long comparisons, registered: they hold from two cycles behind what they compare."""
        self._full = Array([Signal() for _ in range(rows)])
        self._counted = Array([Signal() for _ in range(rows)])
        self.sync += [
            *[
                full.eq(position >= self.context)
                for full, position in zip(self._full, self._position, strict=True)
            ],
            *[
                counted.eq(generated + 1 >= self.generate_count)
                for counted, generated in zip(self._counted, self._generated, strict=True)
            ],
        ]

        # Of the stream that is on, a cycle behind.
        self._is_full, self._is_able = Signal(), Signal()
        self._place, self._last_token = Signal(POSITION_BITS + 1), Signal(TOKEN_BITS)
        self.sync += [
            self._is_full.eq(self._full[self._stream]),
            self._is_able.eq(Array(list(self._alive))[self._stream] & ~self._full[self._stream]),
            self._place.eq(self._position[self._stream]),
            self._last_token.eq(self._pending[self._stream]),
        ]

    def _begin(self, rows: int) -> None:
        """Start of a run, and what comes next in it."""
        self.comb += self.running.eq(~self.fsm.ongoing("IDLE"))
        self.sync += [
            If(self.running, self.cycles.eq(self.cycles + 1)),
            If(self.start & ~self.running, self.cycles.eq(0)),
        ]
        alive, waiting = self._alive, self._waiting
        self.fsm.act(
            "IDLE",
            If(
                self.start,
                *[NextValue(alive[s], (self.streams > s) | (s == 0)) for s in range(rows)],
                NextValue(waiting, (1 << rows) - 1),
                NextState("NEXT"),
            ),
        )
        self.fsm.act(
            "NEXT",
            NextValue(self._stream, 0),
            NextValue(self._some, 0),
            NextValue(self._prompting, 0),
            If(alive == 0, NextState("IDLE"))
            .Elif((alive & waiting) == 0, NextState("PICK"))
            .Elif(
                self.prompt.valid,
                NextValue(self._stream, self.prompt.stream),
                NextValue(self._prompting, 1),
                NextState("LOCATE"),
            )
            .Else(self.waits.eq(1)),
        )

    def _put(self, token: Any) -> list[Any]:
        """Makes a row of the pass; it is there a cycle later than the state behind."""
        return [self._making.eq(1), self._made_token.eq(token)]

    def _make_rows(self, rows: int) -> None:
        """Writes what :meth:`_put` makes: many bits, so a cycle behind the state that says so."""
        self._making, self._made_token = Signal(), Signal(TOKEN_BITS)
        token, position = Signal(TOKEN_BITS), Signal(POSITION_BITS)
        sequence, made, complete = Signal.like(self._stream), Signal(rows), Signal()
        self.comb += self._made_token.eq(self.prompt.token)
        self.sync += [
            complete.eq(self._making),
            If(complete, self.last_row.eq(self._row), self._row.eq(self._row + 1)),
            token.eq(self._made_token),
            position.eq(self._place),
            sequence.eq(self._stream),
            *[made[r].eq(self._making & (self._row == r)) for r in range(rows)],
            *[
                If(
                    made[r],
                    self.tokens[r].eq(token),
                    self.positions[r].eq(position),
                    self.sequences[r].eq(sequence),
                )
                for r in range(rows)
            ],
        ]

    def _gather(self, rows: int) -> None:
        """Consecutive prompt tokens of a stream."""
        prompt, accept, offered = self.prompt, Signal(), Signal()
        # Registered: what is offered stays.
        self.sync += offered.eq(prompt.valid & self._learnt)
        # Whether there is room for a token is known two cycles behind the one before.
        self.fsm.act("GATHERED", NextState("LOCATE"))
        self.fsm.act("LOCATE", NextState("GATHER"))
        self.fsm.act(
            "GATHER",
            NextValue(self.shared, 1),
            If(self._is_full, NextValue(self._alive, 0), NextState("NEXT"))
            .Elif(
                offered,
                accept.eq(1),
                prompt.ready.eq(1),
                *self._put(prompt.token),
                self._gathers.eq(1),
                NextValue(self.sample, prompt.final),
                NextState("GATHERED"),
                If(prompt.final | (self._row == rows - 1), NextState("SETTLE")),
            )
            .Else(self.waits.eq(~prompt.valid)),
        )
        self._learn(accept, prompt.token)

    def _collect(self, rows: int) -> None:
        """The last sample of each stream."""
        stream, able = self._stream, self._is_able
        then = [NextState("SETTLE")]
        if self.drafter:
            then.append(If(self._speculates, NextState("LIMIT")))
        end = [If(stream == s, NextValue(self._alive[s], 0)) for s in range(rows)]
        self.fsm.act("PICK", NextState("COLLECT"))
        self.fsm.act(
            "COLLECT",
            NextValue(self.shared, self._single),
            NextValue(self.sample, 1),
            NextValue(stream, stream + 1),
            If(
                able,
                *self._put(self._last_token),
                NextValue(self._some, 1),
            ).Else(*end),
            NextState("PICK"),
            If(
                stream == rows - 1,
                NextState("NEXT"),
                If(self._some | able, *then),
            ),
        )
        if self.drafter:
            self._draft(self.drafter)

    def _draft(self, drafter: Drafter) -> None:
        """Drafted tokens behind the one stream's last sample, as far as they may be wanted."""
        by_context, by_count = Signal(POSITION_BITS + 1), Signal(32)
        wanted, position = Signal.like(drafter.most), self._position[0]
        self.comb += [
            wanted.eq(self.most_drafts),
            If(self.most_drafts > len(drafter.tokens), wanted.eq(len(drafter.tokens))),
        ]
        # Registered: they are as they were behind the last sample.
        fewer = Signal.like(wanted)
        drafted = Signal()
        self.sync += [
            # Registered, as they reach many bits.
            drafter.clear.eq(self.start & ~self.running & self._speculates),
            drafted.eq(self.fsm.ongoing("DRAFTING") & drafter.done),
            If(drafted, self.last_row.eq(drafter.count)),
            *[
                If(
                    drafted & (drafter.count > i),
                    self.tokens[i + 1].eq(token),
                    self.positions[i + 1].eq(position + i + 1),
                    self.sequences[i + 1].eq(0),
                )
                for i, token in enumerate(drafter.tokens)
            ],
            by_context.eq(self.context - position - 1),
            by_count.eq(self.generate_count - self._generated[0] - 1),
            fewer.eq(wanted),
            If(by_context < wanted, fewer.eq(by_context)),
            drafter.most.eq(fewer),
            If(by_count < fewer, drafter.most.eq(by_count)),
        ]
        self.fsm.act("LIMIT", NextState("DRAFT"))
        self.fsm.act("DRAFT", drafter.draft.eq(1), NextState("DRAFTING"))
        self.fsm.act("DRAFTING", If(drafter.done, NextState("SETTLE")))

    def _learn(self, accept: Signal, token: Signal) -> None:
        """Tells the drafter an accepted token, a cycle later."""
        if self.drafter:
            self.sync += If(
                accept, self._learn_valid.eq(self._speculates), self._learn_token.eq(token)
            )

    def _run(self) -> None:
        # What hangs on the rows, in registers of its own, is there with the start.
        self.fsm.act("SETTLE", NextState("READY"))
        self.fsm.act("READY", If(self.pass_ready, NextState("START")))
        self.fsm.act("START", self.pass_start.eq(1), NextState("RUN"))
        self.fsm.act(
            "RUN",
            NextValue(self._drawn, self.cycles),
            If(
                self.pass_done,
                NextState("NEXT"),
                If(self.sample, NextState("LOOK")),
            ),
        )

    def _emit(self) -> None:
        """Hands samples over: the prompt's, each stream's, or as many as the drafts were right.

        A sample takes three cycles: whose it is, what is to be said of it, and out with it.
        """
        self.sync += [
            If(self.fsm.ongoing("NEXT"), self._row.eq(0)),
            If(
                self.fsm.ongoing("RUN"),
                self._row.eq(0),
                If(self._prompting, self._row.eq(self.last_row)),
            ),
        ]
        row, rows, sink = self._row, len(self.tokens), self.buffer.sink
        sampled, wanted = Signal(TOKEN_BITS), Signal(TOKEN_BITS)
        stream = Signal.like(self._stream)
        stops, ends, accept, right = Signal(), Signal(), Signal(), Signal()
        stopping = Signal(STOP_TOKENS)
        self.comb += stops.eq(stopping != 0)
        self.sync += [
            sampled.eq(Array(self.sampled_tokens)[row]),
            wanted.eq(Array([*self.tokens[1:], 0])[row]),
            stream.eq(Array(self.sequences)[row]),
            *[
                stopping[i].eq(entry[31] & (entry[:TOKEN_BITS] == sampled))
                for i, entry in enumerate(self.stop_tokens)
            ],
            # Whether the row behind this one has computed what is wanted.
            right.eq(wanted == sampled),
        ]
        self.comb += [
            ends.eq(stops | self._counted[stream]),
            sink.token.eq(sampled),
            sink.stream.eq(stream),
            sink.cycles.eq(self._drawn),
        ]
        more = (row != self.last_row) & ~self._prompting & (~self.shared | (right & ~ends))
        self.fsm.act("LOOK", NextState("JUDGE"))
        self.fsm.act(
            "JUDGE",
            self.waits.eq(~sink.ready),
            If(sink.ready & self._learnt, NextState("EMIT")),
        )
        self.fsm.act(
            "EMIT",
            accept.eq(1),
            sink.valid.eq(1),
            NextValue(self._pending[stream], sampled),
            *[
                If(
                    stream == s,
                    NextValue(self._waiting[s], 0),
                    If(ends, NextValue(self._alive[s], 0)),
                )
                for s in range(rows)
            ],
            NextState("NEXT"),
            If(more, NextState("LOOK")),
        )
        self.sync += [
            If(accept, row.eq(row + 1)),
            # Each has an adder of its own, as choosing one first takes longer.
            *[
                If(accept & (stream == s), generated.eq(generated + 1))
                for s, generated in enumerate(self._generated)
            ],
            *[
                If(
                    Mux(
                        self._gathers, self._stream == s, accept & ~self._prompting & (stream == s)
                    ),
                    position.eq(position + 1),
                )
                for s, position in enumerate(self._position)
            ],
            If(
                self.fsm.ongoing("IDLE"),
                *[position.eq(self.first_position) for position in self._position],
                *[generated.eq(0) for generated in self._generated],
            ),
        ]
        self._learn(accept, sampled)

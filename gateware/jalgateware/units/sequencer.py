"""Executes the instruction stream: hands each instruction and its words to the unit for it."""

from functools import reduce
from operator import or_

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import FSM, Case, If, NextState, NextValue, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import FIELDS, Destination, Opcode, Source


class Sequencer(LiteXModule):
    """Starts units in program order and routes the fetched words to the one whose turn it is.

    A MATVEC only occupies the sequencer until the lanes take it, so the next one is at hand when
    they finish; what depends on its rows waits in the units (for blocks of activations, for 1/rms).
    EMBED, ROPE, BIASES and GAINS hold it until their words have arrived, ATTEND waits until the
    vector unit is quiet and holds it until all heads have left.

    Interface: ``instructions``: stream of instruction fields; ``sink`` {data}: their words ->
    ``lanes``, ``loader``, ``attention``: the same words, for the one that is ready, which none is
    but between its start and its end; ``matvec`` (pulse-like valid/ready for
    lanes and vector unit together); ``start_embed``, ``start_rope``, ``start_table``,
    ``start_attention`` (pulses);
    ``*_busy``, ``quiet``, ``norm_valid`` from the units; ``invalidate`` with
    ``invalidate_buffer``: this activation buffer is about to be replaced; ``pass_done`` (pulse) at
    END once everything is quiet and, where the pass sampled, ``sampled``. Latency: 2 cycles per
    instruction when its unit is free. Throughput: one word per cycle. Golden model:
    ``Machine.step`` in :mod:`jalgateware.golden.machine`.
    """

    def __init__(self, config: EngineConfig) -> None:
        words = [("data", config.word_bits)]
        self.instructions = stream.Endpoint([(name, width) for name, (_, width) in FIELDS.items()])
        self.sink = stream.Endpoint(words)
        self.lanes, self.loader, self.attention = (stream.Endpoint(words) for _ in range(3))
        self.current = {name: Signal(width) for name, (_, width) in FIELDS.items()}
        self.matvec_valid = Signal()
        self.matvec_ready = Signal()
        self.start_embed = Signal()
        self.start_rope = Signal()
        self.start_table = Signal()
        self.start_attention = Signal()
        self.lanes_busy = Signal()
        self.loader_busy = Signal()
        self.attention_busy = Signal()
        self.quiet = Signal()
        self.norm_valid = Signal()
        self.sampling = Signal()
        self.sampled = Signal()
        self.invalidate = Signal()
        self.invalidate_buffer = Signal()
        self.pass_done = Signal()

        # # #

        # Only the one whose turn it is is ready.
        takers = (self.lanes, self.loader, self.attention)
        self.comb += self.sink.ready.eq(reduce(or_, [taker.ready for taker in takers]))
        for taker in takers:
            self.comb += [taker.valid.eq(self.sink.valid), taker.data.eq(self.sink.data)]
        current = self.current
        residual = current["destination"] == Destination.RESIDUAL
        swiglu = current["destination"] == Destination.SWIGLU
        self.fsm = fsm = FSM(reset_state="TAKE")
        fsm.act(
            "TAKE",
            self.instructions.ready.eq(1),
            If(
                self.instructions.valid,
                *[NextValue(current[name], getattr(self.instructions, name)) for name in FIELDS],
                Case(
                    self.instructions.opcode,
                    {
                        int(Opcode.EMBED): NextState("LOAD"),
                        int(Opcode.ROPE): NextState("LOAD"),
                        int(Opcode.BIASES): NextState("LOAD"),
                        int(Opcode.GAINS): NextState("LOAD"),
                        int(Opcode.MATVEC): NextState("MATVEC"),
                        int(Opcode.ATTEND): NextState("ATTEND"),
                        int(Opcode.END): NextState("END"),
                        "default": NextState("TAKE"),
                    },
                ),
            ),
        )
        # Words go one way at a time: the lanes finish theirs before another unit's begin.
        embed, rope = (current["opcode"] == opcode for opcode in (Opcode.EMBED, Opcode.ROPE))
        fsm.act(
            "LOAD",
            If(
                ~self.lanes_busy,
                self.start_embed.eq(embed),
                self.start_rope.eq(rope),
                self.start_table.eq(~(embed | rope)),
                self.invalidate.eq(embed),
                self.invalidate_buffer.eq(Source.X),
                NextState("LOADING"),
            ),
        )
        fsm.act("LOADING", If(~self.loader_busy, NextState("TAKE")))
        fsm.act(
            "MATVEC",
            self.matvec_valid.eq(1),
            If(
                self.matvec_ready,
                self.invalidate.eq(residual | swiglu),
                self.invalidate_buffer.eq(swiglu),
                NextState("TAKE"),
            ),
        )
        fsm.act(
            "ATTEND",
            If(
                self.quiet & ~self.lanes_busy,
                self.start_attention.eq(1),
                self.invalidate.eq(1),
                self.invalidate_buffer.eq(Source.H),
                NextState("ATTENDING"),
            ),
        )
        fsm.act("ATTENDING", If(~self.attention_busy, NextState("TAKE")))
        # Behind 1/rms nothing is on its way that the next embedding could meet.
        fsm.act(
            "END",
            If(
                self.quiet & self.norm_valid & ~self.lanes_busy & (self.sampled | ~self.sampling),
                self.pass_done.eq(1),
                NextState("TAKE"),
            ),
        )

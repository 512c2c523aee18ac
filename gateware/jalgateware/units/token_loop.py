"""Runs passes: prompt tokens as they come, then the engine's own samples."""

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import FSM, If, NextState, NextValue, Signal

from jalgateware.contract.formats import POSITION_BITS, TOKEN_BITS

PROMPT_DEPTH = 64
OUTPUT_DEPTH = 64
STOP_TOKENS = 4
CYCLE_BITS = 64


class TokenLoop(LiteXModule):
    """One pass per token until enough samples were drawn, a stop token was, or the context is full.

    Interface: ``start`` (pulse) with ``first_position``, ``generate_count`` (at least 1),
    ``context``, ``stop_tokens`` (bit 31 enables one); ``prompt`` {token, final}: stream of prompt
    tokens, a sample follows the ``final`` one; ``pass_start`` (pulse) with ``token``, ``position``,
    ``sample``; ``pass_ready`` before, ``pass_done`` and ``sampled_token`` after; ``output`` {token,
    cycles}: samples with the cycle in which they were drawn; ``cycles``: since the start.
    Latency: 3 cycles from a sample to the next pass. Throughput: one pass at a time. Overflow:
    none; a full output FIFO holds the next pass back.
    """

    def __init__(self) -> None:
        self.start = Signal()
        self.first_position = Signal(POSITION_BITS)
        self.generate_count = Signal(32)
        self.context = Signal(POSITION_BITS + 1)
        self.stop_tokens = [Signal(32) for _ in range(STOP_TOKENS)]
        self.prompt = stream.Endpoint([("token", TOKEN_BITS), ("final", 1)])
        self.output = stream.Endpoint([("token", TOKEN_BITS), ("cycles", CYCLE_BITS)])
        self.pass_start = Signal()
        self.pass_ready = Signal()
        self.pass_done = Signal()
        self.token = Signal(TOKEN_BITS)
        self.position = Signal(POSITION_BITS)
        self.sample = Signal()
        self.sampled_token = Signal(TOKEN_BITS)
        self.running = Signal()
        self.waits = Signal()
        self.cycles = Signal(CYCLE_BITS)

        # # #

        generated, pending = Signal(32), Signal()
        drawn = Signal(CYCLE_BITS)
        position = Signal(POSITION_BITS + 1)
        stops = Signal()
        for entry in self.stop_tokens:
            self.comb += If(entry[31] & (entry[:TOKEN_BITS] == self.sampled_token), stops.eq(1))
        self.sync += [
            If(self.running, self.cycles.eq(self.cycles + 1)),
            If(self.start & ~self.running, self.cycles.eq(0)),
        ]
        self.comb += self.position.eq(position)
        self.fsm = fsm = FSM(reset_state="IDLE")
        self.comb += self.running.eq(~fsm.ongoing("IDLE"))
        fsm.act(
            "IDLE",
            If(
                self.start,
                NextValue(position, self.first_position),
                NextValue(generated, 0),
                NextValue(pending, 0),
                NextState("NEXT"),
            ),
        )
        fsm.act(
            "NEXT",
            If(self.prompt.valid | pending, NextState("CHOOSE")).Else(self.waits.eq(1)),
        )
        fsm.act(
            "CHOOSE",
            If(position >= self.context, NextState("IDLE")).Elif(
                self.pass_ready,
                NextValue(self.token, self.sampled_token),
                NextValue(self.sample, 1),
                NextValue(pending, 0),
                If(
                    self.prompt.valid,
                    self.prompt.ready.eq(1),
                    NextValue(self.token, self.prompt.token),
                    NextValue(self.sample, self.prompt.final),
                ),
                NextState("START"),
            ),
        )
        fsm.act("START", self.pass_start.eq(1), NextState("RUN"))
        fsm.act(
            "RUN",
            If(
                self.pass_done,
                NextValue(position, position + 1),
                NextValue(drawn, self.cycles),
                If(self.sample, NextState("EMIT")).Else(NextState("NEXT")),
            ),
        )
        fsm.act(
            "EMIT",
            self.output.valid.eq(1),
            self.output.token.eq(self.sampled_token),
            self.output.cycles.eq(drawn),
            self.waits.eq(~self.output.ready),
            If(
                self.output.ready,
                NextValue(generated, generated + 1),
                NextValue(pending, 1),
                NextState("NEXT"),
                If(stops | (generated + 1 >= self.generate_count), NextState("IDLE")),
            ),
        )

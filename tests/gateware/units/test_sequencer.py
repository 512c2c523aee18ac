"""The sequencer: order of instructions, ways of their words, and what waits for what."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import FIELDS, Destination, Instruction, Opcode, Source
from jalgateware.units.sequencer import Sequencer
from jaltest.gateware import Clock, Process, Sender, simulate

LAYER = [
    Instruction(Opcode.MATVEC, Destination.QUERY, rows=5, words=3, norm=1),
    Instruction(Opcode.MATVEC, Destination.KEY, rows=6, words=1, norm=1, kv_base=77),
    Instruction(Opcode.MATVEC, Destination.VALUE, rows=7, words=2, norm=1, kv_base=99),
    Instruction(Opcode.ATTEND, words=6, out_shift=9, fraction=4),
    Instruction(Opcode.MATVEC, Destination.RESIDUAL, source=Source.H, rows=8, words=5),
    Instruction(Opcode.MATVEC, Destination.SWIGLU, rows=9, words=4, norm=1),
    Instruction(Opcode.MATVEC, Destination.RESIDUAL, source=Source.H, rows=10, words=2),
]
PASS = [
    Instruction(Opcode.EMBED, blocks=2, words=4),
    Instruction(Opcode.ROPE, words=2),
    *LAYER,
    Instruction(Opcode.BIASES, words=5),
    Instruction(Opcode.GAINS, words=3),
    *LAYER,
    Instruction(Opcode.MATVEC, Destination.LOGITS, rows=20, words=7, norm=1, sampled_only=1),
    Instruction(Opcode.END),
]
PREFILL = [item for item in PASS if not item.sampled_only]


@dataclass
class Bench:
    """A sequencer among units that take random times. ``words`` tells how many a unit wants."""

    program: list[Instruction]
    stall: float = 0.0
    sampling: bool = True
    seed: int = 0
    events: list[Any] = field(default_factory=list)
    received: dict[str, list[int]] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.unit = Sequencer(EngineConfig(lanes=4))
        self.random = random.Random(self.seed)
        self.clock = Clock()
        self.passes = sum(item.opcode is Opcode.END for item in self.program)

    def consumer(self, name: str) -> Process:
        """Takes words while its unit is busy, and no others."""
        yield "passive"
        sink = getattr(self.unit, name)
        self.received[name] = []
        while True:
            if (yield sink.valid) and (yield sink.ready):
                self.received[name].append((yield sink.data))
                self.running[name] -= 1
            willing = self.running.get(name, 0) > 0 and self.random.random() >= self.stall
            yield sink.ready.eq(int(willing))
            yield

    def serve(self, name: str, words: int) -> Process:
        """A unit's work on one instruction: its words, and some time behind them."""
        busy = getattr(self.unit, f"{name}_busy")
        yield busy.eq(1)
        self.running[name] = words
        while self.running[name]:
            yield
        for _ in range(self.random.randrange(6)):
            yield
        yield busy.eq(0)
        yield

    def starter(self, name: str, starts: dict[Any, tuple[Opcode, ...]]) -> Process:
        yield "passive"
        while True:
            for signal, opcodes in starts.items():
                if (yield signal):
                    assert (yield self.unit.current["opcode"]) in opcodes
                    yield from self.began()
                    yield from self.serve(name, (yield self.unit.current["words"]))
            yield

    def lanes(self) -> Process:
        """Takes the next matrix while it works on one, as soon as that is done."""
        yield "passive"
        unit = self.unit
        while True:
            yield unit.matvec_ready.eq(1)
            yield
            while not (yield unit.matvec_valid):
                yield
            yield from self.began()
            words = yield unit.current["words"]
            yield unit.matvec_ready.eq(0)
            yield from self.serve("lanes", words)

    def began(self) -> Process:
        """Notes the instruction, and whether it invalidates a buffer."""
        unit, bits = self.unit, {}
        for name in FIELDS:
            bits[name] = yield unit.current[name]
        buffer = (yield unit.invalidate_buffer) if (yield unit.invalidate) else None
        others = [name for name, left in self.running.items() if left]
        self.events.append((bits, buffer))
        assert not others, f"{others} still want words"

    def vector(self) -> Process:
        """``quiet``, ``norm_valid`` and ``sampled`` come and go; END needs all of them."""
        yield "passive"
        unit = self.unit
        signals = [unit.quiet, unit.norm_valid, unit.sampled]
        while True:
            for signal in signals:
                yield signal.eq(int(self.random.random() < 0.4))
            yield
            quiet = (yield unit.quiet) and not (yield unit.lanes_busy)
            if (yield unit.start_attention):
                assert quiet
            if (yield unit.pass_done):
                sampled = (yield unit.sampled) or not self.sampling
                assert quiet
                assert (yield unit.norm_valid)
                assert sampled
                self.events.append("done")

    def run(self) -> None:
        unit, layout = self.unit, list(FIELDS)
        values = [tuple(int(getattr(item, name)) for name in layout) for item in self.program]
        fields = [getattr(unit.instructions, name) for name in layout]
        total = sum(item.words for item in self.program)

        def finish() -> Process:
            yield unit.sampling.eq(int(self.sampling))
            while self.events.count("done") < self.passes:
                assert self.clock.cycle < 20000, self.events
                yield
            for _ in range(10):
                yield

        starts = {
            unit.start_embed: (Opcode.EMBED,),
            unit.start_rope: (Opcode.ROPE,),
            unit.start_table: (Opcode.BIASES, Opcode.GAINS),
        }
        processes = [
            self.clock.process(),
            finish(),
            self.vector(),
            self.lanes(),
            self.starter("loader", starts),
            self.starter("attention", {unit.start_attention: (Opcode.ATTEND,)}),
            Sender(unit.instructions, fields, values, self.stall, seed=1).process(),
            Sender(unit.sink, [unit.sink.data], range(total), self.stall, seed=2).process(),
        ]
        names = ("lanes", "loader", "attention")
        simulate(unit, [*processes, *[self.consumer(name) for name in names]])


def invalidated(item: Instruction) -> int | None:
    """The buffer that an instruction replaces."""
    if item.opcode is Opcode.EMBED:
        return Source.X
    if item.opcode is Opcode.ATTEND:
        return Source.H
    replaced = {Destination.RESIDUAL: Source.X, Destination.SWIGLU: Source.H}
    return replaced.get(item.destination) if item.opcode is Opcode.MATVEC else None


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("sampling", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_instructions_and_their_words(stall: float, sampling: bool, seed: int) -> None:
    """Two passes: each unit gets its words, all in order, and nothing starts too early."""
    program = (PASS if sampling else PREFILL) * 2
    bench = Bench(program, stall, sampling, seed)
    bench.run()
    expected: list[Any] = []
    words: dict[str, list[int]] = {"lanes": [], "loader": [], "attention": []}
    place = 0
    for item in program:
        if item.opcode is Opcode.END:
            expected.append("done")
            continue
        expected.append(({name: int(getattr(item, name)) for name in FIELDS}, invalidated(item)))
        name = {Opcode.MATVEC: "lanes", Opcode.ATTEND: "attention"}.get(item.opcode, "loader")
        words[name] += range(place, place + item.words)
        place += item.words
    assert bench.events == expected
    assert bench.received == words


def test_an_instruction_takes_two_cycles_where_its_unit_is_free() -> None:
    unit = Sequencer(EngineConfig(lanes=4))
    taken, started = [], []

    def main() -> Process:
        yield unit.matvec_ready.eq(1)
        yield unit.instructions.opcode.eq(Opcode.MATVEC)
        yield unit.instructions.valid.eq(1)
        for cycle in range(20):
            yield
            if (yield unit.instructions.ready):
                taken.append(cycle)
            if (yield unit.matvec_valid):
                started.append(cycle)

    simulate(unit, [main()])
    assert started == [cycle + 1 for cycle in taken]
    assert taken == list(range(0, 20, 2))

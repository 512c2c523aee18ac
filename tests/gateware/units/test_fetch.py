"""The fetch unit against a walk of the program in Python."""

import dataclasses
import random

import pytest
from litedram.common import LiteDRAMNativePort

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import FIELDS, Instruction, Opcode, Register, encode, set_register
from jalgateware.units.fetch import Fetch
from jaltest.dram_model import DramModel
from jaltest.gateware import Clock, Process, Receiver, pulse, simulate, wait_for
from jaltest.program_walk import (
    TAPE_BASE,
    Pass,
    Walk,
    as_fields,
    one,
    random_program,
    word_at,
)

ADDRESS_BITS = 25


class Bench:
    """A fetch unit, its memory, and consumers of both streams."""

    def __init__(
        self,
        lanes: int = 16,
        seed: int = 0,
        stall: float = 0.2,
        ready: float = 0.8,
        tokens: int = 1,
        **options: bool,
    ) -> None:
        self.config = EngineConfig(
            lanes,
            tokens=tokens,
            max_instructions=32,
            port_fifo_words=32,
            port_burst_words=16,
            **options,
        )
        self.ports = [
            LiteDRAMNativePort("read", ADDRESS_BITS, self.config.word_bits)
            for _ in range(self.config.read_ports)
        ]
        self.unit = unit = Fetch(self.config, self.ports)
        self.memory = DramModel(self.ports, word_at, seed=seed, ready=ready)
        self.random = random.Random(seed)
        self.clock = Clock()
        self.words = Receiver(unit.source, [unit.source.data], self.clock, stall=stall, seed=seed)
        fields = [getattr(unit.instructions, name) for name in FIELDS]
        # Slower than the fetch unit, so that its FIFO fills.
        self.instructions = Receiver(unit.instructions, fields, self.clock, stall=0.9, seed=seed)
        self.pulses = 0

    def count_pulses(self) -> Process:
        yield "passive"
        while True:
            self.pulses += yield self.unit.word_pulse
            yield

    def clear(self) -> None:
        self.words.clear()
        self.instructions.clear()
        self.pulses = 0

    def load(self, program: list[Instruction]) -> Process:
        unit = self.unit
        words = [word for item in program for word in encode(item)]
        yield unit.tape_base.eq(TAPE_BASE)
        yield unit.program_write.eq(1)
        for address, word in enumerate(words):
            yield unit.program_address.eq(address)
            yield unit.program_data.eq(word)
            yield
        yield unit.program_write.eq(0)
        yield from pulse(unit.reset_program)
        yield

    def begin(self, now: Pass) -> Process:
        """Starts a pass; what it is about stays while the unit walks."""
        unit = self.unit
        for values, signals in (
            (now.tokens, unit.tokens),
            (now.positions, unit.positions),
            (now.kv_bases, unit.kv_bases),
        ):
            for number, signal in enumerate(signals):
                noise = self.random.getrandbits(len(signal))
                yield signal.eq(values[number] if number < len(values) else noise)
        yield unit.last_row.eq(len(now.tokens) - 1)
        yield unit.shared.eq(int(now.shared))
        yield unit.sample.eq(int(now.sample))
        yield from pulse(unit.start)
        yield

    def run(self, main: Process) -> None:
        consumers = [self.words.process(), self.instructions.process(), self.count_pulses()]
        processes = [self.clock.process(), main, self.memory.process(), *consumers]
        simulate(self.unit, processes)


def check_passes(bench: Bench, program: list[Instruction], passes: list[Pass]) -> None:
    walk = Walk(bench.config, program)

    def main() -> Process:
        yield from bench.load(program)
        for now in passes:
            items, addresses = walk.step(now)
            bench.clear()
            yield from bench.begin(now)
            yield from wait_for(bench.unit.idle)
            assert bench.instructions.values == as_fields(items)
            assert bench.words.values == [word_at(address) for address in addresses]
            assert bench.pulses == len(addresses)
        for register, value in walk.registers.items():
            assert (yield bench.unit.registers[register]) == value

    bench.run(main())
    assert walk.first == 7


@pytest.mark.parametrize(("lanes", "seed"), [(4, 1), (16, 2), (16, 3), (64, 4), (64, 5)])
def test_streams_follow_the_program(lanes: int, seed: int) -> None:
    bench = Bench(lanes=lanes, seed=seed)
    passes = [one(3, 0, False), one(0, 0), one(1, 1), one(260, 7, False), one(511, 31)]
    check_passes(bench, random_program(bench.config, seed), passes)


@pytest.mark.parametrize(
    ("lanes", "tokens", "seed"), [(4, 2, 6), (16, 4, 7), (16, 3, 8), (64, 4, 9)]
)
def test_several_token_rows(lanes: int, tokens: int, seed: int) -> None:
    """Of one sequence, and of as many sequences, some of which begin."""
    bench = Bench(lanes=lanes, seed=seed, tokens=tokens)
    whole = [
        Pass((9, 1, 9, 300), (0, 1, 2, 3)),
        Pass((4, 511, 0, 2), (5, 6, 7, 8), sample=False),
        Pass((7, 7, 8, 1), (3, 0, 9, 1), shared=False),
        Pass((1, 2, 3, 4), (0, 0, 0, 0), shared=False),
        Pass((5, 6, 7, 8), (0, 4, 0, 30), shared=False, sample=False),
    ]
    passes = [
        dataclasses.replace(now, tokens=now.tokens[:count], positions=now.positions[:count])
        for now in whole
        for count in {tokens, max(1, tokens - 1)}
    ]
    check_passes(bench, random_program(bench.config, seed), passes)


@pytest.mark.parametrize("options", [{"qkv_bias": True}, {"qkv_bias": True, "qk_norm": True}])
def test_tables_of_a_layer(options: dict[str, bool]) -> None:
    """The same words once, however many token rows there are."""
    bench = Bench(16, 12, tokens=3, **options)
    passes = [Pass((9, 1, 300), (0, 1, 2)), Pass((4, 511), (5, 6), sample=False)]
    check_passes(bench, random_program(bench.config, 12), passes)


@pytest.mark.parametrize("opcode", [Opcode.BIASES, Opcode.GAINS])
def test_gateware_without_tables_stops_at_their_instruction(opcode: Opcode) -> None:
    bench = Bench()

    def main() -> Process:
        yield from bench.load([Instruction(opcode, words=1), Instruction(Opcode.END)])
        yield from bench.begin(one(0, 0))
        yield from wait_for(bench.unit.idle)
        assert (yield bench.unit.illegal)

    bench.run(main())
    assert not bench.instructions.values


@pytest.mark.parametrize("lanes", [4, 16, 64])
def test_token_rows_of_many_groups(lanes: int) -> None:
    bench = Bench(lanes=lanes, stall=0.0, ready=1.0)
    program = [
        Instruction(Opcode.EMBED, blocks=7, base=99),
        Instruction(Opcode.END, base=0),
    ]
    walk = Walk(bench.config, program)

    def main() -> Process:
        yield from bench.load(program)
        for token in (0, 1, 2, 3, 62, 63, 1001, 31999):
            bench.words.clear()
            yield from bench.begin(one(token, 5))
            yield from wait_for(bench.unit.idle)
            addresses = walk.step(one(token, 5))[1]
            assert bench.words.values == [word_at(address) for address in addresses]

    bench.run(main())


@pytest.mark.parametrize(
    ("first", "extra"),
    [
        (Instruction(Opcode.MATVEC, words=3), 0),
        (Instruction(Opcode.EMBED, blocks=2), 8 + 2),
        (Instruction(Opcode.EMBED, blocks=12), 8 + 4),
    ],
    ids=["matvec", "embed-2", "embed-12"],
)
def test_latency_from_start_to_request(first: Instruction, extra: int) -> None:
    bench = Bench(ready=1.0)

    def main() -> Process:
        yield from bench.load([first, Instruction(Opcode.END)])
        yield from pulse(bench.unit.start)
        started = bench.clock.cycle
        yield from wait_for(bench.ports[0].cmd.valid)
        assert bench.clock.cycle - started == Fetch.LATENCY + extra

    bench.run(main())


@pytest.mark.parametrize("wait", [0, 4, 9, 25, 60, 150])
def test_abort_then_the_same_pass_again(wait: int) -> None:
    bench = Bench(seed=wait)
    program = random_program(bench.config, 11)
    walk = Walk(bench.config, program)
    items, addresses = walk.step(one(9, 12))

    def main() -> Process:
        yield from bench.load(program)
        yield from bench.begin(one(9, 12))
        for _ in range(wait):
            yield
        yield from pulse(bench.unit.abort)
        yield
        assert not (yield bench.unit.walking)
        # The last word leaves in the cycle behind it.
        yield
        bench.clear()
        yield from wait_for(bench.unit.idle)
        assert not bench.words.values
        assert not bench.instructions.values
        yield from bench.begin(one(9, 12))
        yield from wait_for(bench.unit.idle)

    bench.run(main())
    assert bench.instructions.values == as_fields(items)
    assert bench.words.values == [word_at(address) for address in addresses]


def test_registers_survive_an_abort() -> None:
    bench = Bench()
    program = [set_register(Register.HEAD_WORDS, 5), Instruction(Opcode.END, base=1)]

    def main() -> Process:
        yield from bench.load(program)
        yield from bench.begin(one(0, 0))
        yield from wait_for(bench.unit.idle)
        yield from pulse(bench.unit.abort)
        yield
        assert (yield bench.unit.registers[Register.HEAD_WORDS]) == 5

    bench.run(main())


def test_unknown_opcode_stops_the_pass_until_the_program_is_reset() -> None:
    bench = Bench()
    good = [Instruction(Opcode.ROPE, words=1), Instruction(Opcode.END)]

    def main() -> Process:
        unit = bench.unit
        yield from bench.load([good[0]])
        yield unit.program_write.eq(1)
        yield unit.program_address.eq(4)
        yield unit.program_data.eq(15)
        yield
        yield unit.program_write.eq(0)
        assert not (yield unit.illegal)
        yield from bench.begin(one(0, 0))
        yield from wait_for(bench.unit.idle)
        assert (yield unit.illegal)
        assert len(bench.instructions.values) == 1
        yield from bench.load(good)
        assert not (yield unit.illegal)
        yield from bench.begin(one(0, 0))
        yield from wait_for(bench.unit.idle)
        assert not (yield unit.illegal)
        assert len(bench.instructions.values) == 3

    bench.run(main())


def test_program_without_end_stops_behind_the_memory() -> None:
    bench = Bench()
    program = [Instruction(Opcode.ROPE)] * bench.config.max_instructions

    def main() -> Process:
        yield from bench.load(program)
        yield from bench.begin(one(0, 0))
        yield from wait_for(bench.unit.idle)
        assert (yield bench.unit.illegal)

    bench.run(main())
    assert len(bench.instructions.values) == len(program)

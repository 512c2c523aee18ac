"""The whole engine against the golden model: runs of tokens on tiny models, and their counters."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from litedram.common import LiteDRAMNativePort
from litex.gen.fhdl.verilog import convert
from migen import ClockDomain

from jalgateware.contract import isa
from jalgateware.contract.config import EngineConfig
from jalgateware.contract.mailbox import COUNTERS
from jalgateware.golden.machine import Machine
from jalgateware.golden.sampler import Sampling
from jalgateware.units.engine import Engine
from jalhost.models.architecture import Architecture, Model
from jalhost.models.compiler import build_tape, compile_program, layout, quantise_model, rope_table
from jaltest.dram_model import DramModel
from jaltest.gateware import Process, pulse, simulate, wait_for
from jaltest.tiny import tiny_model

TAPE, CACHE = 1 << 12, 1 << 16
"""Where tape and KV cache lie, in words."""

SMALL = Architecture(
    dim=32, hidden=48, layers=1, heads=2, kv_heads=1, head_dim=16, vocabulary=48, context=16
)
WIDE_GROUP = replace(SMALL, heads=6, kv_heads=2, head_dim=8, layers=2)
"""Groups of 3 query heads for 2 slots; heads of half an engine word where that has 64 lanes."""

ODD = replace(SMALL, dim=64, hidden=41, heads=4, kv_heads=4, head_dim=24, vocabulary=51)
"""A hidden vector that ends within a block, heads that end within a word, no groups."""


def amplified(model: Model, gain: float) -> Model:
    """The model with feed-forward weights multiplied by ``gain``."""
    layers = [
        replace(item, gate=item.gate * gain, up=item.up * gain, down=item.down * gain)
        for item in model.layers
    ]
    return replace(model, layers=layers)


GREEDY = Sampling()


@dataclass
class Run:
    """What the host sets for a run, and what came of it."""

    prompt: Sequence[int]
    count: int = 3
    position: int = 0
    sampling: Sampling = GREEDY
    stop_tokens: Sequence[int] = ()
    context: int | None = None
    pause: int = 0
    """Cycles between the tokens of the prompt."""

    tokens: list[int] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)


class Bench:
    """An engine and its DRAM, with a model in it; and the same model in a golden machine."""

    def __init__(self, a: Architecture, lanes: int, seed: int = 0, gain: float = 1.0) -> None:
        self.architecture = a
        self.config = config = EngineConfig(lanes, read_ports=2, max_context=16, max_kv_heads=4)
        plan, matrices = quantise_model(amplified(tiny_model(a, seed + 1), gain))
        self.program = compile_program(plan, config)
        tape = build_tape(plan, matrices, rope_table(a), config)
        self.golden = Machine(config, tape, self.program, a.context)
        words = [int.from_bytes(word.tobytes(), "little") for word in tape.reshape(-1, lanes)]
        image = dict(enumerate(words, TAPE))
        ports = [LiteDRAMNativePort("read", 24, 8 * lanes) for _ in range(config.read_ports)]
        ports.append(LiteDRAMNativePort("write", 24, 8 * lanes))
        self.unit = Engine(config, ports[:-1], ports[-1])
        self.memory = DramModel(ports, lambda a: image.get(a, 0), (4, 16), 0.8, seed)

    def expected(self, run: Run) -> list[int]:
        """The golden machine's samples for a run; its cache keeps what runs before wrote."""
        tokens: list[int] = []
        position, context = run.position, run.context or self.architecture.context
        prompt = list(run.prompt)
        while position < context:
            prefill = len(prompt) > 1
            token = prompt.pop(0) if prompt else tokens[-1]
            sample = self.golden.step(token, position, None if prefill else run.sampling)
            position += 1
            if sample is not None:
                tokens.append(sample)
                if len(tokens) >= run.count or sample in run.stop_tokens:
                    break
        return tokens

    def write(self, csr: Any, value: int) -> Process:
        """As the CSR bus does: storage and strobe for a cycle."""
        yield csr.storage.eq(value)
        yield csr.re.eq(1)
        yield
        yield csr.re.eq(0)
        yield

    def load(self) -> Process:
        registers = self.unit.registers
        yield from self.write(registers.program_address_csr, 0)
        for item in self.program:
            for word in isa.encode(item):
                yield from self.write(registers.program_data_csr, word)
        yield registers.tape_base_csr.storage.eq(TAPE)
        yield registers.kv_base_csr.storage.eq(CACHE)

    def begin(self, run: Run) -> Process:
        registers = self.unit.registers
        for name, value in (
            ("position", run.position),
            ("context", run.context or self.architecture.context),
            ("generate_count", run.count),
            ("inverse_temperature", run.sampling.inverse_temperature),
            ("seed", run.sampling.seed),
        ):
            yield getattr(registers, f"{name}_csr").storage.eq(value)
        stops = [token | 1 << 31 for token in run.stop_tokens]
        for index, value in enumerate((stops + [0] * 4)[:4]):
            yield getattr(registers, f"stop_token{index}_csr").storage.eq(value)
        yield from pulse(registers.start)
        yield
        last = len(run.prompt) - 1
        for number, token in enumerate(run.prompt):
            for _ in range(run.pause):
                yield
            yield from self.write(registers.prompt_csr, token | int(number == last) << 31)

    def finish(self, run: Run) -> Process:
        """Takes samples until the run is over, then reads the counters."""
        registers = self.unit.registers
        for _ in range(60000):
            if (yield registers.output_valid):
                run.tokens.append((yield registers.output_token))
                run.cycles.append((yield registers.output_cycles))
                yield from self.write(registers.output_pop_csr, 1)
            elif (yield registers.done) and not (yield registers.busy):
                break
            yield
        else:
            raise AssertionError(f"the run does not end, after {run.tokens}")
        yield from self.write(registers.latch, 1)
        for name in COUNTERS:
            low = yield getattr(registers, f"{name}_low").status
            high = yield getattr(registers, f"{name}_high").status
            run.counters[name] = low | high << 32

    def simulate(self, main: Process) -> None:
        simulate(self.unit, [main, self.memory.process()])

    def go(self, *runs: Run) -> None:
        def main() -> Process:
            yield from self.load()
            for run in runs:
                yield from self.begin(run)
                yield from self.finish(run)

        self.simulate(main())

    def check_cache(self) -> None:
        """DRAM holds the golden machine's keys and values, words filled up with zeros."""
        a, place = self.architecture, layout(self.architecture, self.config)
        lanes, found = self.config.lanes, 0
        for base, region in self.golden.cache.items():
            for head in range(a.kv_heads):
                for position in range(a.context):
                    start = CACHE + base + head * place.head_stride + position * place.head_words
                    words = [self.memory.memory.get(start + c, 0) for c in range(place.head_words)]
                    data = b"".join(word.to_bytes(lanes, "little") for word in words)
                    row = region[head, position].astype("<i2").tobytes()
                    assert data == row.ljust(len(data), b"\0"), f"{base}, {head}, {position}"
                    found += any(data)
        assert found == len(self.memory.memory) / place.head_words

    def words_of(self, run: Run) -> tuple[int, int]:
        """Words that a run reads: all, and those of the cache."""
        a, place = self.architecture, layout(self.architecture, self.config)
        passes = len(run.prompt) + len(run.tokens) - 1
        tables = (a.dim // 32) * (1 + self.config.words_per_block) + place.rope_words
        matrices = [item for item in self.program if item.opcode is isa.Opcode.MATVEC]
        classifier = sum(item.words for item in matrices if item.sampled_only)
        body = sum(item.words for item in matrices) - classifier
        positions = sum(range(run.position, run.position + passes))
        cache = 2 * a.layers * a.kv_heads * positions * place.head_words
        tape = passes * (tables + body) + len(run.tokens) * classifier
        return tape + cache, cache


MODELS = {"small": SMALL, "wide group": WIDE_GROUP, "odd": ODD}


@pytest.mark.parametrize(
    ("name", "lanes"),
    [(name, lanes) for name in MODELS for lanes in (4, 16, 64) if (name, lanes) != ("odd", 4)],
)
def test_tokens_cache_and_counters(name: str, lanes: int) -> None:
    bench = Bench(MODELS[name], lanes, seed=lanes)
    prompt = [1, 5] if lanes == 4 else [1, 5, 9]
    run = Run(prompt, count=2, sampling=Sampling.from_temperature(1.0, 77))
    bench.go(run)
    assert run.tokens == bench.expected(run)
    bench.check_cache()
    counters = run.counters
    words, cache = bench.words_of(run)
    assert counters["dram_words"] == words
    assert counters["tokens"] == len(prompt) + 1
    assert counters["cycles"] == counters["busy"] + counters["stall_host"]
    assert counters["saturations"] == bench.golden.tally.saturations
    assert counters["kv_words"] == cache
    assert counters["busy"] >= words
    assert run.cycles == sorted(run.cycles)
    assert run.cycles[-1] <= counters["cycles"]


def test_saturations_are_those_of_the_golden_model() -> None:
    """Weights far too large: rows, SwiGLU and the residual vector saturate."""
    bench = Bench(SMALL, 16, gain=3000.0)
    run = Run(prompt=[1, 5], count=2)
    bench.go(run)
    assert run.tokens == bench.expected(run)
    assert run.counters["saturations"] == bench.golden.tally.saturations > 100


def test_runs_follow_each_other() -> None:
    """A text goes on where it stood, also with other sampling; a new one sees nothing of it."""
    bench = Bench(SMALL, 16)
    runs = [
        Run(prompt=[1, 5, 9], count=2),
        Run(prompt=[7], count=2, position=4, sampling=Sampling.from_temperature(0.7, 3)),
        Run(prompt=[2, 3], count=2, sampling=Sampling.from_temperature(2.0, 4)),
        Run(prompt=[2, 3], count=2, sampling=Sampling.from_temperature(2.0, 5)),
    ]
    bench.go(*runs)
    for run in runs:
        assert run.tokens == bench.expected(run)
        assert run.counters["tokens"] == len(run.prompt) + 1
    assert runs[2].tokens != runs[3].tokens


def test_stop_tokens_and_the_count_end_a_run() -> None:
    bench = Bench(SMALL, 16)
    free = Run(prompt=[1, 5], count=6, sampling=Sampling.from_temperature(5.0, 1))
    tokens = bench.expected(free)
    assert len(set(tokens)) == 6
    unused = next(token for token in range(48) if token not in tokens)
    stopped = replace(free, stop_tokens=[unused, tokens[2]], tokens=[], counters={})
    one = replace(free, count=1, stop_tokens=[unused], tokens=[], counters={})
    bench.go(stopped, one)
    assert stopped.tokens == tokens[:3]
    assert stopped.counters["tokens"] == 4
    assert one.tokens == tokens[:1]


def test_the_end_of_the_context_ends_a_run() -> None:
    bench = Bench(SMALL, 16)
    runs = [
        Run(prompt=[1, 5], count=9, context=4),
        Run(prompt=[4], count=9, position=SMALL.context - 1),
        Run(prompt=[4], count=9, position=4, context=4),
        Run(prompt=[1, 2, 3, 4, 5], count=9, context=3),
    ]
    bench.go(*runs)
    assert [len(run.tokens) for run in runs] == [3, 1, 0, 0]
    for run in runs[:2]:
        assert run.tokens == bench.expected(run)
    assert [run.counters["tokens"] for run in runs] == [4, 1, 0, 3]


def test_waiting_for_the_host_is_counted_and_changes_nothing() -> None:
    bench = Bench(SMALL, 16)
    run = Run(prompt=[1, 5], count=1, pause=1500)
    bench.go(run)
    assert run.tokens == bench.expected(run)
    counters = run.counters
    assert counters["cycles"] == counters["busy"] + counters["stall_host"]
    assert counters["stall_host"] > 1500


@pytest.mark.parametrize("after", [3, 150, 700, 1300])
def test_stop_in_the_middle(after: int) -> None:
    """Whatever is on its way: the run ends, and the next one is right."""
    bench = Bench(WIDE_GROUP, 16, seed=after)
    first, second = Run(prompt=[1, 5], count=9), Run(prompt=[1, 6], count=1)
    registers = bench.unit.registers

    def main() -> Process:
        yield from bench.load()
        yield from bench.begin(first)
        for _ in range(after):
            yield
        yield from pulse(registers.stop)
        yield
        yield
        assert (yield registers.done)
        yield from bench.finish(first)
        yield from bench.begin(second)
        assert not (yield registers.done)
        yield from bench.finish(second)

    bench.simulate(main())
    assert second.tokens == bench.expected(second)
    assert first.counters["tokens"] < 3


def test_samples_stay_when_stopped_and_go_with_a_reset() -> None:
    bench = Bench(SMALL, 16)
    runs = [Run(prompt=[1], count=9), Run(prompt=[1], count=9), Run(prompt=[1], count=1)]
    registers, kept = bench.unit.registers, []

    def main() -> Process:
        yield from bench.load()
        for run, end in zip(runs[:2], (registers.stop, registers.reset), strict=True):
            yield from bench.begin(run)
            yield from wait_for(registers.output_valid)
            yield from pulse(end)
            for _ in range(100):
                yield
            assert not (yield registers.busy)
            kept.append((yield registers.output_valid))
            yield from bench.finish(run) if kept[-1] else ()
        yield from bench.begin(runs[2])
        yield from bench.finish(runs[2])

    bench.simulate(main())
    assert kept == [1, 0]
    assert runs[0].tokens == runs[2].tokens == bench.expected(runs[2])


def test_an_illegal_instruction_ends_the_run_with_an_error() -> None:
    bench = Bench(SMALL, 16)
    registers, program = bench.unit.registers, bench.program
    run, errors = Run(prompt=[1, 5], count=1), []

    def main() -> Process:
        for end in (12, len(program)):
            bench.program = program[:end]
            yield from bench.load()
            for _ in range(4):
                yield from bench.write(registers.program_data_csr, 0)
            run.tokens.clear()
            yield from bench.begin(run)
            yield from bench.finish(run)
            errors.append((yield registers.error))

    bench.simulate(main())
    assert errors == [isa.EngineError.ILLEGAL_INSTRUCTION, isa.EngineError.NONE]
    assert run.tokens == bench.expected(run)


def test_ports_are_checked() -> None:
    ports = [LiteDRAMNativePort(mode, 24, 128) for mode in ("read", "write")]
    with pytest.raises(ValueError, match="the engine has 4 read ports, not 1"):
        Engine(EngineConfig(), ports[:1], ports[1])


ASSIGNMENT = re.compile(r"^\s*(assign )?[\w\[\]:{}, ]+? (<=|=) ")
NEGATIVE_OPERAND = re.compile(r"(?:[<>=!]=|[-+*&|^<>]) -\d+'d|-\d+'d\d+\)? (?:[<>=!]=|[-+*&|^<>])")


def suspicious(verilog: str) -> list[str]:
    """Lines where a negative constant is an operand."""
    lines = [ASSIGNMENT.sub("", line) for line in verilog.splitlines()]
    return [line for line in lines if NEGATIVE_OPERAND.search(line)]


@pytest.mark.parametrize("lanes", [4, 16, 64])
def test_verilog_has_no_operation_on_a_negative_constant(lanes: int) -> None:
    """LiteX writes -5'd16, which Verilog takes for unsigned, and with it the whole operation."""
    bench = Bench(SMALL, lanes)
    bench.unit.cd_sys = ClockDomain()
    source = convert(bench.unit, ios={bench.unit.cd_sys.clk}).main_source
    assert "-32'd2147483648" in source  # as an assigned value a negative constant is fine
    assert not suspicious(source)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("if ((shift < -5'd16)) begin", True),
        ("    assign over = (value >= -8'd3);", True),
        ("        total <= (value + -5'd16);", True),
        ("assign a = (-5'd16 < b);", True),
        ("        shift <= -5'd16;", False),
        ("assign shift = (over ? -5'd16 : value);", False),
    ],
)
def test_operations_on_negative_constants_are_found(line: str, found: bool) -> None:
    assert bool(suspicious(line)) == found

"""The whole engine against the golden model: runs of tokens on tiny models, and their counters."""

import re
from dataclasses import replace

import pytest
from litedram.common import LiteDRAMNativePort
from litex.gen.fhdl.verilog import convert
from migen import ClockDomain

from jalgateware.contract import isa
from jalgateware.contract.config import EngineConfig
from jalgateware.golden.sampler import Sampling
from jalgateware.units.engine import Engine
from jaltest.engine import ODD, SMALL, WIDE_GROUP, Bench, Run
from jaltest.gateware import Process, pulse, wait_for

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

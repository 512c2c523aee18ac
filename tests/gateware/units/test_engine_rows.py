"""The engine with several token rows against golden machines: prefill, streams, drafts."""

from dataclasses import replace

import pytest

from jalgateware.contract import isa
from jalgateware.golden.sampler import Sampling
from jaltest.engine import ODD, SMALL, WIDE_GROUP, Bench, Run

WARM = Sampling.from_temperature(1.0, 77)

SHAPES = {
    "small": (SMALL, 16, 4, 2),
    "one slot for all": (SMALL, 4, 4, 1),
    "two rows": (WIDE_GROUP, 16, 2, 4),
    "steps that rows share": (WIDE_GROUP, 16, 4, 8),
    "three rows": (ODD, 16, 3, 3),
    "wide": (WIDE_GROUP, 64, 4, 4),
}


def bench_of(name: str, seed: int = 0, gain: float = 1.0) -> Bench:
    a, lanes, tokens, slots = SHAPES[name]
    return Bench(a, lanes, seed, gain, tokens=tokens, attention_slots=slots)


@pytest.mark.parametrize("name", SHAPES)
def test_prefill_takes_several_tokens_in_a_pass(name: str) -> None:
    bench = bench_of(name, 3)
    run = Run([1, 5, 9, 2, 7, 30, 4], count=3, sampling=WARM)
    bench.go(run)
    assert run.tokens == bench.expected(run)
    bench.check_cache()
    rows = bench.config.tokens
    assert run.counters["tokens"] == -(-len(run.prompt) // rows) + 2
    assert run.counters["saturations"] == bench.golden.tally.saturations


@pytest.mark.parametrize("name", SHAPES)
def test_streams_decode_together(name: str) -> None:
    bench = bench_of(name, 4)
    others = [[2, 11, 3], [8], [6, 6, 6, 6, 6]][: bench.config.tokens - 1]
    run = Run([1, 5], count=3, sampling=WARM, others=others)
    bench.go(run)
    assert run.streams == [bench.expected(run, stream) for stream in range(len(run.streams))]
    bench.check_cache()
    saturations = sum(golden.tally.saturations for golden in bench.goldens)
    assert run.counters["saturations"] == saturations


def test_streams_end_one_by_one() -> None:
    """By a stop token, by the count, by the context: the others go on."""
    bench = bench_of("small", 5)
    others = [[2] * 13, [8], [6, 6]]
    free = Run([1, 5], count=5, sampling=Sampling.from_temperature(5.0, 1), others=others)
    expected = [bench.expected(free, stream) for stream in range(4)]
    assert [len(tokens) for tokens in expected] == [5, 4, 5, 5]
    stop = expected[2][1]
    run = replace(free, stop_tokens=[stop], tokens=[], counters={})
    bench.go(run)
    for tokens, found in zip(expected, run.streams, strict=True):
        end = tokens.index(stop) + 1 if stop in tokens else len(tokens)
        assert found == tokens[:end]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_drafts_change_nothing_but_the_number_of_passes(temperature: float) -> None:
    bench = bench_of("small", 6)
    plain = Run([1, 5, 9], count=12, sampling=Sampling.from_temperature(temperature, 3))
    drafted = [replace(plain, drafts=n, tokens=[], counters={}) for n in (1, 2, 3)]
    bench.go(plain, *drafted)
    assert plain.tokens == bench.expected(plain)
    passes = [run.counters["tokens"] for run in (plain, *drafted)]
    assert passes[0] == 12
    for run in drafted:
        assert run.tokens == plain.tokens
    assert max(passes) <= 12


EVERY = dict.fromkeys(
    ("0.query", "0.output", "0.gate_up", "0.down", "1.key", "1.value", "classifier"),
    isa.Format.MXFP4,
)
"""MXFP4 and MXINT8 alternate."""


@pytest.mark.parametrize(
    ("name", "tokens", "lanes"),
    [("small", 1, 16), ("small", 4, 4), ("odd", 4, 16), ("wide group", 2, 64)],
)
def test_matrices_of_both_formats(name: str, tokens: int, lanes: int) -> None:
    a = {"small": SMALL, "odd": ODD, "wide group": WIDE_GROUP}[name]
    formats = {key: form for key, form in EVERY.items() if int(key[0] == "1") < a.layers}
    bench = Bench(a, lanes, 7, formats=formats, tokens=tokens, mxfp4=True)
    others = [[8, 2, 7]] if tokens > 1 else []
    run = Run([1, 5, 9], count=3, sampling=WARM, others=others)
    bench.go(run)
    assert run.streams == [bench.expected(run, stream) for stream in range(len(run.streams))]
    bench.check_cache()
    saturations = sum(golden.tally.saturations for golden in bench.goldens)
    assert run.counters["saturations"] == saturations

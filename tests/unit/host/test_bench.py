"""Benchmarks: what is run, what is counted, and how it is printed."""

import csv
import io
import json
from collections.abc import Generator

import pytest

from jalgateware.golden.rounding import Integers
from jalgateware.golden.sampler import Sampling
from jalhost.cli.bench_output import print_results
from jalhost.engine.bench import Bench, Result, Sample, Workload, make_tests
from jalhost.engine.emulator import Emulator
from jalhost.engine.target import Provenance, Request, Sampled, TargetInfo
from jalhost.errors import DeviceError, UsageError
from jalhost.models.convert import (
    classifier_bytes,
    multiplications,
    needed_bytes,
    token_bytes,
    weight_bytes,
)
from jalhost.models.image import Image
from jalhost.models.tokenizer import BOS
from jaltest.tiny import ARCHITECTURE, tiny_image

IMAGE = tiny_image()
PASS, SAMPLE = 1000, 100
"""Cycles of the clock below: for a pass, and more for each token that is sampled."""


class Clock:
    """A target on which every pass takes the same time; ``missing`` tokens are not sampled.

    All drafts are right.
    """

    def __init__(self, missing: int = 0, rows: int = 1) -> None:
        self.missing = missing
        self.rows = rows
        self.requests: list[Request] = []
        self.passes = 0

    @property
    def info(self) -> TargetInfo:
        return TargetInfo("clock", Provenance.SIMULATED, 1_000_000, 16, 8, self.rows)

    def load(self, image: Image) -> None:
        assert not image.stop_tokens

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        request.check(self.rows)
        self.requests.append(request)
        self.passes = drawn = 0

        def draw(stream: int) -> Sampled:
            nonlocal drawn
            drawn += 1
            cycles = self.passes * PASS + drawn * SAMPLE
            return Sampled(5, cycles / 1e6, cycles, stream)

        for stream, prompt in enumerate(request.prompts):
            self.passes += -(-len(prompt) // self.rows)
            yield draw(stream)
        left = request.max_tokens - self.missing - 1
        while left > 0:
            self.passes += 1
            for _ in range(min(left, 1 + request.drafts)):
                for stream in range(len(request.prompts)):
                    yield draw(stream)
            left -= 1 + request.drafts

    def counters(self) -> dict[str, int]:
        cycles = self.passes * PASS
        return {"tokens": self.passes, "cycles": cycles, "dram_words": 70, "kv_words": 20} | (
            dict.fromkeys(("stall_weights", "stall_vector", "stall_kv", "stall_host"), 5)
        )

    def logits(self) -> Integers:
        raise AssertionError("nobody asks for them")

    def close(self) -> None:
        pass


def run(
    test: Workload,
    repetitions: int = 1,
    breakdown: bool = False,
    rows: int = 1,
    cold_cache: bool = False,
) -> tuple[Result, Clock]:
    clock = Clock(rows=rows)
    bench = Bench(clock, IMAGE, cold_cache=cold_cache)
    bench.load()
    return bench.run(test, repetitions, breakdown), clock


def test_names_and_order_are_llama_benchs() -> None:
    tests = make_tests([16, 0], [4, 8], [0, 32])
    assert [test.name for test in tests] == [
        *("pp16", "tg4", "tg8"),
        *("pp16 @ d32", "tg4 @ d32", "tg8 @ d32"),
    ]
    tests = make_tests([16], [4], [0, 8], [1, 4])
    assert [test.name for test in tests] == [
        *("pp16", "tg4", "tg4 x4"),
        *("pp16 @ d8", "tg4 @ d8", "tg4 x4 @ d8"),
    ]
    assert [test.name for test in make_tests([16], [4], [0], speculate=True)] == [
        *("pp16", "tg4 drafts"),
    ]
    # Drafts are for single texts; where there is none, what was asked for is refused later.
    tests = make_tests([0], [4], [0], [1, 4], speculate=True)
    assert [test.name for test in tests] == ["tg4 drafts", "tg4 x4"]
    assert make_tests([0], [4], [0], [2], speculate=True) == [Workload(0, 4, 0, 2, True)]


def test_generation_counts_from_the_first_token_to_the_last() -> None:
    result, clock = run(Workload(0, 4), repetitions=2)
    assert [(r.prompts, r.max_tokens) for r in clock.requests] == [(((BOS,),), 5)] * 2
    assert clock.requests[0].sampling == Sampling()
    sample = Sample(4 * (PASS + SAMPLE) / 1e6, 4 * (PASS + SAMPLE), (PASS + SAMPLE) / 1e6, 4)
    assert [s.cycles for s in result.samples] == [sample.cycles] * 2
    assert result.samples[0].seconds == pytest.approx(sample.seconds)
    assert result.samples[0].ttft_s == sample.ttft_s
    assert result.cycles_per_token == PASS + SAMPLE
    assert result.rates == pytest.approx([1e6 / (PASS + SAMPLE)] * 2)
    assert result.tokens_per_pass == 1
    assert result.bytes_needed == sum(needed_bytes(IMAGE, position) for position in range(1, 5))
    assert result.dram_utilisation == result.bytes_needed / (4 * (PASS + SAMPLE) * 16)
    products = multiplications(IMAGE)
    assert result.lanes_utilisation == pytest.approx(products / ((PASS + SAMPLE) * 8))


def test_streams_share_the_weights() -> None:
    result, clock = run(Workload(0, 5, depth=3, streams=4), rows=4)
    (request,) = clock.requests
    assert [len(prompt) for prompt in request.prompts] == [3] * 4
    assert len(set(request.prompts)) == 4
    (sample,) = result.samples
    assert sample.passes == 5
    assert sample.cycles == 5 * (PASS + 4 * SAMPLE)
    assert sample.ttft_s == pytest.approx(4 * (PASS + SAMPLE) / 1e6)
    assert result.tokens_per_pass == 4
    assert result.rates == pytest.approx([4e6 / (PASS + 4 * SAMPLE)])
    weights = weight_bytes(IMAGE)
    own = sum(needed_bytes(IMAGE, position) - weights for position in range(3, 8))
    assert result.bytes_needed == 5 * weights + 4 * own
    # Each lane has a multiplier per token row, and all are at work.
    products = multiplications(IMAGE)
    assert result.lanes_utilisation == pytest.approx(products / ((PASS + 4 * SAMPLE) * 8))


def test_drafts_share_weights_and_cache() -> None:
    result, clock = run(Workload(0, 8, depth=3, speculate=True), rows=4)
    assert clock.requests[0].drafts == 3
    (sample,) = result.samples
    assert (sample.passes, result.tokens_per_pass) == (2, 4)
    own = token_bytes(IMAGE, 0)
    cached = sum(token_bytes(IMAGE, position) - own for position in range(3, 11))
    # Each of two passes reads the cache for four tokens.
    assert result.bytes_needed == 2 * weight_bytes(IMAGE) + 8 * own + cached * 2 // 8


@pytest.mark.parametrize("test", [Workload(0, 2, 30, 4), Workload(8, 0, 9)])
def test_passes_behind_a_cold_cache_are_those_of_the_tokens(test: Workload) -> None:
    clock = Clock(rows=4)
    result = Bench(clock, IMAGE, cold_cache=True).run(test, 1, breakdown=True)
    assert result.samples[0].passes == 2
    assert result.tokens_per_pass == 4
    assert result.breakdown
    assert result.breakdown["tokens"] == 2


def test_prompt_takes_all_rows() -> None:
    result, clock = run(Workload(10, 0), rows=4)
    assert clock.requests[0].drafts == 0
    assert result.samples[0].passes == 3
    assert result.tokens_per_pass == pytest.approx(10 / 3)
    weights = 3 * weight_bytes(IMAGE, sampled=False) + classifier_bytes(IMAGE)
    assert weights < result.bytes_needed < 3 * needed_bytes(IMAGE, 10) + 10 * token_bytes(IMAGE, 0)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (Workload(0, 4, streams=3), "decodes at most 2 streams together, not 3"),
        (Workload(0, 4, streams=2, speculate=True), "works on one stream, not on 2"),
    ],
)
def test_what_the_gateware_has_no_rows_for_is_refused(test: Workload, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Bench(Clock(rows=2), IMAGE).check(test)
    with pytest.raises(UsageError, match="cannot speculate: it has one token row"):
        Bench(Clock(), IMAGE).check(Workload(0, 4, speculate=True))


def test_generation_at_a_depth() -> None:
    result, clock = run(Workload(0, 3, depth=6))
    assert len(clock.requests[0].prompts[0]) == 6
    assert result.cycles_per_token == PASS + SAMPLE
    assert result.bytes_needed == sum(needed_bytes(IMAGE, position) for position in range(6, 9))


def test_prompt_counts_to_the_first_token() -> None:
    result, clock = run(Workload(5, 0))
    assert [(len(r.prompts[0]), r.max_tokens) for r in clock.requests] == [(5, 1)]
    assert result.samples[0] == Sample(
        (5 * PASS + SAMPLE) / 1e6, 5 * PASS + SAMPLE, (5 * PASS + SAMPLE) / 1e6, 5
    )
    needed = sum(needed_bytes(IMAGE, position, sampled=False) for position in range(5))
    assert result.bytes_needed == needed + classifier_bytes(IMAGE)
    # The classifier runs once.
    embedding, rows = ARCHITECTURE.dim, ARCHITECTURE.vocabulary
    classifier = multiplications(IMAGE) - multiplications(IMAGE, sampled=False)
    assert classifier == rows * embedding
    assert result.multiplications == 5 * (multiplications(IMAGE) - classifier) + classifier


def test_prompt_at_a_depth_counts_its_own_tokens() -> None:
    result, clock = run(Workload(5, 0, depth=4))
    assert [len(r.prompts[0]) for r in clock.requests] == [9, 4]
    # A depth's tokens are the beginning of the whole.
    assert clock.requests[0].prompts[0][:4] == clock.requests[1].prompts[0]
    (sample,) = result.samples
    assert (sample.cycles, sample.passes) == (5 * PASS, 5)
    assert sample.ttft_s == (9 * PASS + SAMPLE) / 1e6
    positions = range(4, 9)
    assert result.bytes_needed == sum(needed_bytes(IMAGE, p, sampled=False) for p in positions)


@pytest.mark.parametrize("test", [Workload(0, 4, 8), Workload(4, 0, 8)])
def test_cold_cache_reads_one_token_of_a_depth(test: Workload) -> None:
    warm, before = run(test, breakdown=True)
    cold, clock = run(test, breakdown=True, cold_cache=True)
    assert {request.position for request in before.requests} == {0}
    assert {request.position for request in clock.requests} == {7}
    # The same tokens at the same positions, but for those that are left out.
    assert [request.prompts for request in clock.requests] == [
        tuple(prompt[7:] for prompt in request.prompts) for request in before.requests
    ]
    assert cold.cycles_per_token == warm.cycles_per_token
    assert cold.bytes_needed == warm.bytes_needed
    assert cold.breakdown == warm.breakdown
    assert cold.tokens_per_pass == warm.tokens_per_pass
    assert cold.cold_cache
    assert cold.as_dict()["ttft_s"] is None


def test_without_a_depth_no_cache_is_cold() -> None:
    for test in (Workload(0, 4), Workload(4, 0)):
        result, _ = run(test, cold_cache=True)
        assert not result.cold_cache
        assert result.ttft_s


def test_cold_caches_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    print_results(IMAGE, [run(Workload(0, 4, 8), cold_cache=True)[0]], "md")
    assert "| - | clock | simulated at 1 MHz, cold cache |" in capsys.readouterr().out


@pytest.mark.parametrize(
    "test", [Workload(0, 4), Workload(4, 0), Workload(0, 4, 8), Workload(4, 0, 8)]
)
def test_breakdown_is_that_of_the_tokens_alone(test: Workload) -> None:
    result, _ = run(test, breakdown=True)
    assert result.breakdown
    assert result.breakdown["tokens"] == 4
    assert result.breakdown["cycles"] == 4 * PASS


def test_emulator_has_rates_and_no_cycles() -> None:
    bench = Bench(Emulator(), IMAGE)
    bench.load()
    bench.warm_up()
    result = bench.run(Workload(3, 0), 2, breakdown=True)
    assert len(result.rates) == 2
    assert min(result.rates) > 0
    none = (result.cycles_per_token, result.dram_utilisation, result.lanes_utilisation)
    assert none == (None, None, None)
    assert (result.tokens_per_pass, result.breakdown) == (None, None)


def test_emulator_does_not_time_a_prompt_behind_others() -> None:
    with pytest.raises(UsageError, match="pp3 @ d2 is a difference of two times"):
        Bench(Emulator(), IMAGE).check(Workload(3, 0, 2))


@pytest.mark.parametrize(
    "test", [Workload(0, ARCHITECTURE.context), Workload(9, 0, ARCHITECTURE.context - 8)]
)
def test_what_does_not_fit_the_context_is_refused(test: Workload) -> None:
    bench = Bench(Clock(), IMAGE)
    with pytest.raises(UsageError, match=rf"{test.name} needs \d+ positions, .* context is \d+"):
        bench.check(test)
    bench.check(Workload(0, ARCHITECTURE.context - 1))
    bench.check(Workload(8, 0, ARCHITECTURE.context - 8))


def test_missing_tokens_are_an_error() -> None:
    bench = Bench(Clock(missing=1), IMAGE)
    with pytest.raises(DeviceError, match="clock sampled 3 tokens, not 4"):
        bench.run(Workload(0, 3), 1)


def printed(capsys: pytest.CaptureFixture[str], output: str) -> str:
    results = [run(test, 2, breakdown=True)[0] for test in make_tests([4], [4], [2])]
    print_results(IMAGE, results, output)
    return capsys.readouterr().out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    records = json.loads(printed(capsys, "json"))
    assert [record["test"] for record in records] == ["pp4 @ d2", "tg4 @ d2"]
    assert records[1]["cycles_per_token"] == PASS + SAMPLE
    assert records[1]["provenance"] == "simulated"
    assert records[1]["breakdown"]["cycles"] == 4 * PASS


def test_csv_holds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(capsys, "csv"))))
    records = json.loads(printed(capsys, "json"))
    assert [list(row) for row in rows] == [list(record) for record in records]
    assert [float(row["avg_ts"]) for row in rows] == [record["avg_ts"] for record in records]
    assert json.loads(rows[0]["breakdown"]) == records[0]["breakdown"]


def test_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    tables = printed(capsys, "md").split("\n\n")
    assert len(tables) == 3
    for table in tables:
        lines = table.splitlines()
        assert len({line.count("|") for line in lines}) == 1
    assert "| tg4 @ d2 | 909.09 ± 0.00 | 1,100 |" in tables[0]
    cells = [line.split(" | ") for line in tables[2].splitlines()[2:]]
    shares = [float(cell[2].replace(",", "")) for cell in cells]
    assert sum(shares[:-1]) == pytest.approx(shares[-1], abs=4)


def test_tables_are_not_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "table")
    assert "simulated at 1 MHz" in text
    assert "…" not in text

"""Benchmarks in llama-bench's terms: ``pp`` (prompt processing) and ``tg`` (text generation)."""

import statistics
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jalgateware.contract.config import MAX_TOKENS
from jalgateware.golden.sampler import Sampling
from jalhost.engine.figures import bytes_needed, decoding, prefill_passes
from jalhost.engine.target import (
    Provenance,
    Request,
    Sampled,
    Target,
    TargetInfo,
    check_streams,
    choose_drafts,
)
from jalhost.errors import DeviceError, UsageError
from jalhost.models.convert import classifier_bytes, multiplications
from jalhost.models.image import Image
from jalhost.models.tokenizer import EOS

if TYPE_CHECKING:
    from jalhost.power.report import PowerReport
    from jalhost.power.session import Power

GREEDY = Sampling()


@dataclass(frozen=True)
class Workload:
    """What one line measures: ``prompt`` tokens read or ``generate`` tokens generated.

    One of them is 0. ``depth``: tokens that are in the KV cache before. ``streams``: how many
    texts are generated together. ``speculate``: whether the engine guesses tokens ahead.
    """

    prompt: int
    generate: int
    depth: int = 0
    streams: int = 1
    speculate: bool = False

    @property
    def name(self) -> str:
        """As llama-bench calls it: ``pp512``, ``tg128 @ d512``; ``tg128 x4`` are four streams."""
        name = f"pp{self.prompt}" if self.prompt else f"tg{self.generate}"
        name += f" x{self.streams}" if self.streams > 1 else ""
        name += " drafts" if self.speculate else ""
        return f"{name} @ d{self.depth}" if self.depth else name

    @property
    def tokens(self) -> int:
        """Tokens whose time counts, of all streams."""
        return self.prompt or self.generate * self.streams

    @property
    def start(self) -> int:
        """Prompt tokens of a stream before those that count; generation needs one."""
        return self.depth if self.prompt else max(1, self.depth)

    @property
    def positions(self) -> int:
        """Positions of the context that it takes."""
        return self.start + (self.prompt or self.generate)


WARM_UP = Workload(0, 1)


@dataclass(frozen=True)
class Sample:
    """One repetition.

    ``seconds`` and ``cycles`` (None without hardware) of the tokens that count, ``ttft_s`` of the
    whole prompt (None if not all of it was read), ``passes``: how often the weights were read for
    these tokens (None if unknown).
    """

    seconds: float
    cycles: int | None
    ttft_s: float | None
    passes: int | None


@dataclass(frozen=True)
class Result:
    """A test's repetitions, and what they had to do.

    ``bytes_needed`` and ``multiplications``: of all tokens that count in one repetition.
    ``breakdown``: cycles of these tokens by cause, of one more repetition, if asked for.
    ``cold_cache``: the depth's tokens were not read. ``power``: of the tokens that count.
    """

    test: Workload
    info: TargetInfo
    samples: tuple[Sample, ...]
    bytes_needed: int
    multiplications: int
    breakdown: dict[str, int] | None = None
    cold_cache: bool = False
    power: "PowerReport | None" = None

    @property
    def rates(self) -> list[float]:
        """Tokens per second of each repetition."""
        return [self.test.tokens / sample.seconds for sample in self.samples]

    @property
    def tokens_per_s(self) -> tuple[float, float]:
        """Mean and standard deviation, which is 0 for a single value, as in llama-bench."""
        rates = self.rates
        return statistics.mean(rates), statistics.stdev(rates) if len(rates) > 1 else 0.0

    @property
    def ttft_s(self) -> float | None:
        """Mean time to the first token; None if not all of the prompt was read."""
        times = [sample.ttft_s for sample in self.samples if sample.ttft_s is not None]
        return statistics.mean(times) if times else None

    @property
    def cycles_per_token(self) -> float | None:
        """Mean."""
        cycles = [sample.cycles for sample in self.samples if sample.cycles]
        return statistics.mean(cycles) / self.test.tokens if cycles else None

    @property
    def dram_utilisation(self) -> float | None:
        """Share of the DRAM port's bytes that the tokens needed."""
        return self._share(self.bytes_needed, self.info.port_bytes)

    @property
    def lanes_utilisation(self) -> float | None:
        """Share of the lanes' multiplications, one per token row, that matrices needed."""
        lanes = self.info.lanes
        return self._share(self.multiplications, lanes * self.info.token_rows if lanes else None)

    @property
    def tokens_per_pass(self) -> float | None:
        """Tokens for each time that the weights were read."""
        passes = self.samples[0].passes
        return self.test.tokens / passes if passes else None

    def _share(self, needed: int, per_cycle: int | None) -> float | None:
        cycles = self.cycles_per_token
        if not cycles or not per_cycle:
            return None
        return needed / (cycles * self.test.tokens * per_cycle)

    def as_dict(self) -> dict[str, Any]:
        """For JSON and CSV; names as in llama-bench where it has the same thing."""
        mean, deviation = self.tokens_per_s
        values = {
            "test": self.test.name,
            "n_prompt": self.test.prompt,
            "n_gen": self.test.generate,
            "n_depth": self.test.depth,
            "streams": self.test.streams,
            "speculate": self.test.speculate,
            "avg_ts": mean,
            "stddev_ts": deviation,
            "samples_ts": self.rates,
            "cycles_per_token": self.cycles_per_token,
            "dram_utilisation": self.dram_utilisation,
            "lanes_utilisation": self.lanes_utilisation,
            "tokens_per_weight_pass": self.tokens_per_pass,
            "ttft_s": self.ttft_s,
            "target": self.info.name,
            "gateware": self.info.gateware,
            "provenance": self.info.provenance.value,
            "cold_cache": self.cold_cache,
            "clock_hz": self.info.clock_hz,
        }
        values |= {"breakdown": self.breakdown} if self.breakdown else {}
        return values | ({"power": self.power.model_dump(mode="json")} if self.power else {})


def with_power(result: Result, power: "Power") -> Result:
    """A result with the energy of its tokens: their time at the mean power of its repetitions.

    Raises:
        JalError: the meter failed.
    """
    rate, _ = result.tokens_per_s
    tokens = result.test.tokens
    # Where there is a breakdown, the engine's last run was a part of it.
    return replace(result, power=power.report(tokens, tokens / rate, result.breakdown))


def make_tests(
    prompts: Sequence[int],
    generates: Sequence[int],
    depths: Sequence[int],
    streams: Sequence[int] = (1,),
    speculate: bool = False,
) -> list[Workload]:
    """All combinations, depth by depth; 0 tokens stand for no test of that kind.

    ``streams`` and ``speculate`` concern generation; where some tests have one stream, these alone
    speculate.
    """
    drafts = {number: speculate and (number == 1 or 1 not in streams) for number in streams}
    return [
        test
        for depth in depths
        for test in (
            *(Workload(prompt, 0, depth) for prompt in prompts if prompt),
            *(
                Workload(0, generate, depth, number, drafts[number])
                for generate in generates
                if generate
                for number in streams
            ),
        )
    ]


class Bench:
    """Runs tests on a target, with the weights of an image and prompts of random tokens.

    Args:
        target: where to run.
        image: its stop tokens are ignored, so that a test has the length that it should have.
        seed: of the prompts.
        cold_cache: whether to skip the tokens of a depth, all but the last one; the KV cache then
            holds whatever memory held. The tokens then mean nothing, and cost what they cost.
    """

    def __init__(
        self, target: Target, image: Image, seed: int = 0, cold_cache: bool = False
    ) -> None:
        self._target = target
        self._cold_cache = cold_cache
        self._image = replace(image, stop_tokens=())
        vocabulary = image.plan.architecture.vocabulary
        generator = np.random.default_rng(seed)
        context = image.plan.architecture.context
        # The special tokens come first.
        size = (MAX_TOKENS, context)
        tokens = generator.integers(min(EOS + 1, vocabulary - 1), vocabulary, size)
        self._prompts = [[image.tokenizer.start, *row[1:]] for row in tokens.tolist()]

    def load(self) -> None:
        """Makes the image the one that the target runs.

        Raises:
            JalError: the target cannot run it, or loading failed.
        """
        self._target.load(self._image)

    def check(self, test: Workload) -> None:
        """Refuses a test that does not fit the model or the gateware.

        Raises:
            UsageError: it needs more positions than the context has, or more token rows than there
            are, it guesses tokens behind a cold cache, or cannot be timed.
        """
        rows = self._target.info.token_rows
        check_streams(test.streams, rows)
        choose_drafts(test.speculate, test.streams, rows)
        if test.speculate and self._skipped(test):
            raise UsageError(
                f"{test.name} with a cold cache: how often a guess is right would mean nothing",
                "leave --speculate or --cold-cache out",
            )
        context = self._image.plan.architecture.context
        if test.positions > context:
            raise UsageError(
                f"{test.name} needs {test.positions} positions, the model's context is {context}",
                "lower -p, -n or -d",
            )
        if test.prompt and test.depth and self._target.info.provenance is Provenance.EMULATED:
            raise UsageError(
                f"{test.name} is a difference of two times, and the emulator's vary too much",
                "use --target sim, -p 0 or -d 0",
            )

    def warm_up(self) -> None:
        """A short run whose time does not count."""
        self._run(WARM_UP, 1, 2)

    def run(self, test: Workload, repetitions: int, breakdown: bool = False) -> Result:
        """Runs a test.

        Raises:
            UsageError: as :meth:`check`.
            JalError: the target failed.
        """
        self.check(test)
        measure = self._read if test.prompt else self._generate
        samples = tuple(measure(test) for _ in range(repetitions))
        counts = self._breakdown(test) if breakdown else None
        needed, products = self._work(test, samples[0].passes)
        cold = self._skipped(test) > 0
        return Result(test, self._target.info, samples, needed, products, counts, cold)

    def _skipped(self, test: Workload) -> int:
        """Tokens of a test's depth that no stream reads."""
        return max(0, test.start - 1) if self._cold_cache else 0

    def _run(self, test: Workload, prompt: int, generate: int) -> list[Sampled]:
        """Runs the prompts' first tokens but for those skipped; returns what is sampled."""
        skipped = self._skipped(test)
        prompts = tuple(tuple(tokens[skipped:prompt]) for tokens in self._prompts[: test.streams])
        rows = self._target.info.token_rows
        drafts = choose_drafts(test.speculate, test.streams, rows)
        request = Request(prompts, generate, GREEDY, drafts, skipped)
        with closing(self._target.run(request)) as samples:
            sampled = list(samples)
        expected = test.streams * generate
        if len(sampled) != expected:
            raise DeviceError(
                f"{self._target.info.name} sampled {len(sampled)} tokens, not {expected}",
                "try again",
            )
        return sampled

    def _passes(self) -> int | None:
        counters = self._target.counters()
        return counters["tokens"] if counters else None

    def _read(self, test: Workload) -> Sample:
        """Time to the first token, less that of the depth alone."""
        (end,) = self._run(test, test.depth + test.prompt, 1)
        passes = self._passes()
        if test.depth == 0:
            return Sample(end.seconds, end.cycles, end.seconds, passes)
        (start,) = self._run(test, test.depth, 1)
        cycles = _minus(end.cycles, start.cycles)
        passes = _minus(passes, self._passes())
        ttft = None if self._skipped(test) else end.seconds
        return Sample(end.seconds - start.seconds, cycles, ttft, passes)

    def _generate(self, test: Workload) -> Sample:
        """From the last stream's first sampled token to the last one of all."""
        span = decoding(self._run(test, test.start, test.generate + 1))
        assert span, "a run that samples has a first sample"
        skipped = self._skipped(test)
        read = [test.start - skipped] * test.streams
        before = prefill_passes(read, self._target.info.token_rows)
        ttft = None if skipped else span.start_s
        return Sample(span.seconds, span.cycles, ttft, _minus(self._passes(), before))

    def _work(self, test: Workload, passes: int | None) -> tuple[int, int]:
        """Bytes and multiplications that the tokens of a test need, in so many passes.

        Where the passes are not known there is no DRAM either; each token then has its own.
        """
        sampled = bool(test.generate)
        streams = [range(test.start, test.positions)] * test.streams
        needed = bytes_needed(self._image, streams, passes or test.tokens, sampled)
        products = test.tokens * multiplications(self._image, sampled)
        if test.prompt and test.depth == 0:
            # The token behind the prompt is sampled, too; with a depth that cancels out.
            needed += classifier_bytes(self._image)
            products += multiplications(self._image, True) - multiplications(self._image, False)
        return needed, products

    def _breakdown(self, test: Workload) -> dict[str, int] | None:
        """Counters of a test's tokens: of a run with them less those of a run without."""
        self._run(test, test.start + test.prompt, test.generate + 1)
        counts = self._target.counters()
        if counts is None or test.start == 0:
            return counts
        self._run(test, test.start, 1)
        before = self._target.counters()
        # Two runs differ by where a refresh falls.
        return before and {name: max(0, counts[name] - before[name]) for name in counts}


def _minus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a - b

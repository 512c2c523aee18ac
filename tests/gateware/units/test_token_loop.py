"""The token loop alone: which passes it runs, when it ends and what it waits for."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from jalgateware.units.token_loop import TokenLoop
from jaltest.gateware import Clock, Process, Receiver, Sender, pulse, simulate

Pass = tuple[int, int, int]
"""Token, position, whether it samples."""


@dataclass
class Bench:
    """A token loop whose passes take a random while and sample ``100 + position``."""

    prompt: Sequence[int]
    count: int
    position: int = 0
    context: int = 1 << 16
    stop_tokens: Sequence[int] = ()
    stall: float = 0.0
    """Probability that prompt or output pause in a cycle."""
    passes: list[Pass] = field(default_factory=list)
    cycles: int = 0
    waits: int = 0
    drawn: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.unit = TokenLoop()
        self.clock = Clock()
        source = self.unit.output
        fields = [source.token, source.cycles]
        self.output = Receiver(source, fields, self.clock, self.stall, seed=3)

    def engine(self) -> Process:
        yield "passive"
        unit, pick = self.unit, random.Random(1)
        while True:
            yield unit.pass_ready.eq(0)
            for _ in range(pick.randrange(5)):
                yield
                assert not (yield unit.pass_start)
            yield unit.pass_ready.eq(1)
            while not (yield unit.pass_start):
                yield
            yield unit.pass_ready.eq(0)
            self.passes.append(((yield unit.token), (yield unit.position), (yield unit.sample)))
            for _ in range(pick.randrange(1, 20)):
                yield
            # The sampler's token stays; without a sample it is an older one.
            if self.passes[-1][2]:
                yield unit.sampled_token.eq(100 + self.passes[-1][1])
                self.drawn.append(self.clock.cycle)
            yield from pulse(unit.pass_done)

    def main(self) -> Process:
        unit = self.unit
        yield unit.first_position.eq(self.position)
        yield unit.generate_count.eq(self.count)
        yield unit.context.eq(self.context)
        for signal, token in zip(unit.stop_tokens, self.stop_tokens, strict=False):
            yield signal.eq(token)
        yield from pulse(unit.start)
        yield
        assert (yield unit.running)
        while (yield unit.running):
            self.cycles += 1
            self.waits += yield unit.waits
            assert self.cycles < 20000
            yield
        for _ in range(30):
            yield
            assert not (yield unit.pass_start)

    def run(self) -> None:
        prompt = self.unit.prompt
        last = len(self.prompt) - 1
        tokens = [(token, int(number == last)) for number, token in enumerate(self.prompt)]
        feeder = Sender(prompt, [prompt.token, prompt.final], tokens, self.stall, seed=2)

        def feed() -> Process:
            yield "passive"
            yield from feeder.process()

        processes = [self.clock.process(), self.main(), self.engine(), feed()]
        simulate(self.unit, [*processes, self.output.process()])

    @property
    def tokens(self) -> list[Any]:
        return [token for token, _ in self.output.values]


@pytest.mark.parametrize("stall", [0.0, 0.8])
@pytest.mark.parametrize("prompt", [[7], [7, 8, 9]])
def test_prompt_then_samples(prompt: list[int], stall: float) -> None:
    bench = Bench(prompt, count=4, position=20, stall=stall)
    bench.run()
    last = 20 + len(prompt) - 1
    fed = [(token, 20 + n, int(token == prompt[-1])) for n, token in enumerate(prompt)]
    assert bench.passes == fed + [(100 + p, p + 1, 1) for p in range(last, last + 3)]
    assert bench.tokens == [100 + p for p in range(last, last + 4)]


def test_a_single_sample() -> None:
    bench = Bench([5], count=1)
    bench.run()
    assert (bench.passes, bench.tokens) == ([(5, 0, 1)], [100])


@pytest.mark.parametrize(("index", "enabled"), [(0, True), (3, True), (1, False)])
def test_stop_tokens(index: int, enabled: bool) -> None:
    stops = [0, 0, 0, 0]
    stops[index] = 102 | int(enabled) << 31
    bench = Bench([5], count=6, stop_tokens=stops)
    bench.run()
    assert bench.tokens == ([100, 101, 102] if enabled else [100, 101, 102, 103, 104, 105])


@pytest.mark.parametrize("position", [0, 5, 7, 8])
def test_the_context_ends_the_run(position: int) -> None:
    bench = Bench([5], count=20, position=position, context=8)
    bench.run()
    assert [p for _, p, _ in bench.passes] == list(range(position, 8))
    assert bench.tokens == list(range(100 + position, 108))


def test_the_last_position_of_all() -> None:
    bench = Bench([5], count=20, position=0xFFFE, context=1 << 16)
    bench.run()
    assert [p for _, p, _ in bench.passes] == [0xFFFE, 0xFFFF]


def test_what_the_host_delays_is_waiting() -> None:
    """Waiting for a token of the prompt, or for room for a sample; nothing else."""
    fast, slow = Bench([5, 6, 7], count=3), Bench([5, 6, 7], count=3, stall=0.9)
    fast.run()
    slow.run()
    assert fast.waits <= 3
    assert slow.waits > 10
    assert slow.cycles - slow.waits < fast.cycles + 30


@pytest.mark.parametrize("stall", [0.0, 0.9])
def test_samples_carry_the_cycle_in_which_they_were_drawn(stall: float) -> None:
    bench = Bench([5], count=5, stall=stall)
    bench.run()
    start = bench.clock.cycle - bench.cycles - 31
    # pass_done comes a cycle behind the token.
    assert [cycles for _, cycles in bench.output.values] == [d - start for d in bench.drawn]


def test_samples_follow_at_once() -> None:
    bench = Bench([5], count=5)
    bench.run()
    assert [a - d for a, d in zip(bench.output.arrivals, bench.drawn, strict=True)] == [2] * 5

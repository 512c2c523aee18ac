"""The token loop alone: which passes it runs, when it ends and what it waits for."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.drafting import SETS
from jalgateware.units.token_loop import TokenLoop
from jaltest.gateware import Clock, Process, Receiver, Sender, pulse, simulate

Model = Callable[[Sequence[int]], int]
"""The next token of a sequence."""


def counting(tokens: Sequence[int]) -> int:
    """Behind the first position, each token is the one before plus one, from 100 on."""
    return 100 + len(tokens) - 1


def rhythmic(tokens: Sequence[int]) -> int:
    """Repeats itself, but for a change now and then: drafts are often right, not always."""
    return (tokens[-1] + 1 + (len(tokens) // 11) % 2) % 5


def mixed(tokens: Sequence[int]) -> int:
    """Depends on all tokens."""
    return random.Random(str(list(tokens))).randrange(1000)


@dataclass(frozen=True)
class Pass:
    """A pass as the loop started it."""

    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    sequences: tuple[int, ...]
    shared: bool
    sample: bool


@dataclass
class Bench:
    """A token loop whose passes take a random while, and a model that sees what was cached."""

    prompts: Sequence[Sequence[int]]
    count: int
    position: int = 0
    context: int = 1 << 16
    rows: int = 1
    drafts: int = 0
    stop_tokens: Sequence[int] = ()
    stall: float = 0.0
    """Probability that prompt or output pause in a cycle."""
    model: Model = counting
    passes: list[Pass] = field(default_factory=list)
    cycles: int = 0
    waits: int = 0
    drawn: list[int] = field(default_factory=list)
    started: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.unit = TokenLoop(EngineConfig(tokens=self.rows))
        self.clock = Clock()
        source = self.unit.output
        fields = [source.token, source.stream, source.cycles]
        self.output = Receiver(source, fields, self.clock, self.stall, seed=3)
        # By sequence: the tokens at its positions, counted from the first one.
        self.caches: list[dict[int, int]] = [{} for _ in self.prompts]

    def take(self) -> Process:
        """The pass that starts, and its samples."""
        unit, items = self.unit, []
        for row in range((yield unit.last_row) + 1):
            token, position = (yield unit.tokens[row]), (yield unit.positions[row])
            items.append((token, position - self.position, (yield unit.sequences[row])))
        tokens, positions, sequences = zip(*items, strict=True)
        shared = bool((yield unit.shared))
        now = Pass(tokens, positions, sequences, shared, bool((yield unit.sample)))
        self.passes.append(now)
        if shared:
            assert set(sequences) == {sequences[0]}
            assert [p - positions[0] for p in positions] == list(range(len(positions)))
        else:
            assert len(set(sequences)) == len(sequences)
        samples = []
        for token, position, sequence in items:
            assert self.position + position < self.context
            cache = self.caches[sequence]
            cache[position] = token
            assert set(range(position)) <= set(cache), "a position was left out"
            samples.append(self.model([cache[p] for p in range(position + 1)]))
        return samples

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
            self.started.append(self.clock.cycle)
            samples = yield from self.take()
            for _ in range(pick.randrange(1, 20)):
                yield
            # The sampler's tokens stay; without a sample they are older ones.
            if self.passes[-1].sample:
                for signal, token in zip(unit.sampled_tokens, samples, strict=False):
                    yield signal.eq(token)
                self.drawn.append(self.clock.cycle)
            yield from pulse(unit.pass_done)

    def main(self) -> Process:
        unit = self.unit
        yield unit.first_position.eq(self.position)
        yield unit.generate_count.eq(self.count)
        yield unit.context.eq(self.context)
        yield unit.streams.eq(len(self.prompts))
        yield unit.most_drafts.eq(self.drafts)
        for signal, token in zip(unit.stop_tokens, self.stop_tokens, strict=False):
            yield signal.eq(token)
        yield from pulse(unit.start)
        yield
        assert (yield unit.running)
        while (yield unit.running):
            self.cycles += 1
            self.waits += yield unit.waits
            assert self.cycles < 40000
            yield
        for _ in range(30):
            yield
            assert not (yield unit.pass_start)

    def run(self, engine: Process | None = None) -> None:
        prompt = self.unit.prompt
        words = [
            (token, stream, int(number == len(tokens)))
            for stream, tokens in enumerate(self.prompts)
            for number, token in enumerate(tokens, 1)
        ]
        fields = [prompt.token, prompt.stream, prompt.final]
        feeder = Sender(prompt, fields, words, self.stall, seed=2)

        def feed() -> Process:
            yield "passive"
            yield from feeder.process()

        processes = [self.clock.process(), self.main(), engine or self.engine(), feed()]
        simulate(self.unit, [*processes, self.output.process()])

    @property
    def streams(self) -> list[list[int]]:
        """Samples of each stream."""
        return [
            [token for token, which, _ in self.output.values if which == stream]
            for stream in range(len(self.prompts))
        ]

    def expected(self) -> list[list[int]]:
        """Each stream on its own, token by token."""
        enabled = [token - (1 << 31) for token in self.stop_tokens if token >> 31]
        found = []
        for prompt in self.prompts:
            sequence, samples = list(prompt), []
            while self.position + len(sequence) <= self.context:
                samples.append(self.model(sequence))
                sequence.append(samples[-1])
                if len(samples) >= self.count or samples[-1] in enabled:
                    break
            found.append(samples)
        return found

    def check(self) -> None:
        self.run()
        assert self.streams == self.expected()


@pytest.mark.parametrize("stall", [0.0, 0.8])
@pytest.mark.parametrize("prompt", [[7], [7, 8, 9]])
def test_prompt_then_samples(prompt: list[int], stall: float) -> None:
    bench = Bench([prompt], count=4, position=20, stall=stall)
    bench.check()
    last = len(prompt) - 1
    fed = [Pass((t,), (n,), (0,), True, n == last) for n, t in enumerate(prompt)]
    own = [Pass((100 + p,), (p + 1,), (0,), True, True) for p in range(last, last + 3)]
    assert bench.passes == fed + own


@pytest.mark.parametrize("rows", [1, 4])
def test_a_single_sample(rows: int) -> None:
    bench = Bench([[5]], count=1, rows=rows)
    bench.check()
    assert bench.passes == [Pass((5,), (0,), (0,), True, True)]
    assert bench.streams == [[100]]


@pytest.mark.parametrize("rows", [2, 3, 4])
@pytest.mark.parametrize("length", [1, 2, 4, 5, 9])
def test_a_prompt_takes_as_few_passes_as_it_can(length: int, rows: int) -> None:
    prompt = list(range(3, 3 + length))
    bench = Bench([prompt], count=2, rows=rows, model=mixed, stall=0.5)
    bench.check()
    starts = range(0, length, rows)
    assert [now.tokens for now in bench.passes[: len(starts)]] == [
        tuple(prompt[start : start + rows]) for start in starts
    ]
    # Only the pass with the prompt's last token samples.
    assert [now.sample for now in bench.passes] == [False] * (len(starts) - 1) + [True, True]


@pytest.mark.parametrize("stall", [0.0, 0.7])
@pytest.mark.parametrize(
    ("rows", "lengths"), [(2, [3, 1]), (3, [1, 4, 2]), (4, [5, 1]), (4, [1, 2, 9, 4])]
)
def test_streams_share_passes(rows: int, lengths: list[int], stall: float) -> None:
    prompts = [list(range(10 * s, 10 * s + n)) for s, n in enumerate(lengths)]
    bench = Bench(prompts, count=4, rows=rows, model=mixed, stall=stall)
    bench.check()
    together = bench.passes[sum(-(-n // rows) for n in lengths) :]
    assert [now.sequences for now in together] == [tuple(range(len(lengths)))] * 3
    assert not any(now.shared for now in together)


def test_streams_end_one_by_one() -> None:
    """By a stop token, by the context, by the count: the others go on."""
    prompts = [[1] * 13, [2], [3, 4]]
    free = Bench(prompts, count=6, rows=4, context=16, model=mixed)
    free.check()
    assert [len(tokens) for tokens in free.streams] == [4, 6, 6]
    stop = free.streams[1][2]
    bench = Bench(
        prompts, 6, rows=4, context=16, model=mixed, stop_tokens=[stop | 1 << 31], stall=0.3
    )
    bench.check()
    assert [len(tokens) for tokens in bench.streams] == [4, 3, 6]
    assert bench.passes[-1].sequences == (2,)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("index", "enabled"), [(0, True), (3, True), (1, False)])
def test_stop_tokens(index: int, enabled: bool, rows: int) -> None:
    stops = [0, 0, 0, 0]
    stops[index] = 102 | int(enabled) << 31
    bench = Bench([[5]], count=6, stop_tokens=stops, rows=rows)
    bench.check()
    assert bench.streams == [[100, 101, 102] if enabled else [100, 101, 102, 103, 104, 105]]


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("position", [0, 5, 7, 8])
def test_the_context_ends_the_run(position: int, rows: int) -> None:
    bench = Bench([[5]], count=20, position=position, context=8, rows=rows)
    bench.run()
    assert [now.positions for now in bench.passes] == [(p,) for p in range(8 - position)]
    assert bench.streams == [list(range(100, 108 - position))]


@pytest.mark.parametrize("drafts", [0, 3])
def test_the_last_position_of_all(drafts: int) -> None:
    bench = Bench(
        [[5]], 20, position=0xFFFC, context=1 << 16, rows=4, drafts=drafts, model=rhythmic
    )
    bench.check()
    assert bench.passes[-1].positions[-1] == 3


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize(("rows", "drafts"), [(2, 1), (3, 2), (4, 1), (4, 3), (2, 3)])
def test_drafts_change_nothing_but_the_number_of_passes(
    rows: int, drafts: int, stall: float
) -> None:
    bench = Bench([[1, 2, 3]], 60, rows=rows, drafts=drafts, model=rhythmic, stall=stall)
    bench.check()
    prefill = -(-3 // rows)
    assert all(len(now.tokens) <= 1 + min(drafts, rows - 1) for now in bench.passes[prefill:])
    assert len(bench.passes) < prefill + 50


def test_wrong_drafts_cost_nothing() -> None:
    """Nothing repeats itself as the drafts say: one sample per pass."""

    def rising(tokens: Sequence[int]) -> int:
        return 3 if len(tokens) % 2 else len(tokens)

    bench = Bench([[3]], 20, rows=4, drafts=3, model=rising)
    bench.check()
    assert any(len(now.tokens) > 1 for now in bench.passes)


@pytest.mark.parametrize("count", range(4, 12))
def test_drafts_stop_at_the_count(count: int) -> None:
    bench = Bench([[1, 1, 1]], count, rows=4, drafts=3, model=lambda tokens: 1)
    bench.check()
    drawn = 1
    for now in bench.passes[1:]:
        assert now.positions[-1] < 3 + count - 1
        drawn += len(now.tokens)
    assert drawn == count


@pytest.mark.parametrize("context", range(8, 14))
def test_drafts_stop_at_the_context(context: int) -> None:
    bench = Bench([[1, 1, 1]], 99, context=context, rows=4, drafts=3, model=lambda tokens: 1)
    bench.check()
    assert bench.passes[-1].positions[-1] == context - 1


@pytest.mark.parametrize("stop", range(3))
def test_a_stop_token_among_drafts_ends_the_run(stop: int) -> None:
    def cycling(tokens: Sequence[int]) -> int:
        return 9 if len(tokens) == 30 + stop else tokens[-3:][0]

    bench = Bench([[1, 2, 3]], 99, rows=4, drafts=3, model=cycling, stop_tokens=[9 | 1 << 31])
    bench.check()
    assert bench.streams[0][-1] == 9


def test_several_streams_do_not_draft() -> None:
    bench = Bench([[1, 1], [1, 1]], 20, rows=4, drafts=3, model=lambda tokens: 1)
    bench.check()
    assert all(len(now.tokens) == 2 for now in bench.passes)


@pytest.mark.parametrize("rows", [1, 3])
def test_what_the_host_delays_is_waiting(rows: int) -> None:
    """Waiting for a token of the prompt, or for room for a sample; nothing else."""
    fast, slow = (Bench([[5, 6, 7]], count=3, rows=rows, stall=stall) for stall in (0.0, 0.9))
    fast.run()
    slow.run()
    assert fast.waits <= 3
    assert slow.waits > 10
    assert slow.cycles - slow.waits < fast.cycles + 30


def test_the_drafter_is_not_the_host() -> None:
    """It forgets the run before, and learns the prompt, before a pass begins."""
    bench = Bench([[5, 6, 7]], count=3, rows=4, drafts=3)
    bench.run()
    assert bench.waits <= 3
    assert bench.cycles > SETS


@pytest.mark.parametrize("stall", [0.0, 0.9])
@pytest.mark.parametrize("prompts", [[[5]], [[5], [6], [7, 7]]])
def test_samples_carry_the_cycle_in_which_they_were_drawn(
    prompts: list[list[int]], stall: float
) -> None:
    bench = Bench(prompts, count=5, stall=stall, rows=len(prompts))
    bench.run()
    start = bench.clock.cycle - bench.cycles - 31
    # pass_done comes a cycle behind the tokens.
    together = [len(now.sequences) if not now.shared else 1 for now in bench.passes if now.sample]
    drawn = [d - start for d, n in zip(bench.drawn, together, strict=True) for _ in range(n)]
    assert [cycles for *_, cycles in bench.output.values] == drawn


@pytest.mark.parametrize("rows", [1, 4])
def test_samples_follow_at_once(rows: int) -> None:
    """One cycle behind ``pass_done`` the first one, then one by one."""
    bench = Bench([[5]] * rows, count=5, rows=rows)
    bench.run()
    arrivals, drawn = bench.output.arrivals[rows:], bench.drawn[rows:]
    assert [a - d for a, d in zip(arrivals[::rows], drawn, strict=True)] == [2] * 4
    for first in range(0, len(arrivals), rows):
        assert arrivals[first + rows - 1] - arrivals[first] == rows - 1


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_latency_from_a_pass_to_the_next(rows: int) -> None:
    bench = Bench([[5]] * rows, count=5, rows=rows)
    unit, delays = bench.unit, []

    def engine() -> Process:
        """As fast as can be."""
        yield "passive"
        yield unit.pass_ready.eq(1)
        done = 0
        while True:
            if (yield unit.pass_start):
                if done:
                    delays.append(bench.clock.cycle - done)
                yield from pulse(unit.pass_done)
                done = bench.clock.cycle
            yield

    bench.run(engine())
    assert set(delays[rows:]) == {5 + 2 * (rows - 1)}

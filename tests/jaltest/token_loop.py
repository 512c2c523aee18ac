"""The token loop between a prompt, a model that sees what was cached, and a consumer."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jalgateware.contract.config import EngineConfig
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

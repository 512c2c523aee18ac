"""The drafter against its golden model."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from jalgateware.contract.drafting import ORDERS, PRELOADED_WAYS, SETS, TABLE_WORDS
from jalgateware.golden import drafter as golden
from jalgateware.units.drafter import Drafter
from jaltest.gateware import Clock, Process, pulse, simulate, wait_for


@dataclass
class Bench:
    """A drafter and its golden model, which do the same."""

    table: dict[int, int] = field(default_factory=dict)
    """Entries by their address."""
    drafts: int = 3

    def __post_init__(self) -> None:
        self.unit = Drafter(self.drafts)
        self.clock = Clock()
        words = [self.table.get(address, 0) for address in range(TABLE_WORDS)]
        self.golden = golden.Drafter(words)
        self.drafted: list[list[int]] = []

    def load(self) -> Process:
        unit = self.unit
        for address, word in self.table.items():
            yield unit.table_address.eq(address)
            yield unit.table_data.eq(word)
            yield from pulse(unit.table_write)
        yield from wait_for(unit.learn.ready)

    def clear(self) -> Process:
        self.golden.clear()
        yield from pulse(self.unit.clear)
        yield

    def learn(self, tokens: Sequence[int]) -> Process:
        """Offers one token after the other, without a pause; returns once the last is taken."""
        stream = self.unit.learn
        yield stream.valid.eq(1)
        for token in tokens:
            self.golden.learn(token)
            yield stream.token.eq(token)
            yield
            yield from wait_for(stream.ready)
        yield stream.valid.eq(0)

    def draft(self, most: int) -> Process:
        """Compares a draft; returns the cycles from the request to the answer."""
        unit = self.unit
        yield unit.most.eq(most)
        start = self.clock.cycle
        yield from pulse(unit.draft)
        yield unit.most.eq(0)
        yield from wait_for(unit.done)
        cycles = self.clock.cycle - start - 1
        tokens = []
        for signal in unit.tokens[: (yield unit.count)]:
            tokens.append((yield signal))
        expected = self.golden.draft(most)
        assert tokens == expected
        self.drafted.append(expected)
        yield
        assert not (yield unit.done)
        return cycles

    def run(self, main: Process) -> None:
        simulate(self.unit, [self.clock.process(), self._main(main)])

    def _main(self, main: Process) -> Process:
        yield from self.load()
        yield from main


def random_table(pick: random.Random, texts: Sequence[Sequence[int]]) -> dict[int, int]:
    """Entries for contexts of some texts, with tokens of their own; some twice, some in vain."""
    table = {}
    for text in texts:
        for end in range(1, len(text)):
            for key in golden.keys(text[max(0, end - ORDERS) : end]):
                for way in range(PRELOADED_WAYS):
                    if pick.random() < 0.2:
                        entry = golden.entry(key, pick.choice(text))
                        entry ^= pick.choice([0, 0, 0, 1 << 16, 1 << 30, 1 << 31])
                        table[way * SETS + golden.set_of(key)] = entry
    return table


@pytest.mark.parametrize("preloaded", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_random_streams(seed: int, preloaded: bool) -> None:
    """Few different tokens, so that contexts come again."""
    pick = random.Random(seed)
    vocabulary = [pick.choice([1, 7, 300, 65535, 65536, 1 << 23]) + n for n in range(6)]
    texts = [[pick.choice(vocabulary) for _ in range(60)] for _ in range(2)]
    bench = Bench(random_table(pick, texts) if preloaded else {}, drafts=pick.choice([1, 2, 3]))

    def main() -> Process:
        for _ in range(2):
            for text in texts:
                rest = list(text)
                while rest:
                    count = pick.randrange(1, 5)
                    yield from bench.learn(rest[:count])
                    rest = rest[count:]
                    for _ in range(pick.choice([0, 0, 3, 9])):
                        yield
                    yield from bench.draft(pick.randrange(bench.drafts + 1))
            yield from bench.clear()

    bench.run(main())
    counts = {len(drafts) for drafts in bench.drafted}
    assert counts == set(range(bench.drafts + 1))


@pytest.mark.parametrize("pause", range(12))
def test_learning_leaves_nothing_behind(pause: int) -> None:
    """What was known of the context before is no answer for the one after."""
    bench = Bench()

    def main() -> Process:
        yield from bench.learn([8, 1, 2, 8, 1, 3])
        for _ in range(pause):
            yield
        yield from bench.draft(1)

    bench.run(main())
    assert bench.drafted == [[]]


def test_a_run_learns_from_itself_alone() -> None:
    bench = Bench()

    def main() -> Process:
        yield from bench.learn([1, 2, 3, 4, 5, 1, 2])
        yield from bench.draft(3)
        yield from bench.clear()
        yield from bench.draft(3)
        yield from bench.learn([1, 2])
        yield from bench.draft(3)

    bench.run(main())
    assert bench.drafted == [[3, 4, 5], [], []]


def test_nothing_is_learnt_of_tokens_that_do_not_fit() -> None:
    bench = Bench()

    def main() -> Process:
        yield from bench.learn([5, 1 << 16, 5, 0xFFFE, 5])
        yield from bench.draft(3)
        yield from bench.learn([9, 9, 1 << 23, 9, 9])
        yield from bench.draft(3)

    bench.run(main())
    assert bench.drafted[0][0] == 0xFFFE
    assert bench.drafted[1] == [9, 9, 9]


def test_the_longest_context_counts_then_the_first_way() -> None:
    text = [1, 2, 3, 4]
    *_, third, fourth = golden.keys(text)
    short = next(golden.keys(text))
    table = {}
    for way, key, token in ((0, short, 10), (2, third, 11), (0, fourth, 12), (1, fourth, 13)):
        table[way * SETS + golden.set_of(key)] = golden.entry(key, token)
    bench = Bench(table)

    def main() -> Process:
        yield from bench.learn([*text, 9, *text])
        yield from bench.draft(1)

    bench.run(main())
    assert bench.drafted == [[12]]


@pytest.mark.parametrize("place", [0, 1, SETS - 1])
def test_every_set_is_emptied(place: int) -> None:
    contexts = ((token, next(golden.keys([token]))) for token in range(1 << 16))
    token = next(token for token, key in contexts if golden.set_of(key) == place)
    bench = Bench()

    def main() -> Process:
        yield from bench.learn([token, 5, token])
        yield from bench.draft(1)
        yield from bench.clear()
        yield from bench.learn([token])
        yield from bench.draft(1)

    bench.run(main())
    assert bench.drafted == [[5], []]


def test_a_clear_interrupts_everything() -> None:
    bench = Bench()

    def main() -> Process:
        for pause in range(0, 40, 3):
            yield from bench.learn([6, 7, 6, 7, 6])
            yield bench.unit.most.eq(3)
            yield from pulse(bench.unit.draft)
            for _ in range(pause):
                yield
            yield from bench.clear()
            for _ in range(SETS + 2 * Drafter.DRAFT_CYCLES):
                assert not (yield bench.unit.done)
                yield
            yield from bench.learn([6])
            yield from bench.draft(2)

    bench.run(main())
    assert bench.drafted == [[]] * 14


def test_cycles() -> None:
    bench = Bench()

    def main() -> Process:
        yield from bench.learn([1])
        start = bench.clock.cycle
        yield from bench.learn([2, 3, 1])
        assert bench.clock.cycle - start == 3 * Drafter.LEARN_CYCLES
        for _ in range(Drafter.LEARN_CYCLES):
            yield
        for most in range(4):
            cycles = yield from bench.draft(most)
            assert cycles == Drafter.START_CYCLES + most * Drafter.DRAFT_CYCLES
        yield from bench.clear()
        cleared = yield from bench.draft(3)
        assert cleared <= SETS + Drafter.START_CYCLES + Drafter.DRAFT_CYCLES
        unknown = yield from bench.draft(3)
        assert unknown == Drafter.START_CYCLES + Drafter.DRAFT_CYCLES

    bench.run(main())


@pytest.mark.parametrize("drafts", [0, 4])
def test_number_of_drafts(drafts: int) -> None:
    with pytest.raises(ValueError, match=f"drafts is 1 to 3, not {drafts}"):
        Drafter(drafts)

"""The sampler against the golden model."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import INVERSE_TEMPERATURE, POSITION_BITS, VECTOR
from jalgateware.contract.isa import FIELDS
from jalgateware.golden.sampler import Sampling, gumbel, hash32, noise_key, sample
from jalgateware.units.sampler import Sampler
from jaltest.gateware import Process, pulse, simulate

LATENCY = Sampler(EngineConfig()).latency
INDICES = 1 << FIELDS["rows"][1]


@dataclass
class Pass:
    """One pass: its sampling parameters, and rows of (index, logit)."""

    rows: Sequence[tuple[int, int]]
    sampling: Sampling = field(default_factory=Sampling)
    position: int = 0
    gaps: float = 0.0

    def golden(self) -> int:
        """The golden model's token, where rows that are missing have no chance."""
        logits = np.full(self.rows[-1][0] + 1, 16 * VECTOR.minimum, dtype=np.int64)
        for index, logit in self.rows:
            logits[index] = logit
        return sample(logits, self.sampling, self.position)


Group = list[Pass]
"""What the token rows of a pass do; they share temperature and gaps."""


def begin(unit: Sampler, group: Group) -> Process:
    """Starts a pass and waits for the keys."""
    for row, case in enumerate(group):
        yield unit.seeds[row].eq(case.sampling.seed)
        yield unit.positions[row].eq(case.position)
    yield unit.last_row.eq(len(group) - 1)
    yield unit.inverse_temperature.eq(group[0].sampling.inverse_temperature)
    yield from pulse(unit.start)
    yield unit.inverse_temperature.eq(1)
    if not unit.key_latency:
        yield
    for cycle in range(1, unit.key_latency + 1):
        yield
        assert not (yield unit.done)
        assert (yield unit.ready) == (cycle == unit.key_latency)
    # What the keys were made of may change.
    for signal in (*unit.seeds, *unit.positions):
        yield signal.eq(1)


def logits_of(group: Group) -> list[tuple[int, int, int, int]]:
    """(token row, index, logit, last): two of each token row in turn, as the vector unit does."""
    longest = max(len(case.rows) for case in group)
    return [
        (row, *case.rows[number], int(number == len(case.rows) - 1))
        for pair in range(0, longest, 2)
        for row, case in enumerate(group)
        for number in range(pair, min(pair + 2, len(case.rows)))
    ]


def send(unit: Sampler, group: Group, pick: random.Random) -> Process:
    """Sends the logits; returns in the cycle of the last one."""
    for row, index, logit, last in logits_of(group):
        while pick.random() < group[0].gaps:
            yield from noise(unit, pick)
        yield unit.row.eq(row)
        yield unit.index.eq(index)
        yield unit.logit.eq(logit)
        yield unit.last.eq(last)
        yield unit.valid.eq(1)
        yield
        assert not (yield unit.done)
    yield unit.valid.eq(0)


def noise(unit: Sampler, pick: random.Random) -> Process:
    """A cycle without a row."""
    for signal in (unit.index, unit.logit, unit.last, unit.row):
        yield signal.eq(pick.getrandbits(len(signal)))
    yield unit.valid.eq(0)
    yield


def finish(unit: Sampler, group: Group, pick: random.Random) -> Process:
    """Waits for the tokens and returns them; ``done`` is high for exactly one cycle."""
    for _ in range(unit.latency):
        assert not (yield unit.done)
        yield from noise(unit, pick)
        assert (yield unit.ready) == (not unit.key_latency)
    assert (yield unit.done)
    tokens = []
    for row in range(len(group)):
        tokens.append((yield unit.tokens[row]))
    yield
    assert not (yield unit.done)
    for row, token in enumerate(tokens):
        assert (yield unit.tokens[row]) == token
    return tokens


def run_groups(
    groups: list[Group], tokens: int, seed: int = 0, drawing: bool = True
) -> list[list[int]]:
    """The tokens of passes, one after another in one sampler, with noise or without."""
    config = EngineConfig(tokens=tokens, noise=drawing)
    unit, pick = Sampler(config), random.Random(seed)
    found: list[list[int]] = []

    def main() -> Process:
        for group in groups:
            yield from begin(unit, group)
            yield from send(unit, group, pick)
            found.append((yield from finish(unit, group, pick)))

    simulate(unit, [main()])
    return found


def run(cases: list[Pass]) -> list[int]:
    """As before, with one token row."""
    return [tokens[0] for tokens in run_groups([[case] for case in cases], 1)]


def check(cases: list[Pass]) -> None:
    assert run(cases) == [case.golden() for case in cases]


logits = st.lists(
    st.integers(-20 << 16, 20 << 16)
    | st.sampled_from([VECTOR.minimum, VECTOR.maximum, 0])
    | st.integers(VECTOR.minimum, VECTOR.maximum),
    min_size=1,
    max_size=60,
)


@given(
    values=logits,
    inverse=st.integers(0, INVERSE_TEMPERATURE.maximum) | st.sampled_from([0, 1, 5909]),
    seed=st.integers(0, (1 << 32) - 1),
    position=st.integers(0, (1 << POSITION_BITS) - 1),
    gaps=st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=20)
def test_any_pass(values: list[int], inverse: int, seed: int, position: int, gaps: float) -> None:
    check([Pass(list(enumerate(values)), Sampling(inverse, seed), position, gaps)])


@given(
    indices=st.lists(st.integers(0, INDICES - 1), min_size=1, max_size=20, unique=True),
    logit=st.integers(-(1 << 24), 1 << 24),
    temperature=st.sampled_from([0.5, 1.0, 8.0]),
    seed=st.integers(0, (1 << 32) - 1),
)
@settings(max_examples=10)
def test_any_index(indices: list[int], logit: int, temperature: float, seed: int) -> None:
    """Equal logits: the noise of the index alone decides."""
    rows = [(index, logit) for index in sorted(indices)]
    check([Pass(rows, Sampling.from_temperature(temperature, seed), position=77)])


@pytest.mark.parametrize("temperature", [0.0, 0.05, 0.8, 1.0, 20.0])
def test_passes_follow_each_other(temperature: float) -> None:
    pick = np.random.default_rng(7)
    cases = []
    for position in range(12):
        values = (pick.normal(0, 3, size=40) * 65536).astype(int).tolist()
        sampling = Sampling.from_temperature(temperature, seed=1234)
        cases.append(Pass(list(enumerate(values)), sampling, position))
    check(cases)
    if temperature == 20.0:
        assert len(set(run(cases))) > 6, "hot samples differ"


@pytest.mark.parametrize("position", range(4))
def test_scaled_logits_round_half_up(position: int) -> None:
    """Half of an odd logit is chosen to win by one when rounded up, and to draw when not."""
    sampling = Sampling(inverse_temperature=1 << (INVERSE_TEMPERATURE.fraction - 1), seed=5)
    key = noise_key(sampling.seed, position)
    first, second = gumbel(hash32(np.array([0, 1]) ^ key)).tolist()
    rows = [(0, 2 * second), (1, 2 * first + 1)]
    assert run([Pass(rows, sampling, position)]) == [Pass(rows, sampling, position).golden()] == [1]


def test_first_of_equals_wins() -> None:
    equal = [(index, 5 << 16) for index in range(9)]
    lowest = [(index, VECTOR.minimum) for index in range(9)]
    late = [(0, -3), (1, -2), (2, -1), (3, -1), (4, -2)]
    assert run([Pass(equal), Pass(lowest), Pass(late)]) == [0, 0, 2]


def test_best_of_a_pass_does_not_reach_into_the_next() -> None:
    assert run([Pass([(0, 1), (1, VECTOR.maximum)]), Pass([(0, -9), (1, -8), (2, -9)])]) == [1, 1]


@pytest.mark.parametrize("temperature", [0.0, 0.8, 20.0])
@pytest.mark.parametrize(("tokens", "gaps"), [(2, 0.0), (3, 0.5), (4, 0.0)])
def test_token_rows_draw_on_their_own(tokens: int, gaps: float, temperature: float) -> None:
    """Rows of one sequence have a seed in common, those of several a position at times."""
    pick, groups = np.random.default_rng(tokens), []
    for number in range(6):
        group = []
        for row in range(tokens if number % 2 else 1 + number % tokens):
            values = (pick.normal(0, 3, size=21) * 65536).astype(int).tolist()
            seed, position = (5, number + row) if number % 3 else (row, number)
            sampling = Sampling.from_temperature(temperature, seed=seed)
            group.append(Pass(list(enumerate(values)), sampling, position, gaps))
        groups.append(group)
    expected = [[case.golden() for case in group] for group in groups]
    assert run_groups(groups, tokens) == expected
    if temperature:
        assert any(len(set(tokens)) > 1 for tokens in expected)


def test_extremes_of_one_token_row_do_not_reach_another() -> None:
    high = Pass([(0, 1), (1, VECTOR.maximum), (2, 5)])
    low = Pass([(0, VECTOR.minimum), (1, VECTOR.minimum), (2, VECTOR.minimum)])
    late = Pass([(0, -9), (1, -9), (2, -8)])
    groups = [[high, low, late], [low, late, high], [late, high]]
    assert run_groups(groups, 3) == [[1, 0, 2], [0, 2, 1], [2, 1]]


@given(
    passes=st.lists(st.lists(logits, min_size=1, max_size=4), min_size=1, max_size=4),
    gaps=st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=20)
def test_without_noise(passes: list[list[list[int]]], gaps: float) -> None:
    """Token rows of a pass have as many logits each."""
    groups = []
    for rows in passes:
        size = min(len(row) for row in rows)
        cut = [list(enumerate(row[:size])) for row in rows]
        groups.append([Pass(row, Sampling(), position, gaps) for position, row in enumerate(cut)])
    expected = [[case.golden() for case in group] for group in groups]
    assert run_groups(groups, 4, drawing=False) == expected


@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("wait", [0, 3, 8, 16, 17, 25, LATENCY - 2, LATENCY - 1])
def test_start_forgets_an_unfinished_pass(wait: int, tokens: int) -> None:
    """Whether it was still making its key or had all its rows in flight."""
    unit, pick = Sampler(EngineConfig(tokens=tokens)), random.Random(wait)
    hot = Sampling.from_temperature(2.0, seed=99)
    lost = [Pass([(0, 0), (1, VECTOR.maximum)], hot, position=3)] * tokens
    kept = [Pass([(i, i << 14) for i in range(20)], hot, position=4 + t) for t in range(tokens)]
    found: list[int] = []

    def main() -> Process:
        if wait > unit.key_latency:
            yield from begin(unit, lost)
            yield from send(unit, lost, pick)
        else:
            yield unit.seeds[0].eq(5)
            yield from pulse(unit.start)
        for _ in range(wait):
            yield
        yield from begin(unit, kept)
        yield from send(unit, kept, pick)
        found.extend((yield from finish(unit, kept, pick)))

    simulate(unit, [main()])
    assert found == [case.golden() for case in kept]

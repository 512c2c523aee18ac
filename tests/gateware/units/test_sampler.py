"""The sampler against the golden model."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from migen import run_simulation

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import INVERSE_TEMPERATURE, POSITION_BITS, VECTOR
from jalgateware.contract.isa import FIELDS
from jalgateware.golden.sampler import Sampling, gumbel, hash32, noise_key, sample
from jalgateware.units.sampler import Sampler
from jaltest.gateware import Process, pulse

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


def begin(unit: Sampler, case: Pass) -> Process:
    """Starts a pass and waits for the key."""
    yield unit.seed.eq(case.sampling.seed)
    yield unit.inverse_temperature.eq(case.sampling.inverse_temperature)
    yield unit.position.eq(case.position)
    yield from pulse(unit.start)
    # What was latched may change.
    for signal in (unit.seed, unit.inverse_temperature, unit.position):
        yield signal.eq(1)
    for cycle in range(1, Sampler.KEY_LATENCY + 1):
        yield
        assert not (yield unit.done)
        assert (yield unit.ready) == (cycle == Sampler.KEY_LATENCY)


def send(unit: Sampler, case: Pass, pick: random.Random) -> Process:
    """Sends the rows; returns in the cycle of the last one."""
    for number, (index, logit) in enumerate(case.rows):
        while pick.random() < case.gaps:
            yield from noise(unit, pick)
        yield unit.index.eq(index)
        yield unit.logit.eq(logit)
        yield unit.last.eq(int(number == len(case.rows) - 1))
        yield unit.valid.eq(1)
        yield
        assert not (yield unit.done)
    yield unit.valid.eq(0)


def noise(unit: Sampler, pick: random.Random) -> Process:
    """A cycle without a row."""
    for signal in (unit.index, unit.logit, unit.last):
        yield signal.eq(pick.getrandbits(len(signal)))
    yield unit.valid.eq(0)
    yield


def finish(unit: Sampler, pick: random.Random) -> Process:
    """Waits for the token and returns it; ``done`` is high for exactly one cycle."""
    for _ in range(Sampler.LATENCY):
        assert not (yield unit.done)
        yield from noise(unit, pick)
        assert not (yield unit.ready)
    assert (yield unit.done)
    token = yield unit.token
    yield
    assert not (yield unit.done)
    assert (yield unit.token) == token
    return token


def run(cases: list[Pass], seed: int = 0) -> list[int]:
    """The tokens of passes, one after another in one sampler."""
    unit, pick = Sampler(EngineConfig()), random.Random(seed)
    tokens: list[int] = []

    def main() -> Process:
        for case in cases:
            yield from begin(unit, case)
            yield from send(unit, case, pick)
            tokens.append((yield from finish(unit, pick)))

    run_simulation(unit, main())
    return tokens


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


@pytest.mark.parametrize("wait", [0, 3, 8, 16, 17, 25, Sampler.LATENCY - 2, Sampler.LATENCY - 1])
def test_start_forgets_an_unfinished_pass(wait: int) -> None:
    """Whether it was still making its key or had all its rows in flight."""
    unit, pick = Sampler(EngineConfig()), random.Random(wait)
    hot = Sampling.from_temperature(2.0, seed=99)
    lost = Pass([(0, 0), (1, VECTOR.maximum)], hot, position=3)
    kept = Pass([(index, index << 14) for index in range(20)], hot, position=4)
    tokens: list[int] = []

    def main() -> Process:
        if wait > Sampler.KEY_LATENCY:
            yield from begin(unit, lost)
            yield from send(unit, lost, pick)
        else:
            yield unit.seed.eq(5)
            yield from pulse(unit.start)
        for _ in range(wait):
            yield
        yield from begin(unit, kept)
        yield from send(unit, kept, pick)
        tokens.append((yield from finish(unit, pick)))

    run_simulation(unit, main())
    assert tokens == [kept.golden()]

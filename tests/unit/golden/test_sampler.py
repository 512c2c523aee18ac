"""The sampler against exact probabilities."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jalgateware.contract.formats import LOG2, VECTOR
from jalgateware.golden.sampler import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Sampling,
    gumbel,
    hash32,
    noise_key,
    sample,
)

SIGNIFICANCE = 0.001
"""A sound sampler fails a test this often; seeds are fixed, so it is decided once."""

LOGITS = np.array([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -2.0, 1.5, 1.5, -4.0])


def quantised(logits: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(logits * (1 << VECTOR.fraction)), dtype=np.int64)


@pytest.mark.parametrize("temperature", [0.5, 0.8, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    draws, length = 100_000, 250
    logits = quantised(LOGITS)
    counts = np.zeros(len(LOGITS), dtype=np.int64)
    for seed in range(draws // length):
        sampling = Sampling.from_temperature(temperature, seed)
        for position in range(length):
            counts[sample(logits, sampling, position)] += 1
    weight = np.exp(LOGITS / temperature)
    expected = draws * weight / weight.sum()
    assert stats.chisquare(counts, expected).pvalue > SIGNIFICANCE


def test_draws_of_neighbours_are_independent() -> None:
    """Tokens of consecutive positions and of consecutive seeds, two by two."""
    logits = np.zeros(4, dtype=np.int64)
    table = np.array(
        [
            [
                sample(logits, Sampling.from_temperature(1, seed), position)
                for position in range(101)
            ]
            for seed in range(101)
        ]
    )
    for first, second in ((table[:, :-1], table[:, 1:]), (table[:-1], table[1:])):
        counts = np.bincount((4 * first + second).reshape(-1), minlength=16)
        assert stats.chisquare(counts).pvalue > SIGNIFICANCE


def test_noise_has_the_gumbel_distribution() -> None:
    uniform = np.random.default_rng(1).integers(0, 1 << 32, 100_000)
    noise = gumbel(uniform) / (1 << LOG2.fraction) * math.log(2)
    assert stats.kstest(noise, "gumbel_r").pvalue > SIGNIFICANCE


@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=50))
def test_noise_is_precise(uniform: list[int]) -> None:
    exact = [-math.log2(-math.log((h + 0.5) / 2**32)) for h in uniform]
    result = gumbel(np.array(uniform, dtype=np.int64)) / (1 << LOG2.fraction)
    assert np.abs(result - exact).max() < 2**-10


def test_noise_reaches_both_ends() -> None:
    ends = np.array([0, (1 << 31) - 1, 1 << 31, (1 << 32) - 1], dtype=np.int64)
    exact = [-math.log2(-math.log((int(h) + 0.5) / 2**32)) for h in ends[:3]]
    # float64 cannot tell 1 - 2**-33 well enough for a plain logarithm.
    exact.append(-math.log2(-math.log1p(-(2.0**-33))))
    assert np.abs(gumbel(ends) / (1 << LOG2.fraction) - exact).max() < 2**-10


def test_hash_is_lowbias32() -> None:
    def plain(x: int) -> int:
        x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
        x = ((x ^ (x >> 15)) * 0x846CA68B) & 0xFFFFFFFF
        return x ^ (x >> 16)

    values = [0, 1, 2, 0xFFFFFFFF, 0x12345678, 0x80000000]
    assert hash32(np.array(values)).tolist() == [plain(value) for value in values]
    assert noise_key(5, 7) == plain((plain(5) + 7) & 0xFFFFFFFF)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=20), st.integers(0, 100))
def test_greedy_takes_the_first_largest(logits: list[int], position: int) -> None:
    greedy = Sampling.from_temperature(0, 9)
    assert sample(np.array(logits), greedy, position) == logits.index(max(logits))


def test_temperatures_at_the_limits() -> None:
    assert Sampling.from_temperature(MIN_TEMPERATURE, 0).inverse_temperature == (1 << 17) - 1
    assert Sampling.from_temperature(MAX_TEMPERATURE, 0).inverse_temperature == 1
    for temperature in (MIN_TEMPERATURE / 2, MAX_TEMPERATURE * 4):
        with pytest.raises(ValueError, match="is outside"):
            Sampling.from_temperature(temperature, 0)

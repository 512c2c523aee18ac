"""Attention against softmax in float64."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jalgateware.contract.formats import SCORE, VECTOR
from jalgateware.golden.attention import attend_head, scores
from jalgateware.golden.rounding import Tally

KV_VALUES = st.integers(-(1 << 15), (1 << 15) - 1)


def random_case(positions: int, head_dim: int, seed: int) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    shapes = (head_dim,), (positions, head_dim), (positions, head_dim)
    query, keys, values = (random.integers(-8000, 8000, shape) for shape in shapes)
    return query, keys, values


def test_attention_is_close_to_softmax() -> None:
    for seed, positions in enumerate((1, 2, 7, 64, 500)):
        query, keys, values = random_case(positions, 16, seed)
        score_shift, value_shift = 20, 4
        result = attend_head(query, keys, values, score_shift, value_shift) / (1 << VECTOR.fraction)
        score = keys @ query / 2.0**score_shift / (1 << SCORE.fraction)
        weight = 2.0 ** (score - score.max())
        real = values * 2.0 ** (value_shift - VECTOR.fraction)
        expected = weight @ real / weight.sum()
        # Scores are rounded to 2**-9: weights are off by up to 0.14 %, values by their own share.
        assert np.abs(result - expected).max() <= 0.002 * np.abs(real).max()


@given(st.lists(KV_VALUES, min_size=4, max_size=4), st.integers(1, 40))
def test_equal_values_come_back(value: list[int], positions: int) -> None:
    keys = np.random.default_rng(positions).integers(-100, 100, (positions, 4))
    values = np.tile(np.array(value), (positions, 1))
    result = attend_head(np.array([5, -3, 2, 1]), keys, values, 0, 3)
    exact = np.array(value) << 3
    assert np.abs(result - exact).max() <= np.abs(exact).max() * 2**-14 + 1


def test_a_single_position_is_its_value() -> None:
    value = np.array([[32767, -32768, 1, 0]])
    result = attend_head(np.ones(4, dtype=np.int64), value, value, 10, 2)
    # 1 / 1.0 is stored as 2 - 2**-16 halves: at most one unit of the last place short.
    assert np.abs(result - (value[0] << 2)).max() <= 1


def test_scores_saturate_and_count() -> None:
    extreme = np.full((2, 8), 32767)
    extreme[1] *= -1
    tally = Tally()
    assert scores(extreme[0], extreme, 9, tally).tolist() == [SCORE.maximum, SCORE.minimum]
    assert tally.saturations == 2


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 33), st.integers(0, 1 << 32))
def test_heads_at_once_are_single_heads(
    kv_heads: int, group: int, positions: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    query = random.integers(-(1 << 15), 1 << 15, (kv_heads, group, 8))
    shape = (kv_heads, positions, 8)
    keys, values = (random.integers(-(1 << 15), 1 << 15, shape).astype(np.int16) for _ in range(2))
    tally, single = Tally(), Tally()
    result = attend_head(query, keys[:, None], values[:, None], 17, 3, tally)
    for index in np.ndindex(kv_heads, group):
        head = index[0]
        expected = attend_head(query[index], keys[head], values[head], 17, 3, single)
        assert np.array_equal(result[index], expected)
    assert tally == single

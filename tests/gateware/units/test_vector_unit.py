"""The vector unit against the golden model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaltest.vector_unit import LOGITS, Bench


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("lanes", [4, 16, 64])
def test_two_layers(lanes: int, stall: float) -> None:
    Bench(lanes, stall, size=24, seed=lanes).check()


@pytest.mark.parametrize(
    ("lanes", "tokens", "active", "mxfp4", "stall"),
    [
        (16, 1, 1, True, 0.3),
        (64, 1, 1, True, 0.0),
        (4, 2, 2, False, 0.4),
        (16, 2, 1, True, 0.0),
        (16, 3, 3, False, 0.0),
        (16, 4, 4, True, 0.3),
        (16, 4, 2, False, 0.0),
        (64, 4, 3, True, 0.2),
        (64, 2, 2, False, 0.0),
    ],
)
def test_token_rows_and_formats(
    lanes: int, tokens: int, active: int, mxfp4: bool, stall: float
) -> None:
    Bench(lanes, stall, 24, seed=tokens, tokens=tokens, active=active, mxfp4=mxfp4).check()


@pytest.mark.parametrize("options", [("qkv_bias",), ("qk_norm",), ("qkv_bias", "qk_norm")])
@pytest.mark.parametrize(
    ("lanes", "tokens", "active", "stall"),
    [(16, 1, 1, 0.0), (2, 2, 2, 0.3), (16, 4, 3, 0.0), (64, 4, 4, 0.2), (16, 4, 1, 0.0)],
)
def test_biases_and_norms(
    lanes: int, tokens: int, active: int, stall: float, options: tuple[str, ...]
) -> None:
    Bench(lanes, stall, 36, lanes, tokens, active, mxfp4=True, options=options).check()


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, 3), st.floats(0, 0.6), st.integers(30, 46))
def test_biases_and_norms_of_any_rows(seed: int, active: int, stall: float, size: int) -> None:
    Bench(16, stall, size, seed, 3, active, options=("qkv_bias", "qk_norm")).check()


@pytest.mark.parametrize(("lanes", "tokens"), [(16, 1), (64, 1), (16, 3), (64, 4)])
def test_one_element_per_cycle(lanes: int, tokens: int) -> None:
    bench = Bench(lanes, 0.0, 24, seed=2, tokens=tokens)
    bench.check()
    first, last = bench.logit_cycles[0], bench.logit_cycles[-1]
    assert last - first == LOGITS[1] * tokens - 1 == len(bench.logit_cycles) - 1


@pytest.mark.parametrize(("lanes", "tokens"), [(16, 1), (64, 1), (16, 4)])
def test_saturations_in_every_unit(lanes: int, tokens: int) -> None:
    found = Bench(lanes, 0.2, size=48, seed=lanes, tokens=tokens).check()
    options = ("qkv_bias", "qk_norm")
    assert found > 50
    assert Bench(lanes, 0.2, 48, lanes, tokens, options=options).check() > 50

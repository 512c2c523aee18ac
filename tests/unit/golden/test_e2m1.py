"""MXFP4 by float32's bits is MXFP4 by the rule, which float64 computes, in every block."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jalgateware.contract.isa import Format
from jalgateware.golden.e2m1 import encode_bits
from jalgateware.golden.mx import encode

Floats = npt.NDArray[np.float32]
SHAPE = (64, 256)


def assert_by_the_rule(values: npt.NDArray[np.floating]) -> None:
    matrix = np.ascontiguousarray(values, dtype=np.float32)
    mine, rule = encode(matrix, Format.MXFP4), encode(matrix.astype(np.float64), Format.MXFP4)
    assert np.array_equal(mine.scales, rule.scales)
    assert np.array_equal(mine.elements, rule.elements)


def _steps(random: np.random.Generator, parts: int) -> npt.NDArray[np.floating]:
    """Numbers on the borders between codes, and as many that are not."""
    return random.integers(-8 * parts, 8 * parts + 1, SHAPE) / parts


def _finer_scale(random: np.random.Generator) -> npt.NDArray[np.floating]:
    """Most numbers gain by a smaller scale, the largest lose."""
    small = random.choice([0.25, 0.75, 0.5, -0.25, -0.75, 0.2, 0.13, 0.1], SHAPE)
    return np.where(random.random(SHAPE) < 0.97, small, random.choice([4, 4.2, -4.5, 5], SHAPE))


def _every_bit_pattern(random: np.random.Generator) -> npt.NDArray[np.floating]:
    bits = random.integers(0, 1 << 32, SHAPE, dtype=np.uint64).astype(np.uint32)
    return np.nan_to_num(bits.view(np.float32), posinf=1, neginf=-1)


def _every_exponent(random: np.random.Generator) -> npt.NDArray[np.floating]:
    exponents = np.repeat(random.integers(-150, 125, (SHAPE[0], SHAPE[1] // 32)), 32, axis=1)
    return np.ldexp(random.standard_normal(SHAPE), exponents)


KINDS: dict[str, Callable[[np.random.Generator], npt.NDArray[np.floating]]] = {
    "normal": lambda random: random.standard_normal(SHAPE),
    "heavy tails": lambda random: random.standard_t(2, SHAPE),
    "even": lambda random: random.uniform(-1, 1, SHAPE),
    "whole": lambda random: random.integers(-8, 8, SHAPE).astype(np.float64),
    "quarters": lambda random: _steps(random, 4),
    "eighths": lambda random: _steps(random, 8),
    "beside eighths": lambda random: np.nextafter(
        _steps(random, 8).astype(np.float32), random.choice([-9, 9], SHAPE).astype(np.float32)
    ),
    "finer scale": _finer_scale,
    "bits": _every_bit_pattern,
    "exponents": _every_exponent,
    "columns left over": lambda random: random.standard_normal((9, 100)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_all_kinds(kind: str) -> None:
    for seed in range(4):
        assert_by_the_rule(KINDS[kind](np.random.default_rng(seed)))


@given(
    arrays(np.float32, (2, 32), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
)
def test_any_blocks(matrix: Floats) -> None:
    assert_by_the_rule(matrix)


def test_all_three_scales_are_chosen_without_the_rule() -> None:
    random = np.random.default_rng(1)
    for kind, step in (("normal", 1), ("finer scale", -1)):
        blocks = KINDS[kind](random).astype(np.float32).reshape(-1, 32)
        found = encode_bits(blocks)
        usual = np.frexp(abs(blocks).max(axis=1))[1] - 1 - 2 + 127
        assert ((found.scales.astype(int) - usual == step) & ~found.rare).any()
        assert found.rare.mean() < 0.01

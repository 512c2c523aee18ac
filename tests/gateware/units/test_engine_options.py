"""The engine with biases and with norms over heads against golden machines."""

from dataclasses import replace
from typing import Any

import pytest

from jalgateware.contract.isa import Format
from jalgateware.golden.sampler import Sampling
from jalhost.models.architecture import Architecture
from jalhost.models.plan import free_matrices
from jaltest.engine import ODD, SMALL, WIDE_GROUP, Bench, Run

WARM = Sampling.from_temperature(1.0, 77)


@pytest.mark.parametrize(
    ("a", "lanes", "tokens", "options", "mxfp4"),
    [
        (replace(SMALL, layers=2), 16, 1, ("qkv_bias",), False),
        (SMALL, 4, 1, ("qk_norm",), False),
        (replace(ODD, vocabulary=16), 16, 3, ("qkv_bias", "qk_norm"), False),
        (SMALL, 2, 2, ("qk_norm",), False),
        (replace(WIDE_GROUP, layers=1), 64, 2, ("qkv_bias", "qk_norm"), True),
    ],
    ids=["biases", "norms", "odd", "narrow", "wide"],
)
def test_tokens_and_cache(
    a: Architecture, lanes: int, tokens: int, options: tuple[str, ...], mxfp4: bool
) -> None:
    """As many texts as there are token rows."""
    parts: dict[str, Any] = dict.fromkeys(options, True)
    a = replace(a, **parts)
    formats = dict.fromkeys(free_matrices(a)[::2], Format.MXFP4) if mxfp4 else {}
    bench = Bench(a, lanes, lanes, formats=formats, tokens=tokens, mxfp4=mxfp4, **parts)
    others = [[2], [8, 11]][: tokens - 1]
    run = Run([3, 4, 1], count=1, sampling=WARM, others=others)
    bench.go(run)
    assert run.streams == [bench.expected(run, stream) for stream in range(tokens)]
    bench.check_cache()


def test_the_smallest_engine() -> None:
    """Slow rows and no noise: the same likeliest tokens, in a run and in the next one."""
    bench = Bench(SMALL, 4, 3, slow_rows=True, noise=False, logits=False, attention_slots=1)
    runs = [Run([3, 4], count=2), Run([5], count=1)]
    bench.go(*runs)
    for run in runs:
        assert run.tokens == bench.expected(run)
    bench.check_cache()


def test_models_without_either_take_no_cycle_more() -> None:
    cycles: list[list[int]] = []
    choices: tuple[dict[str, Any], ...] = ({}, {"qkv_bias": True, "qk_norm": True})
    for options in choices:
        bench = Bench(SMALL, 16, 3, tokens=2, **options)
        run = Run([1, 5], count=1)
        bench.go(run)
        cycles.append(run.cycles)
    assert cycles[0] == cycles[1]

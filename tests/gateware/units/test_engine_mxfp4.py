"""The engine with matrices in MXFP4 against golden machines."""

import pytest

from jalgateware.contract.isa import Format
from jalgateware.golden.sampler import Sampling
from jalhost.models.architecture import Architecture
from jalhost.models.plan import Formats, free_matrices
from jaltest.engine import ODD, SMALL, WIDE_GROUP, Bench, Run

WARM = Sampling.from_temperature(1.0, 77)


def formats_of(a: Architecture, every: int) -> Formats:
    """MXFP4 for one matrix in ``every``; the others, and the embedding, are MXINT8."""
    return dict.fromkeys(free_matrices(a)[::every], Format.MXFP4)


@pytest.mark.parametrize(
    ("a", "lanes", "tokens", "every"),
    [
        (SMALL, 16, 1, 1),
        (SMALL, 4, 2, 2),
        (ODD, 16, 4, 1),
        (WIDE_GROUP, 64, 1, 2),
        (WIDE_GROUP, 64, 2, 1),
    ],
    ids=["small", "mixed", "odd, four rows", "wide, mixed", "wide, two rows"],
)
def test_tokens_cache_and_counters(a: Architecture, lanes: int, tokens: int, every: int) -> None:
    formats = formats_of(a, every)
    bench = Bench(a, lanes, seed=lanes, formats=formats, mxfp4=True, tokens=tokens)
    run = Run([1, 5, 9], count=2, sampling=WARM)
    bench.go(run)
    assert run.tokens == bench.expected(run)
    bench.check_cache()
    assert run.counters["saturations"] == bench.golden.tally.saturations
    if tokens == 1:
        words, cache = bench.words_of(run)
        assert (run.counters["dram_words"], run.counters["kv_words"]) == (words, cache)


def test_streams_with_saturations() -> None:
    """Weights far too large in both formats; each token row's saturations count.

    Of prompts of one token: of a longer one, the last pass has logits of tokens in front of the
    last as well, and counts theirs.
    """
    formats = formats_of(SMALL, 2)
    bench = Bench(SMALL, 16, gain=3000.0, formats=formats, mxfp4=True, tokens=3)
    run = Run([1], count=3, others=[[2], [8]])
    bench.go(run)
    assert run.streams == [bench.expected(run, stream) for stream in range(3)]
    bench.check_cache()
    saturations = sum(golden.tally.saturations for golden in bench.goldens)
    assert run.counters["saturations"] == saturations > 100

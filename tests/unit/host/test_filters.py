"""Which tokens pass the host's filters: by their definitions, and by transformers."""

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalgateware.contract.formats import INVERSE_TEMPERATURE, VECTOR
from jalgateware.golden.rounding import Integers
from jalgateware.golden.sampler import Sampling, sample
from jalhost.cli.sampling_options import read_filters
from jalhost.engine.filters import Filters
from jalhost.errors import UsageError
from jaltest.models import REPOSITORY

HF_FILTERS = REPOSITORY / "tests" / "jaltest" / "hf_filters.py"

SAMPLING = Sampling.from_temperature(0.8, 3)

ONE = 1 << VECTOR.fraction


def vectors(values: list[int]) -> Integers:
    return np.array(values, dtype=np.int64)


LOGITS = st.one_of(
    st.lists(st.integers(-12 * ONE, 12 * ONE), min_size=1, max_size=60),
    # Many equals, and the ends of the format.
    st.lists(
        st.sampled_from([VECTOR.minimum, -ONE, -1, 0, 1, 2 * ONE, VECTOR.maximum]),
        min_size=1,
        max_size=60,
    ),
).map(vectors)
FILTERS = st.builds(
    Filters,
    st.none() | st.integers(1, 80),
    st.none() | st.floats(0, 1, exclude_min=True),
    st.none() | st.floats(0, 1),
)
TEMPERATURES = st.sampled_from([0.1, 0.8, 1.0, 3.0]).map(lambda t: Sampling.from_temperature(t, 1))


def probabilities(logits: Integers, sampling: Sampling) -> Any:
    """By the plain definition of the softmax (vocabulary,)."""
    scale = sampling.inverse_temperature / (1 << INVERSE_TEMPERATURE.fraction) / math.log2(math.e)
    weight = np.exp((logits - logits.max()) / ONE * scale)
    return weight / weight.sum()


@given(LOGITS, FILTERS, TEMPERATURES)
def test_the_likeliest_always_passes(
    logits: Integers, filters: Filters, sampling: Sampling
) -> None:
    assert filters.allowed(logits, sampling)[np.argmax(logits)]


@given(LOGITS, FILTERS, TEMPERATURES)
def test_who_passes_is_at_least_as_likely_as_who_does_not(
    logits: Integers, filters: Filters, sampling: Sampling
) -> None:
    allowed = filters.allowed(logits, sampling)
    if not allowed.all():
        assert logits[allowed].min() >= logits[~allowed].max()


@given(LOGITS, st.integers(1, 80), TEMPERATURES)
def test_top_k_passes_k_and_their_equals(logits: Integers, k: int, sampling: Sampling) -> None:
    allowed = Filters(top_k=k).allowed(logits, sampling)
    least = sorted(logits, reverse=True)[:k][-1]
    assert np.array_equal(allowed, logits >= least)


@given(LOGITS, st.floats(0, 1, exclude_min=True), TEMPERATURES)
def test_top_p_passes_the_fewest_that_have_it(
    logits: Integers, p: float, sampling: Sampling
) -> None:
    allowed = Filters(top_p=p).allowed(logits, sampling)
    likely = probabilities(logits, sampling)
    assert likely[allowed].sum() >= p - 1e-9
    if allowed.sum() > 1 and p < 1:
        assert likely[allowed].sum() - likely[allowed].min() < p + 1e-9


@given(LOGITS, st.just(0.0) | st.floats(1e-9, 1), TEMPERATURES)
def test_min_p_passes_a_share_of_the_likeliest(
    logits: Integers, p: float, sampling: Sampling
) -> None:
    allowed = Filters(min_p=p).allowed(logits, sampling)
    likely = probabilities(logits, sampling)
    least = p * likely.max()
    assert (likely[allowed] >= least * (1 - 1e-9)).all()
    assert (likely[~allowed] <= least * (1 + 1e-9)).all()


@given(
    LOGITS,
    TEMPERATURES,
    st.tuples(st.integers(1, 80), st.integers(1, 80)).map(sorted),
    st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)).map(sorted),
)
def test_stricter_filters_pass_no_more(
    logits: Integers, sampling: Sampling, k: list[int], p: list[float]
) -> None:
    for strict, loose in (
        (Filters(top_k=k[0]), Filters(top_k=k[1])),
        (Filters(top_p=p[0]), Filters(top_p=p[1])),
        (Filters(min_p=p[1]), Filters(min_p=p[0])),
    ):
        more = strict.allowed(logits, sampling) & ~loose.allowed(logits, sampling)
        assert not more.any()


@pytest.mark.parametrize(
    "filters", [Filters(top_k=100_000, top_p=1, min_p=0, repetition_penalty=1), Filters()]
)
@given(LOGITS, st.integers(0, 500), st.sampled_from([0.0, 0.3, 1.0, 5.0]))
def test_filters_that_admit_everything_change_no_draw(
    filters: Filters, logits: Integers, position: int, temperature: float
) -> None:
    sampling = Sampling.from_temperature(temperature, 9)
    mine = filters.choose(logits, range(len(logits)), sampling, position)
    assert mine == sample(logits, sampling, position)


def test_options_that_admit_everything_leave_sampling_to_the_gateware() -> None:
    assert read_filters(0, 1.0, 0.0, 1.0, 0.8) is None
    assert read_filters(40, 0.9, 0.1, None, 0.0) is None
    assert read_filters(40, 0.9, 0.1, 1.2, 0.0) == Filters(repetition_penalty=1.2)
    assert read_filters(40, 1.0, None, None, 0.8) == Filters(top_k=40)
    with pytest.raises(UsageError, match="top-k is 1 or more, not -1"):
        read_filters(-1, None, None, None, 0.8)


@given(LOGITS, FILTERS, st.integers(0, 500))
def test_draws_are_among_those_that_pass(logits: Integers, filters: Filters, position: int) -> None:
    allowed = filters.allowed(logits, SAMPLING)
    assert allowed[filters.choose(logits, [], SAMPLING, position)]
    assert filters.choose(logits, [], Sampling(), position) == np.argmax(logits)


def test_draws_follow_the_probabilities_of_those_that_pass() -> None:
    from scipy import stats

    logits = vectors([2 * ONE, ONE, ONE // 2, 0, -ONE, ONE])
    sampling = Sampling.from_temperature(1, 5)
    filters = Filters(top_k=4, min_p=0.2)
    allowed = filters.allowed(logits, sampling)
    assert allowed.tolist() == [True, True, True, False, False, True]
    draws = [filters.choose(logits, [], sampling, position) for position in range(20_000)]
    weight = probabilities(logits, sampling) * allowed
    expected = len(draws) * weight[allowed] / weight.sum()
    counts = np.bincount(draws, minlength=len(logits))
    assert stats.chisquare(counts[allowed], expected).pvalue > 0.001


def test_the_penalty_divides_what_is_positive_and_multiplies_the_rest() -> None:
    logits = vectors([3, -3, 0, 100, VECTOR.minimum, VECTOR.maximum, 7])
    penalised = Filters(repetition_penalty=2.0).penalise(logits, [0, 1, 2, 4, 4, 5])
    # Halves go to the even number.
    assert penalised.tolist() == [2, -6, 0, 100, VECTOR.minimum, 1 << 30, 7]
    favoured = Filters(repetition_penalty=1e-300).penalise(logits, [0, 1, 5])
    assert favoured.tolist() == [VECTOR.maximum, 0, 0, 100, VECTOR.minimum, VECTOR.maximum, 7]
    assert logits[0] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "^top-k is 1 or more, not 0$"),
        ({"top_p": 0.0}, "^top-p is above 0 and up to 1, not 0$"),
        ({"top_p": 1.5}, "^top-p is above 0 and up to 1, not 1.5$"),
        ({"top_p": math.nan}, "^top-p is above 0 and up to 1, not nan$"),
        ({"min_p": -0.1}, "^min-p is 0 to 1, not -0.1$"),
        ({"min_p": 2.0}, "^min-p is 0 to 1, not 2$"),
        ({"repetition_penalty": 0.0}, "^the repetition penalty is above 0, not 0$"),
        ({"repetition_penalty": math.inf}, "^the repetition penalty is above 0, not inf$"),
        ({"repetition_penalty": math.nan}, "^the repetition penalty is above 0, not nan$"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Filters(**options)


def case(seed: int) -> dict[str, Any]:
    """A case for both: smooth, full of equals, or with the ends of the format."""
    random = np.random.default_rng(seed)

    def pick(*options: float | None) -> Any:
        return options[random.integers(len(options))]

    size = pick(1, 2, 50, 2000)
    spread = pick(0.1, 2.0, 40.0, 9000.0)
    logits = np.clip(np.rint(random.normal(0, spread, size) * ONE), VECTOR.minimum, VECTOR.maximum)
    if seed % 4 == 1:
        logits = ONE * random.integers(-3, 4, size)
    if seed % 4 == 2:
        logits[random.integers(0, size, 3)] = [VECTOR.minimum, VECTOR.maximum, VECTOR.maximum]
    return {
        "integers": logits.astype(np.int64).tolist(),
        "text": random.integers(0, size, random.integers(1, 40)).tolist(),
        "seed": seed,
        "temperature": pick(0.2, 0.7, 1.0, 2.5),
        "repetition_penalty": pick(0.5, 1.0, 1.3, 3.0),
        "top_k": pick(None, 1, 5, 40, 10_000),
        "top_p": pick(None, 1.0, 1e-9, 1 - 1e-9, random.uniform(0.05, 0.99)),
        "min_p": pick(None, 0.0, 1.0, random.uniform(0.001, 0.5)),
    }


def test_who_passes_is_who_passes_in_transformers(tmp_path: Path) -> None:
    """Which of several equals pass top-p, torch's sort decides: so logits are compared there."""
    python = os.environ.get("JALHOST_HF_PYTHON")
    if not python:
        pytest.skip("JALHOST_HF_PYTHON does not name a Python that has transformers")
    cases = [case(seed) for seed in range(400)]
    mine = []
    for item in cases:
        names = ("top_k", "top_p", "min_p", "repetition_penalty")
        filters = Filters(**{name: item[name] for name in names})
        sampling = Sampling.from_temperature(item["temperature"], item["seed"])
        logits = vectors(item.pop("integers"))
        penalised = filters.penalise(logits, item["text"])
        mine.append((penalised, filters.allowed(penalised, sampling)))
        item["logits"], item["rounded"] = (logits / ONE).tolist(), (penalised / ONE).tolist()
        register = sampling.inverse_temperature / (1 << INVERSE_TEMPERATURE.fraction)
        item["temperature"] = math.log2(math.e) / register
    (tmp_path / "cases").write_text(json.dumps(cases))
    files = [str(tmp_path / "cases"), str(tmp_path / "found")]
    subprocess.run([python, str(HF_FILTERS), *files], check=True, capture_output=True)
    found = json.loads((tmp_path / "found").read_text())
    several = 0
    for item, (penalised, allowed), theirs in zip(cases, mine, found, strict=True):
        limits = VECTOR.minimum / ONE, VECTOR.maximum / ONE
        wanted = np.clip(theirs["penalised"], *limits)
        assert np.abs(penalised / ONE - wanted).max() <= 0.5 / ONE, item["seed"]
        they = np.array(theirs["allowed"])
        assert sorted(penalised[allowed]) == sorted(penalised[they]), item["seed"]
        if item["top_p"] is None or len(set(penalised.tolist())) == len(penalised):
            assert np.array_equal(allowed, they), item["seed"]
        several += 1 < allowed.sum() < len(allowed)
    assert several > 50

"""What the number formats cost: the bars that documentation and users rely on."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalgateware.contract.isa import Format
from jalhost.errors import ModelError, UsageError
from jalhost.models.architecture import Architecture, Model
from jalhost.models.checkpoint import as_checkpoint
from jalhost.models.choose_formats import choose_for_bytes, choose_for_divergence
from jalhost.models.constants import fold_constants
from jalhost.models.convert import convert, needed_bytes
from jalhost.models.folding import fold
from jalhost.models.llama2c import read_checkpoint
from jalhost.models.plan import CLASSIFIER, Formats, Plan, free_matrices, uniform_formats
from jalhost.models.quality import Quality, cut_text, measure, sample_texts
from jalhost.models.reference import Reference, forward
from jalhost.models.tokenizer import BOS, Tokenizer, read_tokenizer
from jalhost.models.unfold import unfold
from jaltest.tiny import ARCHITECTURE, tiny_image, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def stories(stories260k: Path) -> Model:
    return read_checkpoint(stories260k)


@pytest.fixture(scope="module")
def pieces(tok512: Path) -> Tokenizer:
    return read_tokenizer(tok512, 512)


def quality_of(model: Model, pieces: Tokenizer, formats: Formats) -> Quality:
    return measure(model, convert(model, pieces, "stories", formats), sample_texts(model))


def bytes_of(a: Architecture, formats: Formats) -> int:
    """Bytes per token."""
    plan = Plan(a, (), formats)
    return plan.weight_bytes() + plan.token_bytes(0)


def test_stories260k_keeps_its_quality(stories: Model, pieces: Tokenizer) -> None:
    quality = quality_of(stories, pieces, {})
    assert quality.tokens == 16 * 160
    assert quality.ratio <= 1.01
    assert quality.agreement >= 0.96
    assert quality.divergence <= 0.004


def test_stories260k_in_mxfp4(stories: Model, pieces: Tokenizer) -> None:
    a = stories.architecture
    formats = uniform_formats(a, Format.MXFP4, Format.MXINT8)
    quality = quality_of(stories, pieces, formats)
    assert quality.ratio <= 1.25
    assert quality.agreement >= 0.77
    assert 0.1 < quality.divergence <= 0.2
    assert bytes_of(a, formats) < 0.6 * bytes_of(a, {})


def test_stories260k_half_way(stories: Model) -> None:
    choice = choose_for_bytes(stories, 220_000, None, lambda _: None)
    assert choice.bytes_per_token <= 220_000
    # Less than a third of the loss for half of the savings.
    assert choice.quality.divergence < 0.05
    assert choice.quality.agreement > 0.89


def test_measurement_notices_a_wrong_model() -> None:
    texts = sample_texts(tiny_model(), sequences=2, length=20)
    same = measure(tiny_model(), tiny_image(), texts)
    other = measure(tiny_model(), tiny_image(seed=2), texts)
    assert same.tokens == other.tokens == 40
    assert same.ratio < 1.05
    assert same.divergence < 0.05
    assert other.divergence > 10 * same.divergence
    assert other.agreement < same.agreement


def test_mxfp4_costs_quality() -> None:
    texts = sample_texts(tiny_model(), sequences=2, length=20)
    formats = uniform_formats(ARCHITECTURE, Format.MXFP4, Format.MXFP4)
    image = convert(tiny_model(), tiny_tokenizer(), "tiny", formats)
    assert (
        measure(tiny_model(), image, texts).divergence
        > 10 * measure(tiny_model(), tiny_image(), texts).divergence
    )


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(UsageError, match="65 tokens exceed the context of 64"):
        sample_texts(tiny_model(), length=65)
    larger = dataclasses.replace(ARCHITECTURE, hidden=128)
    with pytest.raises(ModelError, match="not converted from this checkpoint"):
        measure(tiny_model(larger), tiny_image(), [[BOS, 3, 4]])


def test_sampled_texts_repeat_and_fit_the_context() -> None:
    texts = sample_texts(tiny_model(), sequences=2)
    assert [len(text) for text in texts] == [ARCHITECTURE.context + 1] * 2
    assert all(text[0] == BOS for text in texts)
    assert texts == sample_texts(tiny_model(), sequences=2)
    assert texts != sample_texts(tiny_model(), sequences=2, seed=1)


@given(st.integers(2, 200), st.integers(2, 50))
def test_cut_texts_hold_every_token_once(count: int, length: int) -> None:
    tokens = [BOS, *range(100, 100 + count)]
    if count < length:
        with pytest.raises(UsageError, match=rf"has {count} tokens, a sequence takes at least"):
            cut_text(tokens, 64, length)
        return
    texts = cut_text(tokens, 64, length)
    assert [token for text in texts for token in text[1:]] == tokens[1:]
    assert all(text[0] == BOS and 1 <= len(text) - 1 <= length for text in texts)
    assert cut_text(tokens, 64, length, sequences=1) == texts[:1]


def test_cut_texts_take_the_context_where_no_length_is_given() -> None:
    texts = cut_text([BOS, *[5] * 100], 64)
    assert [len(text) - 1 for text in texts] == [64, 36]
    for tokens, message in (([BOS], "the text is empty"), ([BOS, 5], "has 1 token, a sequence")):
        with pytest.raises(UsageError, match=message):
            cut_text(tokens, 64)
    with pytest.raises(UsageError, match="65 tokens exceed the context of 64"):
        cut_text([BOS, *[5] * 100], 64, 65)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_reference_is_the_same_at_once_and_token_by_token(kv_heads: int) -> None:
    a = dataclasses.replace(ARCHITECTURE, kv_heads=kv_heads, tied=False)
    model, tokens = tiny_model(a), sample_texts(tiny_model(a), 1)[0][:-1]
    reference = Reference(model)
    one_by_one = [reference.step([token], position)[0] for position, token in enumerate(tokens)]
    assert np.allclose(forward(model, tokens), one_by_one, rtol=0, atol=1e-4)


def test_folded_matrices_compute_the_same() -> None:
    a = dataclasses.replace(ARCHITECTURE, hidden=41, tied=False)  # columns that fill up a block
    model, tokens = tiny_model(a), list(range(1, 40))
    padded = {name: np.pad(matrix, ((0, 0), (0, 40))) for name, matrix in fold(model)}
    again = forward(unfold(a, padded, fold_constants(as_checkpoint(model))), tokens)
    assert np.allclose(again, forward(model, tokens), rtol=0, atol=1e-4)


def silent(_: str) -> None:
    """Takes a line of progress."""


@pytest.mark.parametrize("classifier", [None, Format.MXINT8, Format.MXFP4])
def test_choice_reads_no_more_than_the_limit(classifier: Format | None) -> None:
    model = tiny_model()
    given: Formats = {} if classifier is None else {CLASSIFIER: classifier}
    most = bytes_of(ARCHITECTURE, given)
    limit = most - 8_000
    choice = choose_for_bytes(model, limit, classifier, silent)
    assert choice.bytes_per_token == bytes_of(ARCHITECTURE, choice.formats) <= limit
    assert CLASSIFIER not in choice.formats or choice.formats[CLASSIFIER] is classifier
    # Nothing that is in MXFP4 could go back.
    for name in set(choice.formats) - set(given):
        others = {key: form for key, form in choice.formats.items() if key != name}
        assert bytes_of(ARCHITECTURE, others) > limit
    image = convert(model, tiny_tokenizer(), "tiny", choice.formats)
    assert needed_bytes(image, 0) == choice.bytes_per_token
    assert measure(model, image, sample_texts(model)) == choice.quality


def test_choice_with_room_stays_in_mxint8() -> None:
    limit = bytes_of(ARCHITECTURE, {})
    assert not choose_for_bytes(tiny_model(), limit, None, silent).formats
    with pytest.raises(UsageError, match=r"reads 1,000 bytes.*\(MXFP4 wherever .* reads \d+,\d+\)"):
        choose_for_bytes(tiny_model(), 1000, None, silent)


def test_choice_stays_below_the_divergence() -> None:
    model = tiny_model()
    low, high = (choose_for_divergence(model, limit, None, silent) for limit in (0.01, 0.05))
    assert low.quality.divergence <= 0.01
    assert low.quality.divergence < high.quality.divergence <= 0.05
    assert high.bytes_per_token < low.bytes_per_token < bytes_of(ARCHITECTURE, {})
    everything = choose_for_divergence(model, 100.0, None, silent)
    assert set(everything.formats) == set(free_matrices(ARCHITECTURE))
    with pytest.raises(UsageError, match=r"divergence of 1e-06 or less \(MXINT8 wherever"):
        choose_for_divergence(model, 1e-6, None, silent)


def test_search_reports_its_progress() -> None:
    lines: list[str] = []
    choose_for_divergence(tiny_model(), 0.02, None, lines.append)
    assert lines[0] == "sampling the text to measure on"
    assert any("matrix 1 of 13 (0.query)" in line for line in lines)
    assert lines[-1] == "measuring the choice on the emulator"

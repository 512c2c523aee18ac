"""The demo model's training and its checkpoint. Needs PyTorch."""

from pathlib import Path
from random import Random

import numpy as np
import pytest

from jalhost.models.llama2c import HEADER, read_checkpoint
from jalhost.models.reference import Reference
from jalhost.models.tokenizer import BOS

pytest.importorskip("torch", reason="PyTorch is not installed (extra `train`)")

import torch

from tools.demo_model import tokenizer
from tools.demo_model.corpus import Corpus
from tools.demo_model.export import write_checkpoint
from tools.demo_model.grammar import tales
from tools.demo_model.model import Llama, Shape
from tools.demo_model.train import Recipe, evaluate, fit

SHAPE = Shape(dim=32, hidden=64, layers=2, heads=4, kv_heads=2, vocabulary=640, context=64)
RECIPE = Recipe(steps=40, rows=4, rate=0.01, matrix_rate=0.01)
TEXTS = [tale.text for tale in tales(100, seed=1)]
VOCABULARY = tokenizer.train(TEXTS, SHAPE.vocabulary)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(TEXTS, VOCABULARY)


def new_model() -> Llama:
    torch.manual_seed(0)
    return Llama(SHAPE)


def test_checkpoint_reads_back(tmp_path: Path) -> None:
    model, path = new_model(), tmp_path / "demo.bin"
    write_checkpoint(model, path)
    assert HEADER.unpack_from(path.read_bytes()) == (32, 64, 2, 4, 2, 640, 64)

    read = read_checkpoint(path)
    a = read.architecture
    assert (a.dim, a.hidden, a.layers, a.heads) == (32, 64, 2, 4)
    assert (a.kv_heads, a.vocabulary, a.context, a.tied) == (2, 640, 64, True)
    assert a.parameters == sum(weights.numel() for weights in model.parameters())
    np.testing.assert_array_equal(read.embedding, model.embedding.weight.detach().numpy())


def test_checkpoint_computes_the_same(tmp_path: Path) -> None:
    model = new_model()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 1:
                weights.uniform_(0.5, 1.5)  # so that no two norms can be mistaken for each other
        write_checkpoint(model, tmp_path / "demo.bin")
        tokens = torch.randint(0, SHAPE.vocabulary, (1, 20))
        expected = model(tokens)[0].numpy()

    reference = Reference(read_checkpoint(tmp_path / "demo.bin"))
    actual = [reference.step([token], place)[0] for place, token in enumerate(tokens[0].tolist())]
    np.testing.assert_allclose(np.stack(actual), expected, atol=2e-5)


def test_published_checkpoint_is_written_to_the_bit(stories260k: Path, tmp_path: Path) -> None:
    """Fills our model with llama2.c's weights: the file must be theirs again."""
    published = read_checkpoint(stories260k)
    a = published.architecture
    model = Llama(Shape(a.dim, a.hidden, a.layers, a.heads, a.kv_heads, a.vocabulary, a.context))
    weights = {"embedding.weight": published.embedding, "norm.weight": published.final_norm}
    for index, layer in enumerate(published.layers):
        block = f"blocks.{index}"
        for name in ("query", "key", "value", "output"):
            weights[f"{block}.attention.{name}.weight"] = getattr(layer, name)
        for name in ("attention_norm", "ffn_norm", "gate", "up", "down"):
            weights[f"{block}.{name}.weight"] = getattr(layer, name)
    model.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})
    write_checkpoint(model, tmp_path / "stories.bin")

    ours, theirs = (tmp_path / "stories.bin").read_bytes(), stories260k.read_bytes()
    tables = len(theirs) - 4 * a.context * a.head_dim
    assert ours[:tables] == theirs[:tables]
    np.testing.assert_allclose(
        np.frombuffer(ours[tables:], "<f4"), np.frombuffer(theirs[tables:], "<f4"), atol=1e-4
    )


def test_rows_are_whole_tales(corpus: Corpus) -> None:
    assert len(corpus) == len(TEXTS)
    tokens, emphasis = corpus.batch([3, 0])
    assert tokens.shape == emphasis.shape
    for row, weights, text in zip(tokens.tolist(), emphasis, (TEXTS[3], TEXTS[0]), strict=True):
        tale = [BOS, *VOCABULARY.encode(text), BOS]
        assert row == tale + [BOS] * (len(row) - len(tale))
        assert (weights > 0).tolist() == [True] * len(tale) + [False] * (len(row) - len(tale))


def test_sizes_of_the_corpus(corpus: Corpus) -> None:
    lengths = [1 + len(VOCABULARY.encode(text)) for text in TEXTS]
    assert (corpus.tokens, corpus.longest) == (sum(lengths), max(lengths))


def test_words_said_again_are_emphasised() -> None:
    texts = ["Tom had a red kite. The red kite was of Tom, and red."] * 2
    vocabulary = tokenizer.train(texts, 290)
    tokens, emphasis = Corpus(texts, vocabulary).batch([1])
    told = zip(tokens[0].tolist(), emphasis[0].tolist(), strict=True)
    pieces = vocabulary.tokenizer.pieces
    assert [(pieces[token], weight) for token, weight in told if weight != 1] == [
        (b" red", 20), (b" kite", 3), (b" Tom", 5), (b" red", 20),
    ]  # fmt: skip


def test_draws_differ_and_repeat_with_the_seed(corpus: Corpus) -> None:
    first, again, other = (corpus.draw(Random(seed), 20)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.tolist() != other.tolist()
    assert len({tuple(row) for row in first.tolist()}) > 12


def test_emphasis_fades() -> None:
    recipe = Recipe(fade=(0.25, 0.75))
    assert [recipe.emphasis(progress / 8) for progress in range(9)] == [
        1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0,
    ]  # fmt: skip


def test_training_learns_and_repeats_itself(corpus: Corpus) -> None:
    torch.set_num_threads(1)
    first, second = new_model(), new_model()
    losses = list(fit(first, corpus, RECIPE, seed=1))
    assert [step for step, _ in losses] == list(range(1, RECIPE.steps + 1))
    assert losses[0][1] == pytest.approx(np.log(SHAPE.vocabulary), abs=0.5)
    assert losses[-1][1] < losses[0][1] - 1
    assert evaluate(first, corpus) == pytest.approx(losses[-1][1], abs=0.5)
    assert losses == list(fit(second, corpus, RECIPE, seed=1))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_time_limit_ends_training(corpus: Corpus) -> None:
    assert len(list(fit(new_model(), corpus, RECIPE, seed=1, minutes=1e-9))) == 1

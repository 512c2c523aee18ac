"""The demo model that comes with the package."""

import json
import subprocess
import sys

import pytest

from jalhost.cli.options import DEMO_MODEL, open_model
from jalhost.engine.emulator import Emulator
from jalhost.engine.generation import FinishReason, Generation
from jalhost.models.image import Image
from tools.demo_model import lexicon
from tools.demo_model.check import LIMIT, generate
from tools.demo_model.consistency import find_cast
from tools.demo_model.grammar import tales
from tools.drafting import runs, tokens_per_pass


@pytest.fixture(scope="module")
def image() -> Image:
    return open_model(None, None)


def test_size() -> None:
    assert DEMO_MODEL.stat().st_size <= 1_500_000


def test_each_word_of_the_cast_is_one_token(image: Image) -> None:
    things = tuple(thing.noun for thing in lexicon.THINGS)
    for word in (*lexicon.SHE, *lexicon.HE, *lexicon.KINDS, *lexicon.COLOURS, *things):
        assert len(image.tokenizer.encode(word)) == 2, word


def test_tales_of_the_grammar_fit_the_context(image: Image) -> None:
    longest = max(len(image.tokenizer.encode(tale.text)) for tale in tales(300, seed=9))
    assert longest <= image.plan.architecture.context == LIMIT


def test_most_tales_are_consistent(image: Image) -> None:
    told = list(generate(image, ["Once upon a time"] * 4, temperature=0.8, seed=0))
    assert sum(not problems for _, _, problems in told) >= 3, told
    assert len({text for text, _, _ in told}) == 4


def test_default_tale_ends(image: Image) -> None:
    target = Emulator()
    target.load(image)
    generation = Generation(target, image, "Once upon a time", LIMIT)
    text = "".join(event.text for event in generation)
    assert generation.summary().finish_reason is FinishReason.STOP
    assert text.rstrip()[-1] in ".!"
    assert len(find_cast("Once upon a time" + text).names) == 2


def test_its_drafts_save_passes(image: Image) -> None:
    assert image.drafts is not None
    table = image.drafts.tolist()
    assert tokens_per_pass(table, list(runs(image, 100, temperature=0.8))[:6]) > 1.7
    assert tokens_per_pass([], [([1], [5, 6, 7, 5, 6, 7, 5, 6])]) == 8 / 5


def test_command_without_model_runs_it(image: Image) -> None:
    command = ["generate", "--target=emu", "--max-tokens=12", "--json"]
    run = subprocess.run(
        [sys.executable, "-c", "from jalhost.cli.main import main; main()", *command],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    target = Emulator()
    target.load(image)
    generation = Generation(target, image, "Once upon a time", 12)
    tokens = [event.token for event in generation]
    assert json.loads(run.stdout)["token_ids"] == tokens

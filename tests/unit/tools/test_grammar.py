"""The corpus: the same for the same seed, and about one hero, friend and thing in each tale."""

import re
import string
from collections import Counter

import pytest

from tools.demo_model import lexicon, plots, voices
from tools.demo_model.consistency import find_cast, problems
from tools.demo_model.grammar import Tale, tales

TALES = list(tales(2000, seed=5))


def beats() -> list[str]:
    """All sentences of all voices and plots, with their slots."""
    told = [
        beat for voice in voices.VOICES for beat in (voice.openings, voice.friends, voice.endings)
    ] + [beat for plot in plots.PLOTS for beat in plot.beats]
    return [text for beat in told for text in beat]


def test_same_seed_same_tales() -> None:
    assert list(tales(50, seed=3)) == list(tales(50, seed=3))
    assert list(tales(50, seed=3)) == list(tales(80, seed=3))[:50]
    assert list(tales(50, seed=3)) != list(tales(50, seed=4))


def test_each_tale_keeps_its_cast() -> None:
    for tale in TALES:
        cast = find_cast(tale.text)
        assert cast.names == [tale.hero.name, tale.friend.name], tale.text
        assert cast.kinds == [tale.hero.kind, tale.friend.kind], tale.text
        assert (cast.things, cast.colours) == ([tale.thing.noun], [tale.colour]), tale.text
        assert problems(tale.text) == [], tale.text


def test_tales_are_sentences() -> None:
    for tale in TALES:
        assert re.fullmatch(r"[A-Za-z ,.!?\"]+", tale.text), tale.text
        assert "  " not in tale.text
        assert tale.text[0].isupper()
        assert tale.text[-1] in ".!"
        assert tale.text.count('"') % 2 == 0, tale.text
        for start in re.findall(r'[.!?]"? "?(\w)', tale.text):
            assert start.isupper() or re.search(rf'[!?]" {start}', tale.text), tale.text


def test_articles_fit() -> None:
    for tale in TALES:
        assert not re.search(r"\ba [aeiou]", tale.text), tale.text
        assert not re.search(r"\ban [^aeiou]", tale.text), tale.text


def test_names_are_always_behind_a_space() -> None:
    """So that a vocabulary of whole words has one token for each."""
    for text in beats():
        assert not re.search(r"[^ ]\{(H|F|name|both)\}", text), text


def test_everything_is_told() -> None:
    told = Counter[str]()
    for tale in TALES:
        told.update(parts(tale))
    expected = {
        *lexicon.KINDS, *lexicon.COLOURS, *lexicon.CHARACTERS, *lexicon.SHE, *lexicon.HE,
        *(thing.noun for thing in lexicon.THINGS), "I", "it",
    }  # fmt: skip
    assert expected <= told.keys()


def parts(tale: Tale) -> set[str]:
    people = (tale.hero, tale.friend)
    traits = {trait for one in people for trait in (one.name, one.kind, one.character)}
    return traits | {tale.thing.noun, tale.colour, "I" if tale.first_person else "it"}


@pytest.mark.parametrize("plot", plots.PLOTS)
def test_every_plot_has_things(plot: plots.Plot) -> None:
    assert len([thing for thing in lexicon.THINGS if plot.fits(thing)]) >= 3


def test_places_and_plots_leave_the_cast_alone() -> None:
    reserved = {
        *lexicon.KINDS, *lexicon.COLOURS, *(thing.noun for thing in lexicon.THINGS),
        *lexicon.SHE, *lexicon.HE,
    }  # fmt: skip
    places = [
        text
        for place in lexicon.PLACES
        for text in (place.home, *place.spots, place.high, place.water, place.way, place.everyone)
    ]
    for text in [*places, *(re.sub(r"\{\w+\}", "", beat) for beat in beats())]:
        assert not reserved & set(re.findall(r"\w+", text)), text


def test_sentences_have_known_slots_only() -> None:
    slots = {name for text in beats() for _, name, _, _ in string.Formatter().parse(text) if name}
    told = "".join(tale.text for tale in TALES)
    assert "H" in slots
    assert "{" not in told

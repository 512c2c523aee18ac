"""The corpus: tales that the grammar tells, one hero, friend and thing in each."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tools.demo_model import lexicon, plots, voices

_PRONOUNS = {"she": ("she", "her", "her"), "he": ("he", "him", "his")}


@dataclass(frozen=True)
class Character:
    """Somebody in a tale; ``pronoun`` is she or he."""

    name: str
    pronoun: str
    kind: str
    character: str


@dataclass(frozen=True)
class Tale:
    """A tale and what it is about."""

    text: str
    hero: Character
    friend: Character
    thing: lexicon.Thing
    colour: str
    first_person: bool


def tell(random: Random) -> Tale:
    """Tells one tale."""
    voice, plot = random.choice(voices.VOICES), random.choice(plots.PLOTS)
    hero, friend = _cast(random)
    thing = random.choice([thing for thing in lexicon.THINGS if plot.fits(thing)])
    colour = random.choice(lexicon.COLOURS)
    slots = (
        _people(hero, friend, voice.first_person)
        | _stage(random, random.choice(lexicon.PLACES))
        | _props(thing, colour)
    )
    beats = (voice.openings, voice.friends, *plot.beats, voice.endings)
    text = " ".join(random.choice(beat).format_map(slots) for beat in beats)
    return Tale(text, hero, friend, thing, colour, voice.first_person)


def tales(count: int, seed: int) -> Iterator[Tale]:
    """Tells ``count`` tales; the same ones for the same seed."""
    random = Random(seed)
    return (tell(random) for _ in range(count))


def _cast(random: Random) -> tuple[Character, Character]:
    kinds = random.sample(lexicon.KINDS, 2)
    characters = random.sample(lexicon.CHARACTERS, 2)
    hero, friend = _name(random), _name(random)
    while hero[0] == friend[0]:
        friend = _name(random)
    return (
        Character(*hero, kinds[0], characters[0]),
        Character(*friend, kinds[1], characters[1]),
    )


def _name(random: Random) -> tuple[str, str]:
    pronoun = random.choice(("she", "he"))
    return random.choice(lexicon.SHE if pronoun == "she" else lexicon.HE), pronoun


def _people(hero: Character, friend: Character, first_person: bool) -> dict[str, str]:
    """The slots for hero and friend."""
    he, him, his = ("I", "me", "my") if first_person else _PRONOUNS[hero.pronoun]
    fhe, fhim, _ = _PRONOUNS[friend.pronoun]
    they, them = ("we", "us") if first_person else ("they", "them")
    return {
        "H": "I" if first_person else hero.name,
        "name": hero.name,
        "kind": hero.kind,
        "character": hero.character,
        "he": he, "He": _capital(he), "him": him, "his": his, "His": _capital(his),
        "F": friend.name,
        "fkind": friend.kind,
        "fcharacter": friend.character,
        "fhe": fhe, "Fhe": _capital(fhe), "fhim": fhim,
        "both": f"{friend.name} and I" if first_person else f"{hero.name} and {friend.name}",
        "they": they, "They": _capital(they), "them": them,
    }  # fmt: skip


def _stage(random: Random, place: lexicon.Place) -> dict[str, str]:
    """The slots for where and when."""
    spot1, spot2, spot3 = random.sample(place.spots, 3)
    day = random.choice(lexicon.DAYS)
    return {
        "home": place.home, "Home": _capital(place.home),
        "spot1": spot1, "spot2": spot2, "spot3": spot3,
        "high": place.high, "water": place.water, "way": place.way,
        "everyone": place.everyone, "Everyone": _capital(place.everyone),
        "day": day[0].lower() + day[1:], "Day": day,
    }  # fmt: skip


def _props(thing: lexicon.Thing, colour: str) -> dict[str, str]:
    """The slots for the thing."""
    return {
        "o": thing.noun, "co": f"{colour} {thing.noun}", "colour": colour,
        "joy": thing.joy, "use": thing.use, "used": thing.used,
        "broke": thing.broke, "mended": thing.mended, "signal": thing.signal,
    }  # fmt: skip


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]

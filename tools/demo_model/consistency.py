"""Does a tale make sense? Finds what a reader would stumble over: people and things that change.

It reads plain text, with no knowledge of how the tale was made, so it judges the grammar's tales
and a model's alike.
"""

import re
from dataclasses import dataclass
from functools import cache

from tools.demo_model import lexicon, plots, voices

_SPEECH = re.compile(
    r'"([^"]*)"'
    r"(?: (?:said|asked|cried|called) (?:the )?(\w+)| (\w+) (?:said|cried|called|thought(?! for)))?"
)
_ANNOUNCED_SPEECH = re.compile(r'(\w+) (?:said|asked), "([^"]*)"')
_FIRST_PERSON = re.compile(r"\b(I|[Mm]e|[Mm]y|[Ww]e|[Uu]s)\b")
_PRONOUNS = {"she": "she", "her": "she", "he": "he", "him": "he", "his": "he"}


@dataclass(frozen=True)
class Cast:
    """Whom and what a text names, each in the order of its first mention."""

    names: list[str]
    kinds: list[str]
    things: list[str]
    colours: list[str]


def problems(text: str) -> list[str]:
    """What is wrong with a whole tale; empty if it keeps one hero, one friend and one thing.

    Hero and friend are the first two names. Each must have one kind (it may be the same), be spoken
    of as she or he as the name says, and turn up in the second half, as must the thing, in one
    colour. The narrator must not change, and nobody speaks to himself.
    """
    cast = find_cast(text)
    found = [
        f"{len(members)} {what}: {', '.join(members)}"
        for what, members, expected in (
            ("names", cast.names, (2,)),
            ("kinds", cast.kinds, (1, 2)),
            ("things", cast.things, (1,)),
            ("colours", cast.colours, (1,)),
        )
        if len(members) not in expected
    ]
    if found:
        return found
    return [
        *_vanished(text, cast),
        *_narrator(text, cast),
        *_pronouns(text, cast),
        *_speakers(text, cast),
        *_strange_things(text, cast),
    ]


def find_cast(text: str) -> Cast:
    """Finds people, kinds, things and colours."""
    in_order = list(dict.fromkeys(re.findall(r"[A-Za-z]+", text)))
    return Cast(
        names=[word for word in in_order if word[0].isupper() and word not in common_words()],
        kinds=[word for word in in_order if word in lexicon.KINDS],
        things=[word for word in in_order if word in {thing.noun for thing in lexicon.THINGS}],
        colours=[word for word in in_order if word in lexicon.COLOURS],
    )


@cache
def common_words() -> frozenset[str]:
    """Words that may begin a sentence, so that a capital letter does not make them a name."""
    sentences = [
        sentence
        for voice in voices.VOICES
        for beat in (voice.openings, voice.friends, voice.endings)
        for sentence in beat
    ]
    sentences += [sentence for plot in plots.PLOTS for beat in plot.beats for sentence in beat]
    sentences += [thing.joy for thing in lexicon.THINGS] + list(lexicon.DAYS)
    written = re.findall(r"[A-Z][a-z]*", re.sub(r"\{\w+\}", " ", " ".join(sentences)))
    filled = ("He", "She", "His", "Her", "They", "We", "My", "The", "In", "On", "Near")
    return frozenset((*written, *filled))


def _vanished(text: str, cast: Cast) -> list[str]:
    hero, friend = cast.names
    second_half = text[len(text) // 2 :]
    hero_kind, friend_kind = cast.kinds if len(cast.kinds) == 2 else ("", "")
    marks = {
        hero: (hero_kind, *(("I",) if _told_by_hero(text) else ())),
        friend: (friend_kind,),
        cast.things[0]: (),
    }
    return [
        f"no {one} in the second half"
        for one, others in marks.items()
        if not set(re.findall(r"\w+", second_half)) & {one, *others}
    ]


def _narrative(text: str) -> str:
    return re.sub(r'"[^"]*"?', '"', text)


def _told_by_hero(text: str) -> bool:
    return bool(re.search(r"\bI am\b|\bMy name\b", _narrative(text)[:100]))


def _narrator(text: str, cast: Cast) -> list[str]:
    narrative = _narrative(text)
    if not _told_by_hero(text):
        match = _FIRST_PERSON.search(narrative)
        return [f"a tale about {cast.names[0]} says {match[0]}"] if match else []
    later = narrative.replace(cast.names[0], "", 1)
    return [f"the hero calls himself {cast.names[0]}"] if cast.names[0] in later else []


def _gender(name: str) -> str | None:
    """She or he, by a known name; None where it does not tell."""
    if name in lexicon.SHE or name in lexicon.HE:
        return "she" if name in lexicon.SHE else "he"
    return None


def _pronouns(text: str, cast: Cast) -> list[str]:
    people = cast.names[1:] if _told_by_hero(text) else cast.names
    genders = {_gender(name) for name in people}
    if None in genders:
        return []
    used = {
        _PRONOUNS[word]
        for word in re.findall(r"\w+", _narrative(text).lower())
        if word in _PRONOUNS
    }
    return [f"nobody here is a {gender}" for gender in sorted(used) if gender not in genders]


def _speakers(text: str, cast: Cast) -> list[str]:
    by_kind = dict(zip(cast.kinds, cast.names, strict=True)) if len(cast.kinds) == 2 else {}
    if _told_by_hero(text):
        by_kind["I"] = cast.names[0]
    talks = []
    turns = _SPEECH.findall(text)
    turns += [(speech, speaker) for speaker, speech in _ANNOUNCED_SPEECH.findall(text)]
    for speech, *speakers in turns:
        for speaker in filter(None, speakers):
            name = by_kind.get(speaker, speaker)
            if name in cast.names and re.search(rf"\b{name}\b", speech):
                talks.append(f"{name} speaks to himself")
    return talks


def _strange_things(text: str, cast: Cast) -> list[str]:
    own = next(thing for thing in lexicon.THINGS if thing.noun == cast.things[0])
    return [
        f"the {own.noun} is like a {other.noun}"
        for other in lexicon.THINGS
        if other.joy != own.joy and other.joy in text
    ]

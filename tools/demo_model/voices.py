"""The voices that tell the tales: how each begins, brings in the friend, and ends.

The slots in braces are those of :mod:`tools.demo_model.plots`.
"""

from dataclasses import dataclass

Beat = tuple[str, ...]
"""Sentences with slots, of which a tale has one."""


@dataclass(frozen=True)
class Voice:
    """How a tale is told: its openings, the friend's entry, and its last words."""

    openings: Beat
    friends: Beat
    endings: Beat
    first_person: bool = False


_FRIENDS = (
    "{His} best friend was {F} the {fkind}.",
    "{H} had a {fcharacter} friend, {F} the {fkind}.",
    "Next door lived {F} the {fkind}, and the two were best friends.",
    "Every day {he} played with {F} the {fkind}.",
)

CLASSIC = Voice(
    openings=(
        "Once upon a time, there was a {character} {kind} named {name}. {He} lived {home}.",
        "Once upon a time, a {character} {kind} named {name} lived {home}.",
        "Once upon a time, {home}, there lived a {character} {kind} named {name}.",
        "Once upon a time there was a {character} {kind} named {name} who lived {home}.",
    ),
    friends=_FRIENDS,
    endings=(
        "And {both} were happy ever after.",
        "From that day on, {both} did everything together.",
        "{both} stayed friends for the rest of their lives.",
        "And that night, {both} slept very well.",
    ),
)
PLAIN = Voice(
    openings=(
        "{Home} lived a {character} {kind} named {name}.",
        "{name} was a {character} {kind} who lived {home}.",
        "There was a {character} {kind} named {name} who lived {home}.",
        "Long ago, a {character} {kind} named {name} lived {home}.",
    ),
    friends=_FRIENDS,
    endings=(
        "{both} laughed all the way home.",
        "{both} went home hand in hand.",
        "What a day it was for {both}!",
    ),
)
NARRATOR = Voice(
    openings=(
        "Listen! This is the tale of {name}, a {character} {kind} who lived {home}.",
        "Do you know the tale of {name}? {He} was a {character} {kind} and lived {home}.",
        "Come and hear about a {character} {kind} named {name} who lived {home}.",
    ),
    friends=_FRIENDS,
    endings=(
        "And that is the tale of {name}, {F} and the {co}.",
        "If you go there today, you may still see {both} with the {co}.",
        "Now you know the tale of {name}, {F} and the {co}. Good night!",
    ),
)
FIRST_PERSON = Voice(
    openings=(
        "My name is {name}. I am a {character} {kind} and I live {home}.",
        "Hello! I am {name}, a {character} {kind}. I live {home}.",
        "I am a {character} {kind} named {name}, and I live {home}.",
    ),
    friends=(
        "My best friend is {F} the {fkind}.",
        "I have a {fcharacter} friend, {F} the {fkind}.",
        "Next door lives {F} the {fkind}, and we are best friends.",
    ),
    endings=(
        "{F} and I will never forget that day.",
        "{F} is the best friend that I know.",
        "That night I dreamed of {F} and the {co}.",
    ),
    first_person=True,
)
VOICES = (CLASSIC, CLASSIC, CLASSIC, PLAIN, NARRATOR, FIRST_PERSON)
"""As often as they are told: half of the tales begin as tales do."""

"""The consistency check finds what a reader would stumble over."""

import pytest

from tools.demo_model.consistency import problems

TALE = (
    "Once upon a time, a shy owl named Lily lived near the sea. Her best friend was a brave fox "
    "named Tom. Lily had a red kite. It flew higher than the birds. One fine day, Lily lost the "
    'kite on the beach. "Do not cry, Lily," said Tom. "I will help you." Tom saw something red in '
    'the warm sand. "Thank you, Tom!" Lily said. The fox smiled, and they flew the red kite.'
)
TOLD_BY_HERO = (
    "My name is Lily. I am a shy owl and I live near the sea. My best friend is a brave fox named "
    'Tom. I had a red kite. I lost it. "Do not cry, Lily," said the fox. "Here is the kite." '
    '"Thank you, Tom!" I said.'
)


@pytest.mark.parametrize("tale", [TALE, TOLD_BY_HERO])
def test_good_tale(tale: str) -> None:
    assert problems(tale) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("said Tom", "said Ben", "3 names: Lily, Tom, Ben"),
        ("said Tom", "said Wukobo", "3 names: Lily, Tom, Wukobo"),
        ("Tom", "Lily", "1 names: Lily"),
        ("The fox", "The bear", "3 kinds: owl, fox, bear"),
        ("flew the red kite", "flew the red drum", "2 things: kite, drum"),
        ("flew the red kite", "flew the blue kite", "2 colours: red, blue"),
        ("something red", "something green", "2 colours: red, green"),
        ("Thank you, Tom!", "Thank you, Lily!", "Lily speaks to himself"),
        ("Do not cry, Lily", "Do not cry, Tom", "Tom speaks to himself"),
        ('"Do not cry, Lily," said Tom.', 'Tom said, "Do not cry, Tom."', "Tom speaks to himself"),
        ("they flew", "we flew", "a tale about Lily says we"),
        ("It flew higher than the birds.", "It went boom, boom, boom.", "the kite is like a drum"),
    ],
)
def test_fault_is_found(old: str, new: str, problem: str) -> None:
    faulty = TALE.replace(old, new)
    assert faulty != TALE
    assert any(problem in found for found in problems(faulty)), problems(faulty)


def test_friends_may_be_of_one_kind() -> None:
    assert problems(TALE.replace("brave fox", "brave owl").replace("The fox", "Tom")) == []


def test_pronoun_of_nobody_is_found() -> None:
    assert problems(TALE.replace("Tom", "Nora").replace("Her best", "His best")) == [
        "nobody here is a he"
    ]


def test_hero_who_leaves_the_voice_is_found() -> None:
    faulty = TOLD_BY_HERO.replace('Tom!" I said', 'Tom!" Lily said')
    assert problems(faulty) == ["the hero calls himself Lily"]


def test_friend_who_disappears_is_found() -> None:
    tale = TALE.replace(' "Thank you, Tom!" Lily said. The fox', " Lily").replace(
        "Tom saw", "She saw"
    )
    assert problems(tale + " Lily was glad." * 20 + " What a red kite!") == [
        "no Tom in the second half"
    ]


def test_thing_that_disappears_is_found() -> None:
    assert problems(TALE + " Lily and Tom went home." * 20) == ["no kite in the second half"]

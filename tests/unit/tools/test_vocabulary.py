"""The demo model's tokenizer, as the host reads it back."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalhost.models.tokenizer import BOS, FIRST_BYTE, Tokenizer, read_tokenizer
from tools.demo_model.grammar import tales
from tools.demo_model.tokenizer import train, words, write_tokenizer

TEXTS = [tale.text for tale in tales(400, seed=2)]
SIZE = 640
VOCABULARY = train(TEXTS, SIZE)


def test_layout_is_llama2cs() -> None:
    tokenizer = VOCABULARY.tokenizer
    assert len(tokenizer.pieces) == len(tokenizer.scores) == SIZE
    assert tokenizer.pieces[:3] == (b"<unk>", b"\n<s>\n", b"\n</s>\n")
    assert tokenizer.pieces[FIRST_BYTE] == b"<0x00>"
    assert tokenizer.pieces[FIRST_BYTE + 255] == b"<0xFF>"
    assert len(set(tokenizer.pieces)) == SIZE
    learnt = tokenizer.scores[FIRST_BYTE + 256 :]
    assert all(first > second for first, second in pairwise(learnt))


def test_special_tokens_are_those_of_published_files(tok512: Path) -> None:
    published = read_tokenizer(tok512, 512)
    count = FIRST_BYTE + 256
    assert VOCABULARY.tokenizer.pieces[:count] == published.pieces[:count]
    assert VOCABULARY.tokenizer.scores[:count] == published.scores[:count]


def test_encoder_finds_the_trainers_tokens() -> None:
    for text in TEXTS:
        assert VOCABULARY.tokenizer.encode(text) == [BOS, *VOCABULARY.encode(text)]


def test_no_piece_crosses_a_border() -> None:
    for piece in VOCABULARY.tokenizer.pieces[FIRST_BYTE + 256 :]:
        assert b" " not in piece[1:]
        assert piece.strip().isalpha() or not any(chr(byte).isalpha() for byte in piece)


def test_words_are_the_text_behind_a_space() -> None:
    assert words('Oh! "Oh," said Pip.') == [" Oh", "!", ' "', "Oh", ',"', " said", " Pip", "."]
    assert "".join(words(TEXTS[0])) == " " + TEXTS[0]


@given(st.text(min_size=1, max_size=40))
def test_any_text_round_trips(text: str) -> None:
    assert VOCABULARY.tokenizer.decode(VOCABULARY.tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", ["Zoë und Jürgen", "ねこ 🦊", "x\ty\n7%"])
def test_characters_outside_the_corpus_are_bytes(text: str) -> None:
    tokenizer = VOCABULARY.tokenizer
    tokens = tokenizer.encode(text)
    assert any(FIRST_BYTE <= token < FIRST_BYTE + 256 for token in tokens)
    assert tokenizer.decode(tokens) == text


def test_training_is_deterministic() -> None:
    assert train(TEXTS, SIZE) == VOCABULARY


def test_merges_are_the_most_frequent_pairs() -> None:
    vocabulary = train(["ab ab abab"], 259 + 3 + 3)
    # "ab" stands four times, " ab" three times; what is left is " abab".
    assert vocabulary.tokenizer.pieces[259:262] == (b"ab", b" ab", b" abab")
    assert vocabulary.splits == {" ab": [260], " abab": [261]}


def test_repeated_letters_merge_from_the_left() -> None:
    vocabulary = train(["aaa aaa"], 259 + 2 + 1)
    tokenizer = vocabulary.tokenizer
    assert tokenizer.pieces[259] in (b" a", b"aa")
    assert tokenizer.encode("aaa") == [BOS, *vocabulary.encode("aaa")]


@pytest.mark.parametrize(
    ("size", "message"),
    [(260, "2 characters do not fit a vocabulary of 260"), (999, "too few different words")],
)
def test_impossible_size_is_refused(size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(["aa"], size)


def test_unknown_word_is_refused() -> None:
    with pytest.raises(KeyError, match="Xylophone"):
        VOCABULARY.encode("Xylophone")


def test_file_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "tok.bin"
    write_tokenizer(VOCABULARY.tokenizer, path)
    assert read_tokenizer(path, SIZE) == VOCABULARY.tokenizer


def test_published_file_is_written_to_the_bit(tok512: Path, tmp_path: Path) -> None:
    tokenizer: Tokenizer = read_tokenizer(tok512, 512)
    write_tokenizer(tokenizer, tmp_path / "tok.bin")
    assert (tmp_path / "tok.bin").read_bytes() == tok512.read_bytes()

"""The tokenizer against llama2.c's rules."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalhost.errors import ModelError, UsageError
from jalhost.models.tokenizer import (
    BOS,
    FIRST_BYTE,
    StreamDecoder,
    Tokenizer,
    from_tensors,
    read_tokenizer,
)
from jaltest.tiny import tiny_tokenizer, write_tokenizer

TINY = tiny_tokenizer()


def slow_encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """llama2.c's own way: look at all pairs again after each merge."""
    pieces = list(tokenizer.pieces)
    tokens: list[int] = []
    for character in " " + text:
        data = character.encode()
        tokens += [pieces.index(data)] if data in pieces else [byte + FIRST_BYTE for byte in data]
    while True:
        best: tuple[float, int, int] | None = None
        for place in range(len(tokens) - 1):
            union = pieces[tokens[place]] + pieces[tokens[place + 1]]
            if union in pieces:
                token = pieces.index(union)
                if best is None or tokenizer.scores[token] > best[0]:
                    best = tokenizer.scores[token], place, token
        if best is None:
            return [BOS, *tokens]
        tokens[best[1] : best[1] + 2] = [best[2]]


@given(st.text(alphabet="theonw aé\n", min_size=1, max_size=30))
def test_encoding_merges_as_llama2c_does(text: str) -> None:
    assert TINY.encode(text) == slow_encode(TINY, text)


def test_published_encoding(tok512: Path) -> None:
    tokenizer = read_tokenizer(tok512, 512)
    assert tokenizer.encode("Once upon a time") == [1, 403, 407, 261, 378]


@given(st.text(min_size=1, max_size=40))
def test_decoding_gives_the_text_back(text: str) -> None:
    assert TINY.decode(TINY.encode(text)) == text


@given(st.text(max_size=20), st.integers(0, 20))
def test_streamed_characters_are_never_broken(text: str, start: int) -> None:
    tokens = [byte + FIRST_BYTE for byte in text.encode()]
    stream = StreamDecoder(TINY)
    parts = [stream.feed(token) for token in tokens]
    assert (
        "\N{REPLACEMENT CHARACTER}" not in "".join(parts).replace("\ufffd", "") or "\ufffd" in text
    )
    assert "".join(parts) == text
    assert stream.finish() == ""


def test_a_character_comes_with_its_last_byte() -> None:
    stream = StreamDecoder(TINY)
    euro = [stream.feed(byte + FIRST_BYTE) for byte in "€".encode()]
    assert euro == ["", "", "€"]


def test_bytes_that_are_no_character_are_replaced() -> None:
    stream = StreamDecoder(TINY)
    assert stream.feed(0xE2 + FIRST_BYTE) == ""
    assert stream.feed(TINY.pieces.index(b"the")) == "\N{REPLACEMENT CHARACTER}the"
    stream.feed(0xE2 + FIRST_BYTE)
    assert stream.finish() == "\N{REPLACEMENT CHARACTER}"


def test_the_space_behind_bos_is_dropped_once() -> None:
    the = TINY.pieces.index(b" the")
    assert TINY.decode([BOS, the, the]) == "the the"


def test_long_prompts_take_moderate_time() -> None:
    assert len(TINY.encode("the one " * 20_000)) > 20_000


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(UsageError, match="not valid UTF-8"):
        TINY.encode("caf\udce9")


def test_characters_that_cannot_be_spelled_are_refused() -> None:
    poor = Tokenizer((b"<unk>", b"<s>", b"</s>", b" ", b"a"), (0.0,) * 5)
    assert poor.encode("aa") == [1, 3, 4, 4]
    with pytest.raises(UsageError, match="cannot spell 'b'"):
        poor.encode("b")


def test_unknown_token_is_named() -> None:
    with pytest.raises(ModelError, match=f"token {len(TINY.pieces)} is not in the vocabulary"):
        TINY.piece(len(TINY.pieces))


def test_files_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "tok.bin"
    write_tokenizer(TINY, path)
    assert read_tokenizer(path, len(TINY.pieces)) == TINY


def test_tensors_round_trip() -> None:
    assert from_tensors(TINY.tensors()) == TINY


@pytest.mark.parametrize("missing", [1, 3, 9])
def test_truncated_file_is_refused(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "tok.bin"
    write_tokenizer(TINY, path)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(ModelError, match=r"breaks off at token|has \d+ tokens"):
        read_tokenizer(path, len(TINY.pieces))


def test_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tok.bin"
    write_tokenizer(TINY, path)
    with pytest.raises(ModelError, match="has 274 tokens, the model has 32000"):
        read_tokenizer(path, 32000)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read tokenizer .*no\.bin: No such file"):
        read_tokenizer(tmp_path / "no.bin", 1)

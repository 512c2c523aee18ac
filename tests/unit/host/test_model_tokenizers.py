"""Tokenizers that model files embed: the same tokens as the libraries that made them."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jalhost.errors import ModelError
from jalhost.models.fast_tokenizer import FastTokenizer, read_tokenizer_tensors
from jalhost.models.gguf_file import read_gguf
from jalhost.models.gguf_tokenizer import gguf_tokenizer
from jalhost.models.hf_tokenizer import hf_tokenizer
from jalhost.models.tokenizer import StreamDecoder
from jaltest.models import REPOSITORY
from jaltest.strings import strings
from jaltest.vocabularies import (
    KINDS,
    SPECIAL,
    TEMPLATE,
    add_byte_level,
    add_sentence_piece,
    byte_level_tokenizer,
    finish,
    gguf_writer,
    one_tensor,
    sentence_piece_model,
)

TEXTS = strings(2000, seed=1)


def from_gguf(path: Path, size: int) -> tuple[FastTokenizer, tuple[int, ...]]:
    return gguf_tokenizer(read_gguf(path), size)


def write_byte_level(path: Path, tokenizer: Any, kind: str, bos: bool = False) -> None:
    writer = gguf_writer(path)
    add_byte_level(writer, tokenizer, kind, bos)
    one_tensor(writer)
    finish(writer)


@pytest.fixture(scope="module", params=KINDS)
def byte_level(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, byte_level_tokenizer(request.param)


@pytest.fixture(scope="module")
def spm() -> bytes:
    return sentence_piece_model()


@pytest.fixture
def spm_tokenizer(tmp_path: Path, spm: bytes) -> FastTokenizer:
    writer = gguf_writer(tmp_path / "x.gguf")
    size = add_sentence_piece(writer, spm)
    one_tensor(writer)
    finish(writer)
    return from_gguf(tmp_path / "x.gguf", size)[0]


def test_byte_level_tokens_from_gguf(tmp_path: Path, byte_level: tuple[str, Any]) -> None:
    kind, theirs = byte_level
    write_byte_level(tmp_path / "x.gguf", theirs, kind)
    ours, stops = from_gguf(tmp_path / "x.gguf", theirs.get_vocab_size())
    assert stops == (theirs.token_to_id("<|im_end|>"),)
    assert (ours.bos, ours.chat_template) == (None, TEMPLATE)
    assert ours.words == {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    for text in TEXTS:
        tokens = ours.encode(text)
        assert tokens == theirs.encode(text).ids, repr(text)
        wanted = theirs.normalizer.normalize_str(text) if theirs.normalizer else text
        assert ours.decode(tokens) == wanted


def test_byte_level_tokens_from_a_folder(tmp_path: Path, byte_level: tuple[str, Any]) -> None:
    _, theirs = byte_level
    theirs.save(str(tmp_path / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "chat_template": TEMPLATE}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    size = theirs.get_vocab_size()
    ours, stops = hf_tokenizer(tmp_path, size + 40)
    assert stops == (theirs.token_to_id("<|im_end|>"),)
    assert ours.chat_template == TEMPLATE
    assert len(ours.pieces) == size + 40  # the model's matrices may have more rows
    assert ours.piece(size + 39) == b""
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text).ids, repr(text)


def test_sentence_piece_tokens(spm: bytes, spm_tokenizer: FastTokenizer) -> None:
    import sentencepiece

    theirs = sentencepiece.SentencePieceProcessor(model_proto=spm)
    for text in TEXTS:
        tokens = spm_tokenizer.encode(text)
        assert tokens == [theirs.bos_id(), *theirs.encode(text)], repr(text)
        assert spm_tokenizer.decode(tokens) == text


CLASSES = {
    "llama-bpe": "PreTrainedTokenizerFast",
    "qwen2": "Qwen2TokenizerFast",
    "smollm": "PreTrainedTokenizerFast",
    "default": "GPT2TokenizerFast",
}


def by_transformers(folder: Path, name: str) -> list[list[int]]:
    """Tokens of TEXTS; skips where no Python with transformers is named."""
    python = os.environ.get("JALHOST_HF_PYTHON")
    if not python:
        pytest.skip("JALHOST_HF_PYTHON does not name a Python that has transformers")
    (folder / "texts.json").write_text(json.dumps(TEXTS))
    script = REPOSITORY / "tests" / "jaltest" / "hf_tokens.py"
    names = [str(folder), name, str(folder / "texts.json"), str(folder / "ids.json")]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    subprocess.run(
        [python, str(script), *names], check=True, capture_output=True, env=os.environ | offline
    )
    found: list[list[int]] = json.loads((folder / "ids.json").read_text())
    return found


def test_tokens_are_those_of_transformers(tmp_path: Path, byte_level: tuple[str, Any]) -> None:
    kind, theirs = byte_level
    folder = tmp_path / "hf"
    folder.mkdir()
    theirs.save(str(folder / "tokenizer.json"))
    definition = json.loads(theirs.to_str())
    (folder / "vocab.json").write_text(json.dumps(definition["model"]["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in definition["model"]["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    wanted = by_transformers(folder, CLASSES[kind])
    write_byte_level(tmp_path / "x.gguf", theirs, kind)
    ours, _ = from_gguf(tmp_path / "x.gguf", theirs.get_vocab_size())
    for text, tokens in zip(TEXTS, wanted, strict=True):
        assert ours.encode(text) == tokens, repr(text)


def test_sentence_piece_tokens_are_those_of_transformers(
    tmp_path: Path, spm: bytes, spm_tokenizer: FastTokenizer
) -> None:
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(spm)
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    wanted = by_transformers(folder, "LlamaTokenizerFast")
    # Where a text begins with a space, transformers 5 puts no other in front; SentencePiece does.
    pairs = [pair for pair in zip(TEXTS, wanted, strict=True) if not pair[0].startswith(" ")]
    assert len(pairs) > 1500
    for text, tokens in pairs:
        assert spm_tokenizer.encode(text) == tokens, repr(text)


def test_special_tokens_count_in_a_text_and_add_nothing(
    tmp_path: Path, byte_level: tuple[str, Any]
) -> None:
    kind, theirs = byte_level
    write_byte_level(tmp_path / "x.gguf", theirs, kind, bos=True)
    ours, _ = from_gguf(tmp_path / "x.gguf", theirs.get_vocab_size())
    text = f"{SPECIAL[1]}user\nhi{SPECIAL[2]}\n"
    start, end = (theirs.token_to_id(text) for text in SPECIAL[1:])
    tokens = ours.encode(text)
    assert tokens[:2] == [ours.bos, start]
    assert end in tokens
    assert ours.decode(tokens) == "user\nhi\n"
    assert ours.encode_part(text, first=True) == tokens[1:]


def test_parts_of_a_text_get_no_space(spm_tokenizer: FastTokenizer) -> None:
    whole = spm_tokenizer.encode("the lazy dog")
    first = spm_tokenizer.encode_part("the lazy", first=True)
    rest = spm_tokenizer.encode_part(" dog", first=False)
    assert [spm_tokenizer.bos, *first, *rest] == whole
    assert spm_tokenizer.decode([*first, *spm_tokenizer.encode_part("x", False)]) == "the lazyx"


def test_streams_never_show_half_a_character(
    tmp_path: Path, byte_level: tuple[str, Any], spm_tokenizer: FastTokenizer
) -> None:
    kind, theirs = byte_level
    write_byte_level(tmp_path / "y.gguf", theirs, kind)
    for codec in (from_gguf(tmp_path / "y.gguf", theirs.get_vocab_size())[0], spm_tokenizer):
        text = "𒁀ꙮ smile 😀 and 󱈴 end"
        stream = StreamDecoder(codec)
        parts = [stream.feed(token) for token in codec.encode(text)]
        assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)
        assert "".join(parts) + stream.finish() == text
        assert "" in parts  # some characters took several tokens


def test_images_carry_tokenizers(spm_tokenizer: FastTokenizer) -> None:
    tensors, metadata = spm_tokenizer.tensors(), spm_tokenizer.metadata()
    back = read_tokenizer_tensors(tensors, json.loads(json.dumps(metadata)))
    assert back == spm_tokenizer
    with pytest.raises(ModelError, match="tokenizer of the kind 'word'"):
        read_tokenizer_tensors(tensors, metadata | {"kind": "word"})


def test_unknown_rules_are_named(tmp_path: Path) -> None:
    theirs = byte_level_tokenizer("default", 300)
    write_byte_level(tmp_path / "x.gguf", theirs, "no-such-rule")
    with pytest.raises(ModelError, match="split by the rule 'no-such-rule'"):
        from_gguf(tmp_path / "x.gguf", theirs.get_vocab_size())
    with pytest.raises(ModelError, match="its tokenizer has 300 tokens, its model 7"):
        from_gguf(tmp_path / "x.gguf", 7)

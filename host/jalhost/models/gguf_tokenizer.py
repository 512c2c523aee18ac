"""Tokenizers that GGUF files embed, as definitions for the package ``tokenizers``.

Keys: gguf-py's constants.py (github.com/ggml-org/llama.cpp). Two kinds: ``llama``, SentencePiece's
byte-pair encoding with byte fallback, whose merges follow from the pieces' scores; and ``gpt2``,
byte-level pair encoding with merges of its own and a rule that splits texts first. The rules are
those of the models' own ``tokenizer.json``.
"""

import json
from typing import Any

import numpy as np

from jalhost.errors import ModelError
from jalhost.models.fast_tokenizer import FastTokenizer
from jalhost.models.gguf_file import GgufFile
from jalhost.models.tokenizer_pieces import END_OF_TURN, Piece, bytes_of, make_tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Values of ``tokenizer.ggml.token_type``, as llama.h has them."""

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}

PRE_TOKENIZERS = {
    "llama-bpe": "llama3", "llama3": "llama3", "llama-v3": "llama3",
    "qwen2": "qwen2",
    "smollm": "smollm",
    "default": "gpt2", "gpt-2": "gpt2",
}  # fmt: skip
"""Names of ``tokenizer.ggml.pre``, and which rule they stand for."""

STOPS = ("eos_token_id", "eot_token_id", "eom_token_id")


def gguf_tokenizer(file: GgufFile, vocabulary: int) -> tuple[FastTokenizer, tuple[int, ...]]:
    """A file's tokenizer, and the tokens that end a text.

    Raises:
        ModelError: it is missing, damaged, of another kind, or does not fit to the vocabulary.
    """
    if "tokenizer.ggml.model" not in file.metadata:
        raise ModelError(
            f"{file.path} has no tokenizer", "make the file again from a folder that has one"
        )
    kind = file.text("tokenizer.ggml.model")
    tokens = _texts(file, "tokenizer.ggml.tokens")
    if len(tokens) != vocabulary:
        raise ModelError(
            f"{file.path}: its tokenizer has {len(tokens)} tokens, its model {vocabulary}"
        )
    types = _numbers(file, "tokenizer.ggml.token_type", len(tokens))
    if kind == "llama":
        definition = _sentence_piece(file, tokens, types)
        pieces = [_spm_piece(text, kind) for text, kind in zip(tokens, types, strict=True)]
    elif kind == "gpt2":
        definition = _byte_level(file, tokens, types)
        pieces = [_bpe_piece(text, kind) for text, kind in zip(tokens, types, strict=True)]
    else:
        raise ModelError(
            f"{file.path}: tokenizers of the kind {kind!r} cannot be read", "llama and gpt2 can"
        )
    bos = _token(file, "bos_token_id", len(tokens))
    stops = [_token(file, name, len(tokens)) for name in STOPS]
    stops += [tokens.index(text) for text in END_OF_TURN if text in tokens]
    if _adds_bos(file, kind) and bos is not None:
        definition["post_processor"] = bos_in_front(tokens[bos], bos)
    else:
        bos = None
    tokenizer = make_tokenizer(
        json.dumps(definition, ensure_ascii=False).encode(),
        [bytes_of(piece) for piece in pieces],
        bos,
        stops,
        leading_space=kind == "llama" and file.flag("tokenizer.ggml.add_space_prefix", True),
        chat_template=file.text("tokenizer.chat_template", "") or None,
        words={
            f"{name}_token": tokens[number]
            for name in ("bos", "eos")
            if (number := _token(file, f"{name}_token_id", len(tokens))) is not None
        },
    )
    return tokenizer


def _adds_bos(file: GgufFile, kind: str) -> bool:
    """Whether texts begin with BOS; where the file does not say, as llama.cpp has it."""
    rule = PRE_TOKENIZERS.get(file.text("tokenizer.ggml.pre", "default"))
    return file.flag("tokenizer.ggml.add_bos_token", kind == "llama" or rule == "llama3")


def _texts(file: GgufFile, key: str) -> list[str]:
    try:
        return [item.decode("utf-8") for item in file.strings(key)]
    except UnicodeDecodeError as error:
        raise ModelError(f"{file.path}: {key} is not UTF-8") from error


def _numbers(file: GgufFile, key: str, count: int) -> list[Any]:
    values = file.metadata.get(key)
    if values is None and key.endswith("token_type"):
        return [NORMAL] * count
    if not isinstance(values, np.ndarray) or len(values) != count:
        raise ModelError(f"{file.path}: {key} does not have {count} numbers", "it is damaged")
    numbers: list[Any] = values.tolist()
    return numbers


def _token(file: GgufFile, name: str, count: int) -> int | None:
    key = f"tokenizer.ggml.{name}"
    if key not in file.metadata:
        return None
    number = file.whole(key)
    if not 0 <= number < count:
        raise ModelError(f"{file.path}: {key} is {number}, there are {count} tokens")
    return number


def _spm_piece(text: str, kind: int) -> Piece:
    if kind == BYTE:
        return "byte", text
    return ("special" if kind in (CONTROL, UNKNOWN, UNUSED) else "spaced", text)


def _bpe_piece(text: str, kind: int) -> Piece:
    if kind == USER_DEFINED:
        return "plain", text
    return ("special" if kind in (CONTROL, UNKNOWN, UNUSED) else "mapped", text)


def _added(tokens: list[str], types: list[int]) -> list[dict[str, Any]]:
    """Tokens that are found in a text before anything else is."""
    return [
        {
            "id": number, "content": text, "special": kind == CONTROL, "normalized": False,
            "single_word": False, "lstrip": False, "rstrip": False,
        }
        for number, (text, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (CONTROL, USER_DEFINED) and text
    ]  # fmt: skip


def bos_in_front(text: str, token: int) -> dict[str, Any]:
    """A post-processor that puts a token in front of each text."""
    bos = {"SpecialToken": {"id": text, "type_id": 0}}
    sequences = [{"Sequence": {"id": name, "type_id": index}} for index, name in enumerate("AB")]
    return {
        "type": "TemplateProcessing",
        "single": [bos, sequences[0]],
        "pair": [bos, sequences[0], bos, sequences[1]],
        "special_tokens": {text: {"id": text, "ids": [token], "tokens": [text]}},
    }


def _definition(added: list[dict[str, Any]], **parts: Any) -> dict[str, Any]:
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
    } | parts  # fmt: skip


def _sentence_piece(file: GgufFile, tokens: list[str], types: list[int]) -> dict[str, Any]:
    scores = _numbers(file, "tokenizer.ggml.scores", len(tokens))
    unknown = _token(file, "unknown_token_id", len(tokens))
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": " "}, "content": "\N{LOWER ONE EIGHTH BLOCK}"}
    ]
    if file.flag("tokenizer.ggml.add_space_prefix", True):
        steps.insert(0, {"type": "Prepend", "prepend": "\N{LOWER ONE EIGHTH BLOCK}"})
    vocabulary = _vocabulary(file, tokens)
    return _definition(
        _added(tokens, types),
        normalizer={"type": "Sequence", "normalizers": steps},
        model={
            "type": "BPE", "dropout": None, "unk_token": tokens[unknown or 0],
            "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
            "byte_fallback": True, "ignore_merges": False, "vocab": vocabulary,
            "merges": merges_of_scores(vocabulary, scores, types),
        },
    )  # fmt: skip


def merges_of_scores(
    vocabulary: dict[str, int], scores: list[float], types: list[int]
) -> list[list[str]]:
    """The pairs that make each piece, best scores first, as transformers' converters order them."""
    found: list[tuple[float, int, int, str, str]] = []
    for piece, number in vocabulary.items():
        if types[number] in (CONTROL, BYTE, UNKNOWN):
            continue
        pairs = [
            (vocabulary[piece[:cut]], vocabulary[piece[cut:]], piece[:cut], piece[cut:])
            for cut in range(1, len(piece))
            if piece[:cut] in vocabulary and piece[cut:] in vocabulary
        ]
        found += [(scores[number], len(a), len(b), a, b) for _, _, a, b in sorted(pairs)]
    found.sort(key=lambda item: item[:3], reverse=True)
    return [[first, second] for *_, first, second in found]


def _vocabulary(file: GgufFile, tokens: list[str]) -> dict[str, int]:
    """Tokens by text; of equal ones, the first counts."""
    return {text: number for number, text in reversed(list(enumerate(tokens)))}


def _byte_level(file: GgufFile, tokens: list[str], types: list[int]) -> dict[str, Any]:
    name = file.text("tokenizer.ggml.pre", "default")
    rule = PRE_TOKENIZERS.get(name)
    if rule is None:
        raise ModelError(
            f"{file.path}: texts are split by the rule {name!r}, which is not known",
            f"{', '.join(PRE_TOKENIZERS)} are",
        )
    merges = [text.split(" ") for text in _texts(file, "tokenizer.ggml.merges")]
    if any(len(pair) != 2 for pair in merges):
        raise ModelError(f"{file.path}: tokenizer.ggml.merges has entries that are no pairs")
    return _definition(
        _added(tokens, types),
        normalizer={"type": "NFC"} if rule == "qwen2" else None,
        pre_tokenizer={"type": "Sequence", "pretokenizers": _splits(rule)},
        model={
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": rule == "llama3", "vocab": _vocabulary(file, tokens), "merges": merges,
        },
    )  # fmt: skip


def _splits(rule: str) -> list[dict[str, Any]]:
    """The pre-tokenizers of a rule."""
    if rule == "gpt2":
        return [{**BYTE_LEVEL, "use_regex": True}]
    if rule == "smollm":
        digits = {"type": "Digits", "individual_digits": True}
        return [digits, {**BYTE_LEVEL, "use_regex": True}]
    pattern = {"Regex": LLAMA3_SPLIT if rule == "llama3" else QWEN2_SPLIT}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return [split, {**BYTE_LEVEL, "use_regex": False}]

"""Tokenizers of Hugging Face folders: ``tokenizer.json`` and what stands beside it."""

import json
from pathlib import Path
from typing import Any

from jalhost.errors import ModelError
from jalhost.models.fast_tokenizer import FastTokenizer
from jalhost.models.gguf_tokenizer import bos_in_front
from jalhost.models.hf_model import CONFIG
from jalhost.models.safetensors_file import read_json
from jalhost.models.tokenizer_pieces import END_OF_TURN, Piece, bytes_of, make_tokenizer

TOKENIZER = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
GENERATION = "generation_config.json"
TEMPLATE = "chat_template.jinja"


def hf_tokenizer(folder: Path, vocabulary: int) -> tuple[FastTokenizer, tuple[int, ...]]:
    """A folder's tokenizer, and the tokens that end a text.

    Raises:
        ModelError: it is missing, damaged, of another kind, or does not fit to the vocabulary.
    """
    path = folder / TOKENIZER
    if not path.exists():
        raise ModelError(
            f"{folder} has no {TOKENIZER}",
            "download it, or have transformers write it: AutoTokenizer's save_pretrained",
        )
    try:
        return _read(folder, _object(read_json(path), path), vocabulary)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelError(f"{path} is damaged: {type(error).__name__} {error}") from error


def _read(
    folder: Path, definition: dict[str, Any], vocabulary: int
) -> tuple[FastTokenizer, tuple[int, ...]]:
    texts, pieces = _pieces(folder / TOKENIZER, definition, vocabulary)
    settings = _optional(folder / SETTINGS)
    numbers = {text: number for number, text in texts.items()}
    words = {
        name: text
        for name in ("bos_token", "eos_token")
        if (text := _word(settings.get(name))) is not None
    }
    bos = numbers.get(words.get("bos_token", ""))
    if settings.get("add_bos_token") is True and bos is not None and not _adds(definition, bos):
        definition["post_processor"] = bos_in_front(texts[bos], bos)
    stops = [numbers.get(words.get("eos_token", "")), *_listed_stops(folder, vocabulary)]
    stops += [numbers.get(text) for text in END_OF_TURN]
    return make_tokenizer(
        json.dumps(definition, ensure_ascii=False).encode(),
        pieces,
        bos if bos is not None and _adds(definition, bos) else None,
        stops,
        leading_space=_puts_space(definition),
        chat_template=_template(folder, settings),
        words=words,
    )


def _object(data: Any, path: Path) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ModelError(f"{path} is damaged: it is no JSON object")
    return data


def _optional(path: Path) -> dict[str, Any]:
    return _object(read_json(path), path) if path.is_file() else {}


def _word(value: Any) -> str | None:
    """A special token's text; older files keep an object."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _pieces(
    path: Path, definition: dict[str, Any], vocabulary: int
) -> tuple[dict[int, str], list[bytes]]:
    """Texts by token, and what each token of the model stands for: nothing where it has no text."""
    model = definition["model"]
    kind = model.get("type")
    if kind not in ("BPE", "Unigram"):
        raise ModelError(f"{path}: tokenizers of the kind {kind!r} cannot be read")
    listed = model["vocab"]
    entries = listed.items() if isinstance(listed, dict) else (
        (text, number) for number, (text, _) in enumerate(listed)
    )  # fmt: skip
    texts = {int(number): str(text) for text, number in entries}
    usual = "mapped" if _uses(definition, "ByteLevel") else "spaced"
    fallback = bool(model.get("byte_fallback"))
    pieces: dict[int, Piece] = {
        number: ("byte" if fallback and _is_byte(text) else usual, text)
        for number, text in texts.items()
    }
    for token in definition.get("added_tokens", []):
        texts[token["id"]] = token["content"]
        pieces[token["id"]] = ("special" if token.get("special") else "plain", token["content"])
    unknown = model.get("unk_token")
    for number in [number for number, text in texts.items() if text == unknown]:
        pieces[number] = ("special", texts[number])
    if texts and not 0 <= min(texts) <= max(texts) < vocabulary:
        raise ModelError(f"{path} has token {max(texts)}, the model's vocabulary is {vocabulary}")
    return texts, [
        bytes_of(pieces[number]) if number in pieces else b"" for number in range(vocabulary)
    ]


def _is_byte(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def _uses(part: Any, kind: str) -> bool:
    """Whether a definition's decoder or pre-tokenizer is, or has, a part of this kind."""
    if isinstance(part, list):
        return any(_uses(item, kind) for item in part)
    if not isinstance(part, dict):
        return False
    names = ("decoder", "pre_tokenizer", "normalizer", "decoders", "pretokenizers", "normalizers")
    return part.get("type") == kind or any(_uses(part.get(name), kind) for name in names)


def _puts_space(definition: dict[str, Any]) -> bool:
    """Whether encoding puts a space in front of a text."""
    if _uses(definition.get("normalizer"), "Prepend"):
        return True
    return _uses(definition.get("pre_tokenizer"), "Metaspace") and '"never"' not in json.dumps(
        definition["pre_tokenizer"]
    )


def _adds(definition: dict[str, Any], token: int) -> bool:
    """Whether a definition's post-processor puts a token in front of each text."""

    def first(part: Any) -> Any:
        if not isinstance(part, dict):
            return None
        for item in part.get("processors", []):
            if (found := first(item)) is not None:
                return found
        if part.get("type") != "TemplateProcessing" or not part.get("single"):
            return None
        return part["single"][0].get("SpecialToken", {}).get("id")

    text = first(definition.get("post_processor"))
    added = definition.get("added_tokens", [])
    return text is not None and any(
        item["id"] == token and item["content"] == text for item in added
    )


def _listed_stops(folder: Path, vocabulary: int) -> list[int]:
    """``eos_token_id`` of the folder's configurations: a number or a list."""
    found: list[int] = []
    for name in (GENERATION, CONFIG):
        value = _optional(folder / name).get("eos_token_id")
        numbers = value if isinstance(value, list) else [value]
        found += [item for item in numbers if type(item) is int and 0 <= item < vocabulary]
    return found


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    path = folder / TEMPLATE
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"cannot read {path}: {error}") from error
    template = settings.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {item.get("name"): item.get("template") for item in template}
        template = named.get("default")
    return template if isinstance(template, str) else None

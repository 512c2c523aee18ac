"""Tokenizers that the package ``tokenizers`` runs: of Hugging Face folders and of GGUF files.

An image holds the package's own JSON, compressed, and the bytes that each token stands for: text is
encoded by the package and decoded without it.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from jalhost.errors import EnvironmentProblem, ModelError, UsageError
from jalhost.models.tokenizer import (
    Codec,
    StreamDecoder,
    from_tensors,
    piece_tensors,
    pieces_from_tensors,
)

KIND = "tokenizers"

MAX_JSON = 1 << 28
"""Bytes of a tokenizer that is unpacked at all."""

MEMBERS = ("bos", "start", "leading_space", "chat_template", "words")
"""Fields that an image's metadata has."""


@dataclass(frozen=True)
class FastTokenizer:
    """A tokenizer with its definition, and what it takes to decode without the package.

    ``definition``: JSON as the package writes it. ``leading_space``: encoding puts a space in front
    of a text, which is no part of it. Other fields as in :class:`Codec`.
    """

    definition: bytes
    pieces: tuple[bytes, ...]
    bos: int | None
    start: int
    leading_space: bool = False
    chat_template: str | None = None
    words: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest piece."""
        return max(map(len, self.pieces))

    @cached_property
    def _encoder(self) -> Any:
        return load_definition(self.definition)

    @cached_property
    def _packed(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(zlib.compress(self.definition), dtype=np.uint8)

    @cached_property
    def _continuing(self) -> Any:
        """The same without a space in front of texts."""
        data = json.loads(self.definition)
        return load_definition(json.dumps(_without_prefix(data)).encode())

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, with BOS in front where the model wants it.

        Special tokens that stand in the text count as such, as with Hugging Face's tokenizers.

        Raises:
            UsageError: the text is not valid Unicode.
        """
        return self._checked(self._encoder, text, True)

    def encode_part(self, text: str, first: bool) -> list[int]:
        """Tokens of a part of a conversation: nothing is added but the first part's space.

        Raises:
            UsageError: the text is not valid Unicode.
        """
        return self._checked(self._encoder if first else self._continuing, text, False)

    @staticmethod
    def _checked(encoder: Any, text: str, special: bool) -> list[int]:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(
                "the prompt is not valid UTF-8", "check the terminal's or the file's encoding"
            ) from None
        return list(encoder.encode(text, add_special_tokens=special).ids)

    def piece(self, token: int) -> bytes:
        """Bytes that a token adds to a text: none where it is a special one.

        Raises:
            ModelError: the vocabulary has no such token.
        """
        if not 0 <= token < len(self.pieces):
            raise ModelError(f"token {token} is not in the vocabulary of {len(self.pieces)}")
        return self.pieces[token]

    def begins(self, token: int) -> bool:
        """At a text's start, the space is the one that encoding put there."""
        return self.leading_space and token in (-1, self.bos)

    def decode(self, tokens: list[int]) -> str:
        """Text of tokens, without special ones."""
        stream = StreamDecoder(self)
        return "".join(stream.feed(token) for token in tokens) + stream.finish()

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Pieces, where they end, and the definition, compressed."""
        return {**piece_tensors(self.pieces), "tokenizer.json": self._packed}

    def metadata(self) -> dict[str, Any]:
        """All other fields."""
        members = {name: getattr(self, name) for name in MEMBERS}
        return {"kind": KIND, **members, "words": dict(self.words)}


def _without_prefix(data: dict[str, Any]) -> dict[str, Any]:
    """A definition that puts no space in front of texts."""

    def cleaned(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        if part.get("type") == "Prepend":
            return None
        for key in ("normalizers", "pretokenizers"):
            if key in part:
                kept = [item for item in map(cleaned, part[key]) if item is not None]
                return {**part, key: kept}
        if part.get("type") == "Metaspace":
            part = {name: item for name, item in part.items() if name != "add_prefix_space"}
            return part | {"prepend_scheme": "never"}
        return part | {"add_prefix_space": False} if "add_prefix_space" in part else part

    return data | {name: cleaned(data.get(name)) for name in ("normalizer", "pre_tokenizer")}


def load_definition(definition: bytes) -> Any:
    """The package's tokenizer of a definition.

    Raises:
        EnvironmentProblem: the package is not installed.
        ModelError: the definition is none.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise EnvironmentProblem(
            "this model's tokenizer needs the package tokenizers", "pip install 'jalhost[models]'"
        ) from error
    try:
        tokenizer = Tokenizer.from_str(definition.decode("utf-8"))
    except Exception as error:  # the package raises nothing more special
        raise ModelError(f"the model's tokenizer cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_tokenizer_tensors(tensors: Mapping[str, npt.NDArray[np.generic]], metadata: Any) -> Codec:
    """An image's tokenizer. ``metadata``: what :meth:`Codec.metadata` gave; None stands for {}.

    Raises:
        ModelError: it is damaged, or of a kind that is not known.
        KeyError: a tensor or an entry is missing.
    """
    if not metadata:
        return from_tensors(tensors)
    if metadata["kind"] != KIND:
        raise ModelError(
            f"the image has a tokenizer of the kind {metadata['kind']!r}", "update jalhost"
        )
    unpacker = zlib.decompressobj()
    try:
        definition = unpacker.decompress(tensors["tokenizer.json"].tobytes(), MAX_JSON)
    except zlib.error as error:
        raise ModelError(f"image is damaged: its tokenizer cannot be unpacked: {error}") from error
    members = {name: metadata[name] for name in MEMBERS}
    return FastTokenizer(definition, pieces_from_tensors(tensors), **members)

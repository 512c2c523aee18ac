"""Byte-pair tokenizer of llama2.c: reading ``tokenizer.bin``, encoding prompts, decoding streams.

Format, from llama2.c's tokenizer.py and run.c (github.com/karpathy/llama2.c): an int32 (longest
piece), then per token a float32 score, an int32 length and the piece's bytes. Token 0 is unknown, 1
begins and 2 ends a text, 3 to 258 are the 256 bytes, written ``<0x00>`` to ``<0xFF>``.
"""

import codecs
import heapq
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from jalhost.errors import ModelError, UsageError

BOS = 1
EOS = 2
FIRST_BYTE = 3
"""Token of byte 0; the other bytes follow."""

LOWEST_SCORE = -1e10
"""Pairs that score this or less are never merged."""

_LENGTH = struct.Struct("<i")
_ENTRY = struct.Struct("<fi")
_BYTE_PIECE = re.compile(rb"<0x([0-9A-Fa-f]{2})>")


class Codec(Protocol):
    """Turns text into tokens and back.

    ``pieces``: bytes that each token adds to a text. ``bos``: the token in front of a text, which
    adds nothing. ``chat_template``: Jinja source, where the model's file has some. ``words``:
    special tokens as templates name them (``bos_token``, ``eos_token``).
    """

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """By token."""

    @property
    def longest(self) -> int:
        """No text takes fewer tokens than its bytes divided by this."""

    @property
    def bos(self) -> int | None:
        """None where texts begin with nothing in front."""

    @property
    def start(self) -> int:
        """A token that a text may begin with where there is no other."""

    @property
    def chat_template(self) -> str | None:
        """None where there is none."""

    @property
    def words(self) -> Mapping[str, str]:
        """Special tokens by their names."""

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, with what belongs in front.

        Raises:
            UsageError: the text cannot be spelled.
        """

    def encode_part(self, text: str, first: bool) -> list[int]:
        """Tokens of a part of a conversation, which writes its special tokens out.

        ``first``: whether a text begins with it. Nothing is put in front otherwise.

        Raises:
            UsageError: the text cannot be spelled.
        """

    def piece(self, token: int) -> bytes:
        """Bytes that a token stands for.

        Raises:
            ModelError: the vocabulary has no such token.
        """

    def begins(self, token: int) -> bool:
        """Whether the space in front of the piece behind ``token`` (-1: nothing) is no text."""

    def decode(self, tokens: list[int]) -> str:
        """Text of tokens."""

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Tensors that hold the tokenizer in an image."""

    def metadata(self) -> dict[str, Any]:
        """What an image's metadata says of it."""


@dataclass(frozen=True)
class Tokenizer:
    """Pieces and merge scores by token, of llama2.c."""

    pieces: tuple[bytes, ...]
    scores: tuple[float, ...]
    bos: ClassVar[int] = BOS
    start: ClassVar[int] = BOS
    chat_template: ClassVar[None] = None
    words: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @cached_property
    def _tokens(self) -> dict[bytes, int]:
        """Tokens by piece; of equal pieces the first counts."""
        return {piece: token for token, piece in reversed(list(enumerate(self.pieces)))}

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest piece: no text takes fewer tokens than its bytes divided by this."""
        return max(map(len, self.pieces))

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, with BOS in front.

        As llama2.c does it: a space goes before the text; characters become tokens where the
        vocabulary has them and bytes elsewhere; then the adjacent pair whose union scores best is
        merged, over and over, leftmost first.

        Raises:
            UsageError: the text is not valid Unicode, or has a character that this vocabulary
            cannot spell.
        """
        return [BOS, *self._encode(" " + text if text else "")]

    def encode_part(self, text: str, first: bool) -> list[int]:
        """Tokens of a part of a text; BOS and a space go in front of the first one.

        Raises:
            UsageError: as :meth:`encode`.
        """
        return self.encode(text) if first else self._encode(text)

    def _encode(self, text: str) -> list[int]:
        return self._merge([token for character in text for token in self._spell(character)])

    def _spell(self, character: str) -> list[int]:
        try:
            data = character.encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(
                "the prompt is not valid UTF-8", "check the terminal's or the file's encoding"
            ) from None
        token = self._tokens.get(data)
        if token is not None:
            return [token]
        spelled = [byte + FIRST_BYTE for byte in data]
        for token, byte in zip(spelled, data, strict=True):
            if token >= len(self.pieces) or self.pieces[token] != b"<0x%02X>" % byte:
                raise UsageError(f"the model's vocabulary cannot spell {character!r}")
        return spelled

    def _merge(self, tokens: list[int]) -> list[int]:
        """Merges best pairs first. A merged pair stays at its left place; the right becomes -1."""
        merged = list(tokens)
        left = list(range(-1, len(merged) - 1))
        right = list(range(1, len(merged) + 1))
        queue: list[tuple[float, int, int, int, int]] = []

        def push(place: int) -> None:
            if place < 0 or right[place] >= len(merged):
                return
            pair = merged[place], merged[right[place]]
            union = self._tokens.get(self.pieces[pair[0]] + self.pieces[pair[1]])
            if union is not None and self.scores[union] > LOWEST_SCORE:
                heapq.heappush(queue, (-self.scores[union], place, *pair, union))

        for place in range(len(merged)):
            push(place)
        while queue:
            _, place, first, second, union = heapq.heappop(queue)
            other = right[place]
            if other >= len(merged) or (merged[place], merged[other]) != (first, second):
                continue  # one of the two was merged with another neighbour since
            merged[place], merged[other] = union, -1
            right[place] = right[other]
            if right[place] < len(merged):
                left[right[place]] = place
            push(left[place])
            push(place)
        return [token for token in merged if token >= 0]

    def piece(self, token: int) -> bytes:
        """Bytes that a token stands for.

        Raises:
            ModelError: the vocabulary has no such token.
        """
        if not 0 <= token < len(self.pieces):
            raise ModelError(
                f"token {token} is not in the vocabulary of {len(self.pieces)}",
                "the tokenizer belongs to another model",
            )
        match = _BYTE_PIECE.fullmatch(self.pieces[token])
        return bytes([int(match[1], 16)]) if match else self.pieces[token]

    def begins(self, token: int) -> bool:
        """Behind BOS, the space is the one that encoding put there."""
        return token == BOS

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Scores, all pieces in a row, and where each piece ends."""
        return {
            "tokenizer.scores": np.array(self.scores, dtype=np.float32),
            **piece_tensors(self.pieces),
        }

    def metadata(self) -> dict[str, Any]:
        """Nothing: an image's tensors say all of it."""
        return {}

    def decode(self, tokens: list[int]) -> str:
        """Text of tokens; BOS itself is not printed."""
        stream = StreamDecoder(self)
        return "".join(stream.feed(token) for token in tokens) + stream.finish()


class StreamDecoder:
    """Decodes tokens one by one; a character waits until all of its bytes are there."""

    def __init__(self, tokenizer: Codec) -> None:
        self._tokenizer = tokenizer
        self._previous = -1
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """Characters that ``token`` completes. The space that encoding put behind BOS goes."""
        previous, self._previous = self._previous, token
        if token == self._tokenizer.bos:
            return ""
        data = self._tokenizer.piece(token)
        if self._tokenizer.begins(previous) and data.startswith(b" "):
            data = data[1:]
        return self._characters.decode(data)

    def finish(self) -> str:
        """Replacement characters for bytes that never became a character."""
        return self._characters.decode(b"", final=True)


def read_tokenizer(path: Path, vocabulary: int) -> Tokenizer:
    """Reads a llama2.c tokenizer of ``vocabulary`` tokens.

    Raises:
        ModelError: the file is missing, damaged, or has another number of tokens.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read tokenizer {path}: {error.strerror}") from error
    pieces: list[bytes] = []
    scores: list[float] = []
    position = _LENGTH.size
    while position < len(data):
        if position + _ENTRY.size > len(data):
            raise _damaged(path, len(pieces))
        score, length = _ENTRY.unpack_from(data, position)
        position += _ENTRY.size
        if not 0 <= length <= len(data) - position:
            raise _damaged(path, len(pieces))
        pieces.append(data[position : position + length])
        scores.append(score)
        position += length
    if len(pieces) != vocabulary:
        raise ModelError(
            f"tokenizer {path} has {len(pieces)} tokens, the model has {vocabulary}",
            "they do not belong together, or the tokenizer is truncated",
        )
    return Tokenizer(tuple(pieces), tuple(scores))


def _damaged(path: Path, token: int) -> ModelError:
    return ModelError(
        f"tokenizer {path} breaks off at token {token}",
        "the file is truncated or not a llama2.c tokenizer",
    )


def piece_tensors(pieces: Sequence[bytes]) -> dict[str, npt.NDArray[np.generic]]:
    """All pieces in a row, and where each of them ends."""
    sizes = np.fromiter(map(len, pieces), dtype=np.uint32, count=len(pieces))
    return {
        "tokenizer.pieces": np.frombuffer(b"".join(pieces), dtype=np.uint8),
        "tokenizer.ends": np.cumsum(sizes, dtype=np.uint32),
    }


def pieces_from_tensors(tensors: Mapping[str, npt.NDArray[np.generic]]) -> tuple[bytes, ...]:
    """Inverse of :func:`piece_tensors`.

    Raises:
        ModelError: the tensors contradict each other.
    """
    data = tensors["tokenizer.pieces"].tobytes()
    ends = [int(end) for end in tensors["tokenizer.ends"].tolist()]
    starts = [0, *ends[:-1]]
    if ends != sorted(ends) or ends[-1:] != [len(data)]:
        raise contradiction()
    return tuple(data[start:end] for start, end in zip(starts, ends, strict=True))


def from_tensors(tensors: Mapping[str, npt.NDArray[np.generic]]) -> Tokenizer:
    """A tokenizer of llama2.c from an image's tensors.

    Raises:
        ModelError: the tensors contradict each other.
    """
    pieces = pieces_from_tensors(tensors)
    scores = tuple(float(score) for score in tensors["tokenizer.scores"].tolist())
    if len(pieces) != len(scores):
        raise contradiction()
    return Tokenizer(pieces, scores)


def contradiction() -> ModelError:
    """What an image's tokenizer says where its parts do not fit together."""
    return ModelError("image is damaged: its tokenizer contradicts itself")

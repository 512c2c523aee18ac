"""From the texts of a vocabulary to the bytes that its tokens stand for."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from jalgateware.contract.image_header import MAX_STOP_TOKENS
from jalhost.errors import ModelError
from jalhost.models.fast_tokenizer import FastTokenizer, load_definition

Piece = tuple[str, str]
"""How a token's text is written, and the text: ``special`` (adds nothing), ``plain``, ``spaced``
(SentencePiece's: the lower one eighth block is a space), ``byte`` (``<0x0A>``), ``mapped``
(GPT-2's: each character is a byte)."""

END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|end_of_turn|>")
"""Tokens that end a turn of a conversation, where the vocabulary has them."""

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


@cache
def byte_characters() -> dict[str, int]:
    """GPT-2's characters for bytes (``bytes_to_unicode`` of its encoder.py).

    Bytes that print are themselves; the others get characters from 256 on.
    """
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printing]
    return {chr(byte): byte for byte in printing} | {
        chr(256 + index): byte for index, byte in enumerate(others)
    }


@cache
def _byte_table() -> dict[int, int]:
    """For ``str.translate``: GPT-2's characters to those that Latin-1 has for their bytes.

    Other characters of Latin-1 stand for no byte, and become one that it does not have.
    """
    mapped = {ord(character): byte for character, byte in byte_characters().items()}
    return dict.fromkeys(range(256), 0x100) | mapped


def bytes_of(piece: Piece) -> bytes:
    """Bytes that a token adds to a text.

    Raises:
        ModelError: the text is not written as it should be.
    """
    kind, text = piece
    if kind == "special":
        return b""
    if kind == "spaced":
        return text.replace(SPACE, " ").encode()
    if kind == "byte":
        return bytes([byte_value(text)])
    if kind == "mapped":
        try:
            return text.translate(_byte_table()).encode("latin-1")
        except UnicodeEncodeError:
            return text.encode()  # such a token cannot come from a text, and stands for itself
    return text.encode()


def byte_value(text: str) -> int:
    """The byte that ``<0x0A>`` writes.

    Raises:
        ModelError: it is written otherwise.
    """
    try:
        if len(text) != 6 or not (text.startswith("<0x") and text.endswith(">")):
            raise ValueError(text)
        return int(text[3:5], 16)
    except ValueError:
        raise ModelError(f"the tokenizer has a byte written as {text!r}") from None


def make_tokenizer(
    definition: bytes,
    pieces: Sequence[bytes],
    bos: int | None,
    stops: Sequence[int | None],
    **others: Any,
) -> tuple[FastTokenizer, tuple[int, ...]]:
    """A tokenizer whose definition was tried, and the tokens that end a text.

    ``bos``: what encoding puts in front. ``stops``: candidates, the first one first.

    Raises:
        ModelError: the definition is none, or nothing ends a text.
    """
    ends = tuple(dict.fromkeys(stop for stop in stops if stop is not None))
    if not ends:
        raise ModelError("the model's tokenizer has no token that ends a text")
    start = ends[0] if bos is None else bos
    load_definition(definition)
    tokenizer = FastTokenizer(definition, tuple(pieces), bos, start, **others)
    if not tokenizer.longest:
        raise ModelError("the model's tokenizer has no tokens with text")
    return tokenizer, ends[:MAX_STOP_TOKENS]

"""Trains the byte-pair vocabulary and writes it as llama2.c's ``tokenizer.bin``.

A text is cut into words with the space before them and runs of other characters; a merge never
crosses such a border. So llama2.c's encoder, which knows no borders, finds the same tokens: it
merges the pair with the best score first, scores fall from merge to merge, and no piece that
crosses a border exists.
"""

import re
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from jalhost.models.tokenizer import Tokenizer

SPECIAL = (b"<unk>", b"\n<s>\n", b"\n</s>\n")
"""Tokens 0 to 2 as llama2.c's files spell them: unknown, begin, end."""

_BORDER = re.compile(r" ?[A-Za-z]+| ?[^A-Za-z ]+| ")


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer, and how it splits every word of the text that it was trained on."""

    tokenizer: Tokenizer
    splits: dict[str, list[int]]

    def encode(self, text: str) -> list[int]:
        """Tokens of a text that has only words of the training text, without BOS.

        Raises:
            KeyError: a word is not in the training text.
        """
        return [token for word in words(text) for token in self.splits[word]]


def words(text: str) -> list[str]:
    """Cuts a text where merges may not cross, behind the space that encoders put in front."""
    return _BORDER.findall(" " + text)


def train(texts: Iterable[str], size: int) -> Vocabulary:
    """Trains a vocabulary of ``size`` tokens: merges the most frequent pair again and again.

    Raises:
        ValueError: ``size`` has no room for the characters, or the text has too few pairs for it.
    """
    counts = Counter(word for text in texts for word in words(text))
    characters = sorted(set("".join(counts)))
    room = size - len(SPECIAL) - 256 - len(characters)
    if room < 0:
        raise ValueError(f"{len(characters)} characters do not fit a vocabulary of {size}")
    spelled = {word: list(word) for word in counts}
    merges: list[str] = []
    while len(merges) < room:
        first, second = _most_frequent_pair(spelled, counts)
        merges.append(first + second)
        for word, symbols in spelled.items():
            if first + second in word:
                spelled[word] = _join(symbols, first, second)
    pieces = merges + characters
    start = len(SPECIAL) + 256
    tokenizer = Tokenizer(
        (*SPECIAL, *(b"<0x%02X>" % byte for byte in range(256)), *(p.encode() for p in pieces)),
        (*[0.0] * start, *(-float(rank) for rank in range(len(pieces)))),
    )
    tokens = {piece: start + rank for rank, piece in enumerate(pieces)}
    splits = {word: [tokens[symbol] for symbol in spelled[word]] for word in spelled}
    return Vocabulary(tokenizer, splits)


def _most_frequent_pair(spelled: dict[str, list[str]], counts: Counter[str]) -> tuple[str, str]:
    """The pair to merge; of equally frequent ones the first in the alphabet."""
    pairs: Counter[tuple[str, str]] = Counter()
    for word, symbols in spelled.items():
        for pair in pairwise(symbols):
            pairs[pair] += counts[word]
    if not pairs:
        raise ValueError("the text has too few different words for a vocabulary of this size")
    return min(pairs, key=lambda pair: (-pairs[pair], pair))


def _join(symbols: list[str], first: str, second: str) -> list[str]:
    joined: list[str] = []
    for symbol in symbols:
        # A symbol that was just joined equals `first` only if it could be joined again.
        if joined and joined[-1] == first and symbol == second:
            joined[-1] = first + second
        else:
            joined.append(symbol)
    return joined


def write_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Writes ``tokenizer.bin``: int32 longest piece, then score, length and bytes of each."""
    with path.open("wb") as file:
        file.write(struct.pack("<i", tokenizer.longest))
        for piece, score in zip(tokenizer.pieces, tokenizer.scores, strict=True):
            file.write(struct.pack("<fi", score, len(piece)) + piece)

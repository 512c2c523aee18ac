"""The tales as tokens, and which of them ask for memory."""

from collections.abc import Iterable
from itertools import pairwise
from random import Random

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from jalhost.models.tokenizer import BOS
from tools.demo_model import lexicon
from tools.demo_model.tokenizer import Vocabulary

_EMPHASIS = (
    ((*lexicon.SHE, *lexicon.HE), 5.0),
    (tuple(thing.noun for thing in lexicon.THINGS), 3.0),
    (lexicon.COLOURS, 20.0),
)
"""How much more the words of a group count when a tale says them again.

The rarer a group is said again, the more: a colour is a few tokens of a tale's 170, and the model
would learn to remember it only long after everything else. Kinds are said once.
"""


class Corpus:
    """Tales, each a sequence of tokens between two BOS."""

    def __init__(self, texts: Iterable[str], vocabulary: Vocabulary) -> None:
        weights = _weights(vocabulary)
        tokens, emphasis, self._starts = [BOS], [1.0], [0]
        for text in texts:
            tale = [*vocabulary.encode(text), BOS]
            tokens += tale
            emphasis += _emphasis(tale, weights)
            self._starts.append(len(tokens) - 1)
        self._tokens = torch.tensor(tokens, dtype=torch.int16)
        self._emphasis = torch.tensor(emphasis)

    def __len__(self) -> int:
        """Tales."""
        return len(self._starts) - 1

    @property
    def tokens(self) -> int:
        """Tokens of all tales, with the BOS in front of each."""
        return self._starts[-1]

    @property
    def longest(self) -> int:
        """Tokens of the longest tale, with the BOS in front of it."""
        return max(end - start for start, end in pairwise(self._starts))

    def draw(self, random: Random, rows: int) -> tuple[Tensor, Tensor]:
        """Draws ``rows`` tales; see :meth:`batch`."""
        return self.batch([random.randrange(len(self)) for _ in range(rows)])

    def batch(self, numbers: Iterable[int]) -> tuple[Tensor, Tensor]:
        """Tokens (rows, longest) int64 and their emphasis, one tale in each row.

        The emphasis is 1; more where a tale says a word again; 0 for the padding behind the tale.
        """
        spans = [slice(self._starts[n], self._starts[n + 1] + 1) for n in numbers]
        tokens = pad_sequence([self._tokens[span] for span in spans], True, BOS)
        emphasis = pad_sequence([self._emphasis[span] for span in spans], True, 0.0)
        return tokens.long(), emphasis


def _weights(vocabulary: Vocabulary) -> dict[int, float]:
    """The emphasis of each token that is a whole word of a group."""
    splits = {
        word: vocabulary.splits.get(f" {word}", []) for words, _ in _EMPHASIS for word in words
    }
    return {
        splits[word][0]: weight
        for words, weight in _EMPHASIS
        for word in words
        if len(splits[word]) == 1
    }


def _emphasis(tale: list[int], weights: dict[int, float]) -> list[float]:
    said: set[int] = set()
    emphasis: list[float] = []
    for token in tale:
        emphasis.append(weights.get(token, 1.0) if token in said else 1.0)
        said.add(token)
    return emphasis

"""Fills an image's table of drafts, from texts that the model tells by itself or from any text.

What counts is not what stands in a text, but what the model finds likeliest at each place of it:
that is what a draft must meet.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jalgateware.contract.drafting import ORDERS, PRELOADED_WAYS, SETS, TABLE_WORDS
from jalgateware.golden.drafter import UNKNOWN, entry, fits, keys, set_of
from jalhost.models.architecture import Architecture, Model
from jalhost.models.image import Image
from jalhost.models.reference import Reference
from jalhost.models.tokenizer import BOS
from jalhost.models.unfold import unfold_image

Table = npt.NDArray[np.uint32]
Tokens = npt.NDArray[np.int64]
Context = tuple[int, ...]

USUAL_TOKENS = 50_000

USUAL_WORK = 10**12
"""Most products of weights, unless more tokens are asked for: about a minute."""

LEARNING_BYTES = 1 << 26
"""Largest model in float32 that drafts are learnt for unless they are asked for: with larger ones
learning would take far longer than the rest of a conversion."""

TEMPERATURE = 0.8
"""Of the texts that a model tells."""

MOST_TEXTS = 128
"""Side by side."""

CACHE_BYTES = 1 << 28
"""Most memory for their keys and values."""

FEWEST_GOING_ON = 0.2
"""Share of texts that have not ended; new ones begin when there are fewer."""

ROUNDS = 3
"""Of choosing entries: what one is worth depends on the others."""


@dataclass(frozen=True)
class Text:
    """``likeliest[i]`` is what a model would say behind ``tokens[: i + 1]``."""

    tokens: Sequence[int]
    likeliest: Sequence[int]


def with_drafts(image: Image, tokens: int | None = None, text: str | None = None) -> Image:
    """The image with a table learnt from the first ``tokens`` of a text, or from self-told ones.

    Without a number, it is what :func:`usual_tokens` says; with 0, there is no table.
    """
    if tokens is None:
        tokens = usual_tokens(image.plan.architecture)
    if not tokens:
        return dataclasses.replace(image, drafts=None)
    model = unfold_image(image)
    if text is None:
        texts = tell(model, tokens, image.stop_tokens, first=image.tokenizer.start)
    else:
        start = text[: tokens * image.tokenizer.longest]
        texts = read(model, image.tokenizer.encode(start)[:tokens])
    return dataclasses.replace(image, drafts=build_table(texts))


def usual_tokens(a: Architecture) -> int:
    """How many tokens to learn from: none where the model in float32 takes too much memory."""
    if 4 * a.parameters > LEARNING_BYTES:
        return 0
    return min(USUAL_TOKENS, USUAL_WORK // a.parameters)


def tell(
    model: Model, tokens: int, stop_tokens: Sequence[int], seed: int = 0, first: int = BOS
) -> Iterator[Text]:
    """Texts sampled from a model, until they have so many tokens together.

    ``first``: the token that each begins with.
    """
    random = np.random.default_rng(seed)
    while tokens > 0:
        for text in _tell(model, _side_by_side(model, tokens), first, stop_tokens, random):
            tokens -= len(text.tokens)
            yield text


def _tell(
    model: Model, count: int, first: int, stop_tokens: Sequence[int], random: np.random.Generator
) -> Iterator[Text]:
    """So many texts, each up to its end, if it has come to that."""
    reference = Reference(model, count)
    token, going_on = np.full(count, first), np.ones(count, dtype=bool)
    tokens: list[Tokens] = []
    likeliest: list[Tokens] = []
    for position in range(model.architecture.context):
        logits = reference.step(token, position)
        tokens.append(token)
        likeliest.append(logits.argmax(axis=1))
        token = (logits / TEMPERATURE + random.gumbel(size=logits.shape)).argmax(axis=1)
        going_on &= ~np.isin(token, stop_tokens)
        if going_on.mean() < FEWEST_GOING_ON:
            break
    for told, wanted in zip(np.stack(tokens, axis=1), np.stack(likeliest, axis=1), strict=True):
        ends = np.flatnonzero(np.isin(told[1:], stop_tokens))
        length = int(ends[0]) + 1 if len(ends) else len(told)
        yield Text(told[:length].tolist(), wanted[:length].tolist())


def read(model: Model, tokens: Sequence[int]) -> Iterator[Text]:
    """What a model finds likeliest along a text, which is cut into pieces that fit the context."""
    length = model.architecture.context
    pieces = [tokens[start : start + length] for start in range(0, len(tokens), length)]
    count = _side_by_side(model, len(tokens))
    for first in range(0, len(pieces), count):
        yield from _read(model, pieces[first : first + count])


def _read(model: Model, pieces: list[Sequence[int]]) -> Iterator[Text]:
    length = max(map(len, pieces))
    tokens = np.array([[*piece, *[BOS] * (length - len(piece))] for piece in pieces])
    reference = Reference(model, len(pieces))
    steps = [reference.step(tokens[:, place], place).argmax(axis=1) for place in range(length)]
    for piece, wanted in zip(pieces, np.stack(steps, axis=1), strict=True):
        yield Text(piece, wanted[: len(piece)].tolist())


def _side_by_side(model: Model, tokens: int) -> int:
    """How many texts to run at once for so many tokens: as many as memory allows, but not more."""
    a = model.architecture
    fitting = CACHE_BYTES // (2 * 4 * a.layers * a.kv_heads * a.head_dim * a.context)
    return max(1, min(MOST_TEXTS, fitting, -(-2 * tokens // a.context)))


def build_table(texts: Iterable[Text]) -> Table:
    """The table (TABLE_WORDS,) that predicts most of the texts' likeliest tokens."""
    counts = _count(texts)
    choice = {context: counter.most_common(1)[0][0] for context, counter in counts.items()}
    key = {context: list(keys(context))[-1] for context in counts}
    stored = set(counts)
    for _ in range(ROUNDS):
        sets: dict[int, list[tuple[int, Context]]] = defaultdict(list)
        for context, counter in counts.items():
            otherwise = _otherwise(context, choice, stored)
            gain = counter[choice[context]] - (counter[otherwise] if otherwise is not None else 0)
            if gain > 0:
                sets[set_of(key[context])].append((-gain, context))
        ways = {place: sorted(found)[:PRELOADED_WAYS] for place, found in sets.items()}
        stored = {context for found in ways.values() for _, context in found}
    table = np.zeros(TABLE_WORDS, dtype=np.uint32)
    for place, found in ways.items():
        for way, (_, context) in enumerate(found):
            table[way * SETS + place] = entry(key[context], choice[context])
    return table


def _count(texts: Iterable[Text]) -> dict[Context, Counter[int]]:
    """How often the tokens are likeliest behind each context of 1 to ORDERS tokens."""
    counts: dict[Context, Counter[int]] = defaultdict(Counter)
    for text in texts:
        tokens = [UNKNOWN] * ORDERS + list(text.tokens)
        for end, token in enumerate(text.likeliest, start=ORDERS + 1):
            for order in range(1, ORDERS + 1) if fits(token) else ():
                counts[tuple(tokens[end - order : end])][token] += 1
    return counts


def _otherwise(context: Context, choice: dict[Context, int], stored: set[Context]) -> int | None:
    """What is drafted where a context has no entry: what its longest stored end says."""
    ends = (context[start:] for start in range(1, len(context)))
    return next((choice[end] for end in ends if end in stored), None)

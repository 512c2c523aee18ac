"""How much an image's integers cost in quality, against the same model in float32."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import VECTOR
from jalgateware.golden.machine import Machine
from jalgateware.golden.sampler import Sampling
from jalhost.errors import ModelError, UsageError
from jalhost.models.architecture import Model
from jalhost.models.convert import Executable, prepare
from jalhost.models.image import GEOMETRY, Image
from jalhost.models.reference import Reference, forward
from jalhost.models.tokenizer import BOS

Doubles = npt.NDArray[np.float64]

Text = Sequence[int]
"""Tokens, BOS first if there is one; behind each but the last, the next one is predicted."""

SEQUENCES = 16
LENGTH = 160
"""Predictions on self-sampled text where nothing else is asked for: 16 x 160."""

LEAST_LENGTH = 2
"""A single prediction tells nothing."""


@dataclass(frozen=True)
class Quality:
    """Averages over ``tokens`` predictions; ``divergence`` is the mean KL divergence in nats."""

    tokens: int
    reference_perplexity: float
    perplexity: float
    agreement: float
    divergence: float
    saturations: int

    @property
    def ratio(self) -> float:
        """The engine's perplexity, in terms of the reference's."""
        return self.perplexity / self.reference_perplexity

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"perplexity_ratio": self.ratio}


def sample_texts(
    model: Model,
    sequences: int = SEQUENCES,
    length: int | None = None,
    temperature: float = 0.9,
    seed: int = 0,
    start: int = BOS,
) -> list[Text]:
    """Texts of ``length`` predictions that the model samples from itself in float32.

    ``start``: the token that they begin with.

    Raises:
        UsageError: they would be longer than the context.
    """
    context = model.architecture.context
    length = min(LENGTH, context) if length is None else length
    _check_length(length, context)
    reference, random = Reference(model), np.random.default_rng(seed)
    texts: list[Text] = []
    for _ in range(sequences):
        text = [start]
        for position in range(length):
            logits = log_softmax(reference.step([text[-1]], position)[0])
            likely = np.exp(log_softmax(logits / temperature))
            text.append(int(random.choice(len(likely), p=likely / likely.sum())))
        texts.append(text)
    return texts


def cut_text(
    tokens: list[int],
    context: int,
    length: int | None = None,
    sequences: int | None = None,
    start: int = BOS,
) -> list[Text]:
    """Cuts a text's tokens into sequences that begin with ``start`` each, as the text itself may.

    ``length``: predictions per sequence, the context if None; the last sequence may be shorter.
    ``sequences``: how many at most, all if None.

    Raises:
        UsageError: the text is empty or shorter than one sequence, or sequences would be longer
            than the context.
    """
    _check_length(length or context, context)
    body = list(tokens[1:] if tokens[:1] == [start] else tokens)
    if not body:
        raise UsageError("the text is empty")
    least = length or LEAST_LENGTH
    if len(body) < least:
        raise UsageError(
            f"the text has {len(body)} token{'s' if len(body) > 1 else ''}, "
            f"a sequence takes at least {least}",
            "use a longer text or a smaller --length" if length else "use a longer text",
        )
    step = length or context
    texts: list[Text] = [
        [start, *body[place : place + step]] for place in range(0, len(body), step)
    ]
    return texts[:sequences]


def _check_length(length: int, context: int) -> None:
    if length > context:
        raise UsageError(f"{length} tokens exceed the context of {context}")


def measure(
    model: Model, image: Image, texts: Sequence[Text], config: EngineConfig = GEOMETRY
) -> Quality:
    """Compares teacher-forced predictions of an image on the emulator with the float32 model's.

    Raises:
        ModelError: the image is not made from this model.
    """
    if image.plan.architecture != model.architecture:
        raise ModelError("the image was not converted from this checkpoint")
    return measure_program(model, prepare(image, config), texts, config)


def measure_program(
    model: Model, executable: Executable, texts: Sequence[Text], config: EngineConfig
) -> Quality:
    """As :func:`measure`, for what an image becomes."""
    context = model.architecture.context
    machine = Machine(config, executable.memory, executable.program, context)
    rows = [row for text in texts for row in _compare_text(model, machine, text)]
    reference_loss, loss, agreement, divergence = np.mean(rows, axis=0).tolist()
    return Quality(
        tokens=len(rows),
        reference_perplexity=float(np.exp(reference_loss)),
        perplexity=float(np.exp(loss)),
        agreement=agreement,
        divergence=divergence,
        saturations=machine.tally.saturations,
    )


def _compare_text(
    model: Model, machine: Machine, text: Text
) -> Iterator[tuple[float, float, float, float]]:
    for position, expected in enumerate(forward(model, text[:-1])):
        machine.step(text[position], position, Sampling())
        actual = log_softmax(machine.logits / (1 << VECTOR.fraction))
        yield _compare(log_softmax(expected), actual, text[position + 1])


def log_softmax(logits: npt.NDArray[np.floating]) -> Doubles:
    """Logarithms of the probabilities that logits (..., vocabulary) stand for."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _compare(expected: Doubles, actual: Doubles, token: int) -> tuple[float, float, float, float]:
    divergence = np.sum(np.exp(expected) * (expected - actual))
    agrees = np.argmax(expected) == np.argmax(actual)
    return -float(expected[token]), -float(actual[token]), float(agrees), float(divergence)

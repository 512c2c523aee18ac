"""How much an image's integers cost in quality, against the same model in float32."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import VECTOR
from jalgateware.golden.machine import Machine
from jalgateware.golden.sampler import Sampling
from jalhost.errors import ModelError, UsageError
from jalhost.models.architecture import Model
from jalhost.models.convert import prepare
from jalhost.models.image import Image
from jalhost.models.reference import Reference
from jalhost.models.tokenizer import BOS

Doubles = npt.NDArray[np.float64]


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


def measure(
    model: Model,
    image: Image,
    sequences: int = 16,
    length: int = 160,
    temperature: float = 0.9,
    seed: int = 0,
    config: EngineConfig | None = None,
) -> Quality:
    """Compares teacher-forced predictions on sequences that the reference samples from itself.

    Raises:
        ModelError: the image is not made from this model.
        UsageError: the sequences are longer than the context.
    """
    if image.plan.architecture != model.architecture:
        raise ModelError("the image was not converted from this checkpoint")
    if length > model.architecture.context:
        raise UsageError(f"{length} tokens exceed the context of {model.architecture.context}")
    config = config or EngineConfig()
    executable = prepare(image, config)
    machine = Machine(config, executable.memory, executable.program, model.architecture.context)
    reference, random = Reference(model), np.random.default_rng(seed)
    rows = []
    for _ in range(sequences):
        token = BOS
        for position in range(length):
            expected = _log_softmax(reference.step([token], position)[0].astype(np.float64))
            machine.step(token, position, Sampling())
            actual = _log_softmax(machine.logits / (1 << VECTOR.fraction))
            likely = np.exp(_log_softmax(expected / temperature))
            token = int(random.choice(len(likely), p=likely / likely.sum()))
            rows.append(_compare(expected, actual, token))
    reference_loss, loss, agreement, divergence = np.mean(rows, axis=0).tolist()
    return Quality(
        tokens=len(rows),
        reference_perplexity=float(np.exp(reference_loss)),
        perplexity=float(np.exp(loss)),
        agreement=agreement,
        divergence=divergence,
        saturations=machine.tally.saturations,
    )


def _log_softmax(logits: Doubles) -> Doubles:
    return np.asarray(logits - np.logaddexp.reduce(logits), dtype=np.float64)


def _compare(expected: Doubles, actual: Doubles, token: int) -> tuple[float, float, float, float]:
    divergence = np.sum(np.exp(expected) * (expected - actual))
    agrees = np.argmax(expected) == np.argmax(actual)
    return -float(expected[token]), -float(actual[token]), float(agrees), float(divergence)

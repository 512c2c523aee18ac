"""Which tokens the host may choose: top-k, top-p, min-p and a repetition penalty.

They come in the order of generate() in Hugging Face transformers (``GenerationMixin`` and its
logits processors): the penalty, then the temperature, top-k, top-p, min-p, each of what the one
before has left. Sources:

- repetition penalty: Keskar et al., "CTRL: A Conditional Transformer Language Model for
  Controllable Generation", 2019, section 4.1; negative logits are multiplied, as transformers does
- top-k: Fan et al., "Hierarchical Neural Story Generation", 2018
- top-p: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2019
- min-p: Nguyen et al., "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM
  Outputs", 2024
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jalgateware.contract.formats import INVERSE_TEMPERATURE, VECTOR
from jalgateware.golden.rounding import Integers
from jalgateware.golden.sampler import Mask, Sampling, sample
from jalhost.errors import UsageError


@dataclass(frozen=True)
class Filters:
    """What narrows the choice of tokens; None leaves a filter out.

    ``top_k``: the K likeliest tokens, and those as likely as the last of them. ``top_p``: the
    fewest tokens that have this probability together, among equals those of the lowest index.
    ``min_p``: tokens that have at least this share of the likeliest one's probability.
    ``repetition_penalty``: divides positive logits of tokens that are in the text already, and
    multiplies negative ones; below 1 it favours repetitions.

    The likeliest token always passes. At temperature 0 it is taken, so that the penalty alone
    changes anything.

    Raises:
        UsageError: a value is out of range.
    """

    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top-k is 1 or more, not {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top-p is above 0 and up to 1, not {self.top_p:g}")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise UsageError(f"min-p is 0 to 1, not {self.min_p:g}")
        if (r := self.repetition_penalty) is not None and not (r > 0 and math.isfinite(r)):
            raise UsageError(f"the repetition penalty is above 0, not {r:g}")

    def needed(self) -> "Filters":
        """The same without filters whose values let everything pass as it is."""
        return Filters(
            self.top_k,
            None if self.top_p == 1 else self.top_p,
            self.min_p or None,
            None if self.repetition_penalty == 1 else self.repetition_penalty,
        )

    def choose(
        self, logits: Integers, text: Sequence[int], sampling: Sampling, position: int
    ) -> int:
        """Draws the token behind a text from its logits (vocabulary,) VECTOR.

        The draw is the engine's own, with its noise: where all tokens pass, it takes the one that
        the engine takes. ``position``: of the text's last token.
        """
        penalised = self.penalise(logits, text)
        return sample(penalised, sampling, position, self.allowed(penalised, sampling))

    def penalise(self, logits: Integers, text: Sequence[int]) -> Integers:
        """Logits (vocabulary,) VECTOR with the repetition penalty on the tokens of a text."""
        if self.repetition_penalty is None:
            return logits
        tokens = np.unique(np.array(text, dtype=np.int64))
        old = logits[tokens].astype(np.float64)
        with np.errstate(over="ignore"):  # what a tiny penalty divides; it is clipped
            new = np.where(old < 0, old * self.repetition_penalty, old / self.repetition_penalty)
        penalised = logits.copy()
        penalised[tokens] = np.clip(np.rint(new), VECTOR.minimum, VECTOR.maximum)
        return penalised

    def allowed(self, logits: Integers, sampling: Sampling) -> Mask:
        """Tokens (vocabulary,) that pass, by logits VECTOR behind the penalty.

        Probabilities are float64, at the temperature that the engine's register holds.
        """
        passed = np.ones(len(logits), dtype=np.bool_)
        if not sampling.inverse_temperature:
            return passed
        if self.top_k is not None and self.top_k < len(logits):
            passed &= logits >= np.partition(logits, -self.top_k)[-self.top_k]
        # Relative to the likeliest token, which always passes.
        fraction = VECTOR.fraction + INVERSE_TEMPERATURE.fraction
        scale = sampling.inverse_temperature * 2.0**-fraction
        weight = np.where(passed, np.exp2((logits - logits.max()) * scale), 0.0)
        if self.top_p is not None and self.top_p < 1:
            order = np.argsort(-logits, kind="stable")
            sums = np.cumsum(weight[order])
            # Those before a token do not have it yet.
            passed[order[1:]] &= sums[:-1] < self.top_p * sums[-1]
        if self.min_p is not None:
            passed &= weight >= self.min_p
        return passed

"""Chooses the matrices' formats: MXFP4 where it costs the least, until a target is met.

What a matrix costs is the KL divergence from the float32 model when this matrix alone is rounded to
MXFP4. Matrices give way in the order of cost per byte saved. Costs do not add up exactly, so the
choice is then measured as a whole: by the float32 reference with rounded weights while it is made,
and by the emulator, activations and all, when it is done.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from jalgateware.contract.isa import Format
from jalgateware.golden.mx import encode
from jalhost.errors import UsageError
from jalhost.models.architecture import Floats, Model
from jalhost.models.checkpoint import as_checkpoint
from jalhost.models.constants import fold_constants
from jalhost.models.convert import assemble
from jalhost.models.folding import fold
from jalhost.models.image import GEOMETRY
from jalhost.models.plan import CLASSIFIER, Formats, Plan, free_matrices
from jalhost.models.quality import Quality, log_softmax, measure_program, sample_texts
from jalhost.models.reference import forward
from jalhost.models.tokenizer import BOS
from jalhost.models.unfold import unfold

Report = Callable[[str], None]

REPORT_EVERY_S = 2.0

SEARCH_BYTES = 1 << 27
"""Most memory for the float32 model's predictions: with large vocabularies, fewer texts decide."""


@dataclass(frozen=True)
class Choice:
    """Formats, and what they are worth: measured on the emulator with all of them in place."""

    formats: Formats
    quality: Quality
    bytes_per_token: int


def choose_for_bytes(
    model: Model, limit: int, classifier: Format | None, report: Report, start: int = BOS
) -> Choice:
    """The least loss of quality with at most ``limit`` bytes per token.

    ``classifier``: its format; None chooses it with the others. ``start``: the token that texts
    begin with.

    Raises:
        UsageError: no choice reaches the limit.
    """
    return _Search(model, classifier, report, start).below_bytes(limit)


def choose_for_divergence(
    model: Model, limit: float, classifier: Format | None, report: Report, start: int = BOS
) -> Choice:
    """The fewest bytes per token with a mean KL divergence of at most ``limit`` nats.

    ``classifier``: its format; None chooses it with the others. ``start``: the token that texts
    begin with.

    Raises:
        UsageError: no choice reaches the limit.
    """
    return _Search(model, classifier, report, start).below_divergence(limit)


class _Yardstick:
    """Texts that a model sampled from itself, and its predictions of them in float32."""

    def __init__(self, model: Model, report: Report, start: int) -> None:
        a = model.architecture
        self._model = model
        self._constants = fold_constants(as_checkpoint(model))
        self._report = report
        report("sampling the text to measure on")
        self._texts = sample_texts(model, start=start)
        predictions = len(self._texts[0]) - 1
        count = max(1, SEARCH_BYTES // (4 * predictions * a.vocabulary))
        self._expected = [
            (text[:-1], log_softmax(forward(model, text[:-1])).astype(np.float32))
            for text in self._texts[:count]
        ]

    def divergence(self, matrices: Mapping[str, Floats]) -> float:
        """Mean KL divergence of the float32 reference with these (folded) matrices."""
        rounded = unfold(self._model.architecture, matrices, self._constants)
        parts = []
        for tokens, expected in self._expected:
            actual = log_softmax(forward(rounded, tokens))
            parts.append((np.exp(expected) * (expected - actual)).sum(axis=1).mean())
        return float(np.mean(parts))

    def check(self, formats: Formats) -> Quality:
        """Quality on the emulator, which is what ``jalhost model eval`` measures."""
        self._report("measuring the choice on the emulator")
        _, executable = assemble(self._model, formats, GEOMETRY)
        return measure_program(self._model, executable, self._texts, GEOMETRY)


class _Search:
    """One search. ``low`` everywhere: names of the matrices that are in MXFP4."""

    def __init__(self, model: Model, classifier: Format | None, report: Report, start: int) -> None:
        self._model = model
        self._start = start
        self._report = report
        self._matrices = dict(fold(model))
        names = free_matrices(model.architecture)
        self._free = [name for name in names if name != CLASSIFIER or classifier is None]
        self._given: Formats = {} if classifier is None else {CLASSIFIER: classifier}

    def below_bytes(self, limit: int) -> Choice:
        """As :func:`choose_for_bytes`."""
        least = self._bytes(self._free)
        if least > limit:
            raise UsageError(
                f"no choice of formats reads {limit:,} bytes per token or less",
                f"MXFP4 wherever there is a choice reads {least:,}",
            )
        yardstick = _Yardstick(self._model, self._report, self._start)
        low: list[str] = []
        if self._bytes(low) > limit:
            costs = self._costs(yardstick)
            for name in self._cheapest_first(costs):
                low.append(name)
                if self._bytes(low) <= limit:
                    break
            # The last one may have saved more than was missing: give back what is not needed.
            for name in sorted(low, key=lambda name: -costs[name]):
                others = [other for other in low if other != name]
                if self._bytes(others) <= limit:
                    low = others
        return self._choice(low, yardstick.check(self._formats(low)))

    def below_divergence(self, limit: float) -> Choice:
        """As :func:`choose_for_divergence`."""
        yardstick = _Yardstick(self._model, self._report, self._start)
        quality = yardstick.check(self._formats([]))
        if quality.divergence > limit:
            raise UsageError(
                f"no choice of formats has a mean KL divergence of {limit:g} or less",
                f"MXINT8 wherever there is a choice has {quality.divergence:.5f}",
            )
        matrices = {
            name: self._rounded(name, self._given.get(name, Format.MXINT8))
            for name in self._matrices
        }
        costs = self._costs(yardstick)
        # The reference rounds weights only; what the engine loses elsewhere comes on top.
        budget = limit - (quality.divergence - yardstick.divergence(matrices))
        low: list[str] = []
        for name in self._progress("trying MXFP4", self._cheapest_first(costs)):
            trial = matrices | {name: self._rounded(name, Format.MXFP4)}
            if yardstick.divergence(trial) <= budget:
                matrices = trial
                low.append(name)
        while low:
            checked = yardstick.check(self._formats(low))
            if checked.divergence <= limit:
                return self._choice(low, checked)
            low.pop()
        return self._choice(low, quality)

    def _formats(self, low: Collection[str]) -> Formats:
        return {**self._given, **dict.fromkeys(low, Format.MXFP4)}

    def _bytes(self, low: Collection[str]) -> int:
        plan = Plan(self._model.architecture, (), self._formats(low))
        return plan.weight_bytes() + plan.token_bytes(0)

    def _choice(self, low: Collection[str], quality: Quality) -> Choice:
        return Choice(self._formats(low), quality, self._bytes(low))

    def _rounded(self, name: str, form: Format) -> Floats:
        return encode(self._matrices[name], form).dequantise()

    def _costs(self, yardstick: _Yardstick) -> dict[str, float]:
        """KL divergence with one matrix in MXFP4 and all others in float32."""
        return {
            name: yardstick.divergence(self._matrices | {name: self._rounded(name, Format.MXFP4)})
            for name in self._progress("measuring what MXFP4 costs", self._free)
        }

    def _cheapest_first(self, costs: Mapping[str, float]) -> list[str]:
        """The free matrices by their cost per byte saved."""
        saved = {name: self._bytes([]) - self._bytes([name]) for name in self._free}
        return sorted(self._free, key=lambda name: costs[name] / saved[name])

    def _progress(self, what: str, names: Collection[str]) -> Iterator[str]:
        """Yields the names, and reports from time to time how far it is."""
        reported = -REPORT_EVERY_S
        for number, name in enumerate(names, 1):
            if time.monotonic() - reported >= REPORT_EVERY_S:
                reported = time.monotonic()
                self._report(f"{what}: matrix {number} of {len(names)} ({name})")
            yield name

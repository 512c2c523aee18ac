"""A model as its file has it: architecture and tensors by their part, none of them read yet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from jalhost.errors import ModelError
from jalhost.models.architecture import Architecture, Floats, Layer, Model
from jalhost.models.tensors import Rows, Whole, read_all, read_vector

MATRICES = ("query", "key", "value", "output", "gate", "up", "down")
NORMS = ("attention_norm", "ffn_norm")
BIASES = ("query_bias", "key_bias", "value_bias")
HEAD_NORMS = ("query_norm", "key_norm")

OTHER_BIASES = {
    "output_bias": "the attention's output",
    "gate_bias": "the gate of the feed-forward part",
    "up_bias": "the feed-forward part",
    "down_bias": "the feed-forward part's output",
}
"""Biases that the engine does not add, and what they are on."""

OWN_PARTS = {"qwen2": BIASES, "qwen3": HEAD_NORMS}
"""Parts that all layers of a family have, besides those of all families."""


@dataclass(frozen=True)
class Checkpoint:
    """A model in a file.

    ``tensors``: by part, ``embedding``, ``final_norm``, ``classifier`` where it is not tied, and
    for each layer ``0.query`` and so on, named as the fields of :class:`Layer`.
    """

    architecture: Architecture
    tensors: Mapping[str, Rows]
    source: str
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses tensors that are missing or of another shape than the architecture's.

        Which parts there are besides goes into the architecture: biases that are all 0 do nothing,
        so they are none.

        Raises:
            ModelError: names the tensor.
        """
        # One after the other: a damaged file may tell of a million layers.
        for part, shape in expected_shapes(self.architecture):
            if part not in self.tensors:
                raise ModelError(f"{self.source} has no tensor for {part}", "the file is damaged")
            self._check_shape(part, shape)
        a = self.architecture
        widths = dict.fromkeys(HEAD_NORMS, a.head_dim)
        widths |= dict.fromkeys(BIASES, a.kv_heads * a.head_dim)
        widths["query_bias"] = a.heads * a.head_dim
        for index in range(a.layers):
            for part, width in widths.items():
                if f"{index}.{part}" in self.tensors:
                    self._check_shape(f"{index}.{part}", (1, width))
        self._check_other_biases()
        norms = self._count(HEAD_NORMS)
        if any(self._count((part,)) not in (0, a.layers) for part in BIASES):
            raise ModelError(f"{self.source} has biases in some layers only", "the file is damaged")
        if norms not in (0, a.layers * len(HEAD_NORMS)):
            raise ModelError(f"{self.source} normalises the heads of some layers only")
        biases = any(
            read_all(self.tensors[name]).any()
            for name in (f"{index}.{part}" for index in range(a.layers) for part in BIASES)
            if name in self.tensors
        )
        a = replace(a, qkv_bias=bool(biases), qk_norm=norms > 0)
        object.__setattr__(self, "architecture", a)

    def _count(self, parts: tuple[str, ...]) -> int:
        """How many of these parts there are, in all layers."""
        layers = range(self.architecture.layers)
        return sum(f"{index}.{part}" in self.tensors for index in layers for part in parts)

    def _check_other_biases(self) -> None:
        for index in range(self.architecture.layers):
            for part, what in OTHER_BIASES.items():
                found = self.tensors.get(f"{index}.{part}")
                if found is not None and read_all(found).any():
                    raise ModelError(
                        f"{self.source} has a bias on {what} (layer {index})",
                        "the engine adds biases to queries, keys and values only",
                    )

    def check_family(self, family: str) -> None:
        """Refuses a model that lacks what its family has.

        Raises:
            ModelError: names the part.
        """
        for index in range(self.architecture.layers):
            for part in OWN_PARTS.get(family, ()):
                if f"{index}.{part}" not in self.tensors:
                    raise ModelError(
                        f"{self.source} has no tensor for {index}.{part}, which {family} has",
                        "the file is damaged",
                    )

    def _check_shape(self, part: str, shape: tuple[int, int]) -> None:
        if self.tensors[part].shape != shape:
            raise ModelError(
                f"{self.source}: tensor {part} has shape {self.tensors[part].shape}, the"
                f" architecture asks for {shape}"
            )

    def with_context(self, context: int | None, most: int) -> "Checkpoint":
        """The same model with so much context; without a number its own, but ``most`` at most.

        Raises:
            ModelError: the model has less.
        """
        own = self.architecture.context
        wanted = min(own, most) if context is None else context
        if wanted > own:
            raise ModelError(f"a context of {wanted} is asked for, the model has {own}")
        return replace(self, architecture=replace(self.architecture, context=wanted))

    def load(self) -> Model:
        """All tensors in memory.

        Raises:
            ModelError: the file cannot be read, or has values that are not finite.
        """
        a = self.architecture
        embedding = self._read("embedding")
        classifier = embedding if a.tied else self._read("classifier")
        layers = [self._layer(index) for index in range(a.layers)]
        norm = self.vector("final_norm")
        return Model(a, embedding, layers, norm, classifier, self.source, self.extra)

    def _layer(self, index: int) -> Layer:
        matrices = {name: self._read(f"{index}.{name}") for name in MATRICES}
        names = (*NORMS, *BIASES, *HEAD_NORMS)
        vectors = {
            name: self.vector(f"{index}.{name}")
            for name in names
            if f"{index}.{name}" in self.tensors
        }
        return Layer(**matrices, **vectors)

    def _read(self, part: str) -> Floats:
        return self._finite(f"matrix {part}", read_all(self.tensors[part]))

    def vector(self, part: str) -> Floats:
        """A norm's gains or a bias.

        Raises:
            ModelError: as :meth:`load`.
        """
        return self._finite(part, read_vector(self.tensors[part]))

    def _finite(self, part: str, values: Floats) -> Floats:
        if not np.isfinite(values).all():
            raise ModelError(f"{self.source}: {part} has values that are not finite")
        return values


def expected_shapes(a: Architecture) -> Iterator[tuple[str, tuple[int, int]]]:
    """Parts that every model has, and their tensors' shapes."""
    queries, keys = a.heads * a.head_dim, a.kv_heads * a.head_dim
    layer = {
        "attention_norm": (1, a.dim),
        "query": (queries, a.dim),
        "key": (keys, a.dim),
        "value": (keys, a.dim),
        "output": (a.dim, queries),
        "ffn_norm": (1, a.dim),
        "gate": (a.hidden, a.dim),
        "up": (a.hidden, a.dim),
        "down": (a.dim, a.hidden),
    }
    yield "embedding", (a.vocabulary, a.dim)
    yield "final_norm", (1, a.dim)
    if not a.tied:
        yield "classifier", (a.vocabulary, a.dim)
    for index in range(a.layers):
        yield from ((f"{index}.{part}", shape) for part, shape in layer.items())


def as_checkpoint(model: Model) -> Checkpoint:
    """A model in memory, as if it were in a file."""
    tensors = {"embedding": model.embedding, "final_norm": model.final_norm}
    if not model.architecture.tied:
        tensors["classifier"] = model.classifier
    for index, layer in enumerate(model.layers):
        parts = {part: getattr(layer, part) for part in (*MATRICES, *NORMS, *BIASES, *HEAD_NORMS)}
        tensors |= {f"{index}.{part}": item for part, item in parts.items() if item is not None}
    rows = {part: Whole(values) for part, values in tensors.items()}
    return Checkpoint(model.architecture, rows, model.source, extra=model.extra)

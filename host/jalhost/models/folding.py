"""What conversion folds into the weights, matrix by matrix, and how to take it out again.

All exact in real arithmetic: the RMSNorm gains and sqrt(dim) go into the matrices behind a norm (so
the engine multiplies by 1/||x||), log2(e) / sqrt(head_dim) into the query matrix (so softmax works
on powers of two). Gate and up rows alternate, so that SwiGLU streams.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from jalhost.errors import ModelError
from jalhost.models.architecture import Architecture, Floats, Layer, Model
from jalhost.models.checkpoint import Checkpoint, as_checkpoint
from jalhost.models.plan import CLASSIFIER, EMBEDDING
from jalhost.models.tensors import Rows


@dataclass(frozen=True)
class Folded:
    """A matrix of the tape, made of a checkpoint's rows as they are read.

    ``sources`` take turns, row by row; ``factors`` scale columns (columns,), or all, in turn.
    """

    name: str
    sources: tuple[Rows, ...]
    factors: tuple[Floats | np.float32, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.sources[0].shape
        return rows * len(self.sources), columns

    @property
    def unit(self) -> int:
        """Reading starts at multiples of so many rows."""
        return len(self.sources) * math.lcm(*(source.unit for source in self.sources))

    def read(self, start: int, stop: int) -> Floats:
        """Rows ``start`` to ``stop``.

        Raises:
            ModelError: the file cannot be read.
        """
        turns = len(self.sources)
        parts = [source.read(start // turns, stop // turns) for source in self.sources]
        values = parts[0]
        if turns > 1:
            values = np.stack(parts, axis=1).reshape(stop - start, -1)
        for factor in self.factors:
            values = values * factor
        return values


def fold_checkpoint(checkpoint: Checkpoint) -> Iterator[Folded]:
    """The matrices in tape order, not read yet.

    A classifier that is tied to the embedding becomes a matrix of its own, since the final norm's
    gain is in it.

    Raises:
        ModelError: the model has parts that the engine has no place for, or the file cannot be
        read.
    """
    if obstacles := checkpoint.obstacles():
        raise ModelError(f"{checkpoint.source} cannot run on the engine: {'; '.join(obstacles)}")
    a, tensors = checkpoint.architecture, checkpoint.tensors
    root = math.sqrt(a.dim)

    def gains(part: str) -> Floats:
        return checkpoint.vector(part) * np.float32(root)

    yield Folded(EMBEDDING, (tensors["embedding"],))
    for index in range(a.layers):

        def folded(name: str, *factors: Floats | np.float32, index: int = index) -> Folded:
            parts = name.split("_")
            return Folded(f"{index}.{name}", tuple(tensors[f"{index}.{p}"] for p in parts), factors)

        attention = gains(f"{index}.attention_norm")
        yield folded("query", attention, _score_factor(a))
        yield folded("key", attention)
        yield folded("value", attention)
        yield folded("output")
        yield folded("gate_up", gains(f"{index}.ffn_norm"))
        yield folded("down")
    source = tensors["embedding" if a.tied else "classifier"]
    yield Folded(CLASSIFIER, (source,), (gains("final_norm"),))


def fold(model: Model) -> Iterator[tuple[str, Floats]]:
    """The matrices in tape order, by name, with norms and constants folded in.

    Raises:
        ModelError: the model has parts that the engine has no place for.
    """
    for matrix in fold_checkpoint(as_checkpoint(model)):
        yield matrix.name, matrix.read(0, matrix.shape[0])


def _score_factor(a: Architecture) -> np.float32:
    """What turns a dot product of query and key into a power of two's exponent."""
    return np.float32(math.log2(math.e) / math.sqrt(a.head_dim))


def unfold(a: Architecture, matrices: Mapping[str, Floats]) -> Model:
    """A model that computes with folded matrices: norms without gains, constants taken out again.

    ``matrices``: as of :func:`fold`, by name; columns that fill up blocks are cut off.
    """
    unit = np.full(a.dim, 1 / math.sqrt(a.dim), dtype=np.float32)
    layers = [
        Layer(
            attention_norm=unit,
            query=matrices[f"{index}.query"][:, : a.dim] / _score_factor(a),
            key=matrices[f"{index}.key"][:, : a.dim],
            value=matrices[f"{index}.value"][:, : a.dim],
            output=matrices[f"{index}.output"][:, : a.heads * a.head_dim],
            ffn_norm=unit,
            gate=matrices[f"{index}.gate_up"][0::2, : a.dim],
            up=matrices[f"{index}.gate_up"][1::2, : a.dim],
            down=matrices[f"{index}.down"][:, : a.hidden],
        )
        for index in range(a.layers)
    ]
    embedding, classifier = (matrices[name][:, : a.dim] for name in (EMBEDDING, CLASSIFIER))
    return Model(a, embedding, layers, unit, classifier)

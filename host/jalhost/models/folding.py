"""What conversion folds into the weights, matrix by matrix.

All exact in real arithmetic: the RMSNorm gains and sqrt(dim) go into the matrices behind a norm (so
the engine multiplies by 1/||x||), log2(e) / sqrt(head_dim) into the query matrix (so softmax works
on powers of two) and into the queries' biases, or, where heads are normalised, into their gains.
Signs of such gains go into the matrix. Gate and up rows alternate, so that SwiGLU streams.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jalhost.models.architecture import Architecture, Floats, Model
from jalhost.models.checkpoint import Checkpoint, as_checkpoint
from jalhost.models.plan import CLASSIFIER, EMBEDDING
from jalhost.models.tensors import Rows


@dataclass(frozen=True)
class Folded:
    """A matrix of the tape, made of a checkpoint's rows as they are read.

    ``sources`` take turns, row by row; ``factors`` scale columns (columns,), or all, in turn.
    ``signs``: of the rows (rows,), where some change theirs.
    """

    name: str
    sources: tuple[Rows, ...]
    factors: tuple[Floats | np.float32, ...] = ()
    signs: Floats | None = None

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
        factors = [np.asarray(factor) for factor in self.factors]
        if self.signs is not None:
            factors.append(self.signs[start:stop, None])
        if turns == 1 and not factors:
            return parts[0]
        # The parts may be somebody else's: one pass puts each into its place and scales it.
        values = np.empty((len(parts[0]), turns, parts[0].shape[1]), dtype=np.float32)
        first = factors.pop(0) if factors else np.float32(1)
        for turn, part in enumerate(parts):
            np.multiply(part, first, out=values[:, turn])
        rows = values.reshape(stop - start, -1)
        for factor in factors:
            rows *= factor
        return rows


def fold_checkpoint(checkpoint: Checkpoint) -> Iterator[Folded]:
    """The matrices in tape order, not read yet.

    A classifier that is tied to the embedding becomes a matrix of its own, since the final norm's
    gain is in it.

    Raises:
        ModelError: the file cannot be read.
    """
    a, tensors = checkpoint.architecture, checkpoint.tensors
    root = math.sqrt(a.dim)

    def gains(part: str) -> Floats:
        return checkpoint.vector(part) * np.float32(root)

    yield Folded(EMBEDDING, (tensors["embedding"],))
    for index in range(a.layers):

        def folded(name: str, *factors: Floats | np.float32, index: int = index) -> Folded:
            parts = tuple(tensors[f"{index}.{part}"] for part in name.split("_"))
            return Folded(f"{index}.{name}", parts, factors, signs_of_rows(checkpoint, index, name))

        attention = gains(f"{index}.attention_norm")
        yield folded("query", attention, *(() if a.qk_norm else (score_factor(a),)))
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
        ModelError: values of norms are not finite.
    """
    for matrix in fold_checkpoint(as_checkpoint(model)):
        yield matrix.name, matrix.read(0, matrix.shape[0])


def score_factor(a: Architecture) -> np.float32:
    """What turns a dot product of query and key into a power of two's exponent."""
    return np.float32(math.log2(math.e) / math.sqrt(a.head_dim))


def signs_of_rows(checkpoint: Checkpoint, index: int, name: str) -> Floats | None:
    """Signs of the gains that a matrix' rows meet (rows,), where some are negative."""
    part = f"{index}.{name}_norm"
    if name not in ("query", "key") or part not in checkpoint.tensors:
        return None
    gains = checkpoint.vector(part)
    if not (gains < 0).any():
        return None
    heads = checkpoint.tensors[f"{index}.{name}"].shape[0] // len(gains)
    return np.tile(np.where(gains < 0, -1, 1).astype(np.float32), heads)

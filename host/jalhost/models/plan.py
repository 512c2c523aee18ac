"""What a converted model's program depends on: architecture, matrices, formats, binary points.

Each matrix is MXINT8 or MXFP4, but for the embedding: of that a token reads one row, so MXFP4 would
cost quality and win no bandwidth.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, SCORE, VECTOR
from jalgateware.contract.isa import Format
from jalgateware.contract.tape import block_bytes, matrix_words
from jalhost.errors import ModelError
from jalhost.models.architecture import Architecture

Formats = Mapping[str, Format]
"""Formats by the matrix' name; matrices that are not named are MXINT8."""

MXINT8_ONLY: Formats = MappingProxyType({})

EMBEDDING = "embedding"
CLASSIFIER = "classifier"


@dataclass(frozen=True)
class LayerShifts:
    """Bits of VECTOR dropped when a layer's queries, keys and values are narrowed to 16 bits."""

    query: int
    key: int
    value: int

    @property
    def score(self) -> int:
        """Right shift from a raw dot product of query and key to SCORE."""
        return 2 * VECTOR.fraction - SCORE.fraction - self.query - self.key


@dataclass(frozen=True)
class MatrixShape:
    """A matrix on the tape: its name, rows, blocks of 32 columns, and format."""

    name: str
    rows: int
    blocks: int
    form: Format = Format.MXINT8

    @property
    def kind(self) -> str:
        """The name without the layer."""
        return self.name.rpartition(".")[2]

    @property
    def bytes(self) -> int:
        """Elements and scales, without padding."""
        return self.rows * self.blocks * block_bytes(self.form)

    def words(self, config: EngineConfig) -> int:
        """Engine words on the tape."""
        return matrix_words(config, self.rows, self.blocks, self.form)


@dataclass(frozen=True)
class Plan:
    """All that the program depends on; the weights' values are not needed any more.

    ``formats``: of the matrices that are not MXINT8.
    """

    architecture: Architecture
    shifts: tuple[LayerShifts, ...]
    formats: Formats = field(default_factory=dict)

    @property
    def matrices(self) -> list[MatrixShape]:
        """The matrices in tape order."""
        return matrix_shapes(self.architecture, self.formats)

    def weight_bytes(self, sampled: bool = True) -> int:
        """Bytes of all matrices but the embedding, without padding; those that a token reads.

        ``sampled``: whether the token behind it is wanted, which takes the classifier.
        """
        used = self.matrices[1:] if sampled else self.matrices[1:-1]
        return sum(shape.bytes for shape in used)

    def token_bytes(self, position: int) -> int:
        """Bytes that are a token's own: its embedding, rotary row, keys and values.

        ``position``: earlier positions in the KV cache.
        """
        a, embedding = self.architecture, self.matrices[0]
        per_position = 2 * 2 * a.layers * a.kv_heads * a.head_dim
        row = embedding.bytes // embedding.rows
        return row + 2 * a.head_dim + per_position * (position + 1)

    def as_dict(self) -> dict[str, Any]:
        """For metadata."""
        return {
            "architecture": self.architecture.as_dict(),
            "shifts": [asdict(item) for item in self.shifts],
            "formats": {name: form.name for name, form in self.formats.items()},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Plan":
        """Inverse of :meth:`as_dict`.

        Raises:
            ModelError: fields are missing or of the wrong kind.
        """
        try:
            architecture = Architecture.from_dict(data["architecture"])
            shifts = tuple(LayerShifts(**item) for item in data["shifts"])
            formats = {name: Format[form] for name, form in data["formats"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"image metadata is damaged: {error}") from error
        if len(shifts) != architecture.layers:
            raise ModelError("image metadata is damaged: shifts do not match the layers")
        strange = set(formats) - set(free_matrices(architecture))
        if strange:
            raise ModelError(f"image metadata is damaged: a format for {min(strange)}")
        return cls(architecture, shifts, formats)


def free_matrices(a: Architecture) -> list[str]:
    """Names of the matrices whose format can be chosen: all but the embedding."""
    return [shape.name for shape in matrix_shapes(a)[1:]]


def matrix_shapes(a: Architecture, formats: Formats = MXINT8_ONLY) -> list[MatrixShape]:
    """Matrices in tape order: embedding, layers, classifier."""
    dim, heads, keys = _blocks(a.dim), a.heads * a.head_dim, a.kv_heads * a.head_dim
    shapes = [MatrixShape(EMBEDDING, a.vocabulary, dim)]
    for index in range(a.layers):
        shapes += [
            MatrixShape(f"{index}.query", heads, dim),
            MatrixShape(f"{index}.key", keys, dim),
            MatrixShape(f"{index}.value", keys, dim),
            MatrixShape(f"{index}.output", a.dim, _blocks(heads)),
            MatrixShape(f"{index}.gate_up", 2 * a.hidden, dim),
            MatrixShape(f"{index}.down", a.dim, _blocks(a.hidden)),
        ]
    shapes.append(MatrixShape(CLASSIFIER, a.vocabulary, dim))
    return [replace(shape, form=formats.get(shape.name, Format.MXINT8)) for shape in shapes]


def _blocks(columns: int) -> int:
    return -(-columns // BLOCK)


def uniform_formats(a: Architecture, weights: Format, classifier: Format) -> Formats:
    """One format for the layers' matrices and one for the classifier."""
    return {name: classifier if name == CLASSIFIER else weights for name in free_matrices(a)}


def without_mxint8(formats: Formats) -> Formats:
    """The same formats, as a plan names them."""
    return {name: form for name, form in formats.items() if form is not Format.MXINT8}

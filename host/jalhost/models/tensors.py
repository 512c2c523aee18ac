"""Tensors that stay in their file: read in rows, a few at a time, as float32."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from jalhost.errors import ModelError
from jalhost.models.architecture import Floats
from jalhost.models.gguf_blocks import BLOCK_TYPES, decode_blocks

PLAIN_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""Bytes of an element, of the types that are no blocks."""

CHUNK_WEIGHTS = 1 << 18
"""About as many weights are read at a time: what is made of them stays in a CPU's cache."""


class Rows(Protocol):
    """A matrix (rows, columns), or a vector as one row."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def unit(self) -> int:
        """Reading starts at multiples of so many rows."""

    def read(self, start: int, stop: int) -> Floats:
        """Rows ``start`` to ``stop``.

        Raises:
            ModelError: the file cannot be read.
        """


@dataclass(frozen=True)
class Whole:
    """A matrix or vector that is in memory."""

    values: Floats
    unit: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns; a vector is one row."""
        rows, columns = np.atleast_2d(self.values).shape
        return rows, columns

    def read(self, start: int, stop: int) -> Floats:
        """Rows ``start`` to ``stop``."""
        return np.atleast_2d(self.values)[start:stop]


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file.

    ``kind``: F32, F16, BF16, or a block type as GGUF names it. ``offset``: bytes from the file's
    start. ``columns``: elements of a row; a vector is one row. ``halves``: size of the heads whose
    rows are to be put in another order, 0 for none. Files of Hugging Face rotate row i of a head
    with row i + halves / 2; the engine, as llama2.c, rotates adjacent rows, so row i of the file
    becomes row 2 i, and row i + halves / 2 becomes row 2 i + 1.
    """

    path: Path
    name: str
    kind: str
    offset: int
    rows: int
    columns: int
    halves: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def unit(self) -> int:
        """Reading starts at multiples of so many rows."""
        return max(1, self.halves)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in the file."""
        return row_bytes(self.kind, self.columns, self.name)

    def in_halves(self, head_dim: int) -> "Tensor":
        """The same tensor, whose heads' rows are to be put in the engine's order."""
        return replace(self, halves=head_dim)

    def read(self, start: int, stop: int) -> Floats:
        """Rows ``start`` to ``stop`` in the engine's order.

        Raises:
            ModelError: the file cannot be read, or is shorter than before.
        """
        wanted = (stop - start) * self.row_bytes
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.pread(handle, wanted, self.offset + start * self.row_bytes)
            finally:
                os.close(handle)
        except OSError as error:
            raise ModelError(f"cannot read {self.path}: {error.strerror}") from error
        if len(data) != wanted:
            raise ModelError(f"{self.path} ends in the middle of tensor {self.name}")
        raw = np.frombuffer(data, dtype=np.uint8).reshape(stop - start, -1)
        return interleave_halves(decode(self.kind, raw), self.halves)


def interleave_halves(values: Floats, halves: int) -> Floats:
    """Rows of whole heads, from half-split to adjacent pairs."""
    if not halves:
        return values
    split = values.reshape(-1, 2, halves // 2, values.shape[1])
    return split.swapaxes(1, 2).reshape(values.shape)


def row_bytes(kind: str, columns: int, name: str) -> int:
    """Bytes that a row of so many columns takes in a file.

    Raises:
        ModelError: the type is unknown, or its blocks do not fill the row.
    """
    if kind in PLAIN_BYTES:
        return PLAIN_BYTES[kind] * columns
    form = BLOCK_TYPES.get(kind)
    if form is None:
        raise ModelError(
            f"tensor {name} is {kind}, which cannot be converted",
            f"{', '.join((*PLAIN_BYTES, *BLOCK_TYPES))} can",
        )
    if columns % form.elements:
        raise ModelError(
            f"tensor {name} has {columns} columns, blocks of {kind} have {form.elements}",
            "the file is damaged",
        )
    return columns // form.elements * form.bytes


def readable(kind: str) -> bool:
    """Whether tensors of this type can be read."""
    return kind in PLAIN_BYTES or kind in BLOCK_TYPES


def decode(kind: str, raw: npt.NDArray[np.uint8]) -> Floats:
    """Rows of a file's bytes (rows, bytes) as float32 (rows, columns)."""
    if kind == "F32":
        return raw.view("<f4")
    if kind == "F16":
        return raw.view("<f2").astype(np.float32)
    if kind == "BF16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return decode_blocks(kind, raw)


def chunks(rows: Rows, unit: int) -> list[tuple[int, int]]:
    """Where to cut a matrix to read it piece by piece: multiples of ``unit`` and of its own."""
    count, columns = rows.shape
    step = int(np.lcm(unit, rows.unit))
    step *= max(1, CHUNK_WEIGHTS // (step * columns))
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def read_all(rows: Rows) -> Floats:
    """A whole matrix."""
    return np.ascontiguousarray(rows.read(0, rows.shape[0]))


def read_vector(rows: Rows) -> Floats:
    """A whole vector."""
    return read_all(rows).reshape(-1)


@dataclass(frozen=True)
class HalvesVector:
    """A vector over half-split heads, its elements in the engine's order: as ``Tensor.halves``."""

    tensor: Tensor
    halves: int
    unit: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """One row, and its columns."""
        return self.tensor.shape

    def read(self, start: int, stop: int) -> Floats:
        """The vector, as one row."""
        values = self.tensor.read(start, stop)
        return interleave_halves(values.reshape(-1, 1), self.halves).reshape(1, -1)

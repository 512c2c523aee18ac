"""Reads the header of a GGUF file: metadata, and where its tensors lie.

Format: ggml's docs/gguf.md (github.com/ggml-org/ggml), versions 2 and 3, little-endian. The file is
mapped into memory and only the header is looked at, string by string: a vocabulary of 128,000
tokens takes a fraction of a second. All lengths are checked against what is left of the file before
anything is made of them.
"""

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from jalhost.errors import ModelError
from jalhost.models.tensors import Tensor, readable, row_bytes

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT_KEY = "general.alignment"
DEFAULT_ALIGNMENT = 32
MAX_DIMENSIONS = 4
MAX_NAME = 1 << 16
"""Bytes of a key or of a tensor's name."""

STRING, ARRAY = 8, 9
SCALARS = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8",
    11: "<i8", 12: "<f8",
}  # fmt: skip
"""NumPy's names of the value types."""

TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1",
    10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS",
    17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S",
    23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16",
    34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip
"""Names of the tensor types, as ggml.h numbers them."""


@dataclass(frozen=True)
class GgufFile:
    """``metadata``: numbers, booleans, strings as bytes, lists of strings, arrays of numbers."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def text(self, key: str, default: str | None = None) -> str:
        """A string.

        Raises:
            ModelError: there is none, or it is not UTF-8.
        """
        value = self.metadata.get(key, default)
        try:
            return (
                value.decode("utf-8") if isinstance(value, bytes) else self._typed(key, value, str)
            )
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.path}: {key} is not UTF-8") from error

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number.

        Raises:
            ModelError: there is none.
        """
        return int(self._typed(key, self.metadata.get(key, default), int))

    def real(self, key: str, default: float | None = None) -> float:
        """A number.

        Raises:
            ModelError: there is none.
        """
        return float(self._typed(key, self.metadata.get(key, default), (int, float)))

    def _typed(self, key: str, value: Any, kind: Any) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            problem = "is missing" if value is None else "is of the wrong type"
            raise ModelError(
                f"{self.path}: {key} {problem}", "the file is damaged or no such model"
            )
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A boolean.

        Raises:
            ModelError: it is something else.
        """
        return bool(self._typed(key, self.metadata.get(key, default), bool))

    def strings(self, key: str) -> list[bytes]:
        """A list of strings.

        Raises:
            ModelError: there is none.
        """
        return list(self._typed(key, self.metadata.get(key), list))


def is_gguf(path: Path) -> bool:
    """Whether a file starts like a GGUF file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error


def read_gguf(path: Path) -> GgufFile:
    """Reads a file's header.

    Raises:
        ModelError: the file cannot be read, is damaged, or of another version.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < 24:
                raise ModelError(f"{path} is too short for a GGUF file ({size} bytes)")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Header(path, data).read()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error


class _Header:
    """Walks through a header."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._place = 0

    def read(self) -> GgufFile:
        """The whole header."""
        magic, version, tensors, entries = struct.unpack("<4sIQQ", self._take(24))
        if magic != MAGIC:
            raise ModelError(f"{self._path} is not a GGUF file")
        if version not in VERSIONS:
            big = int.from_bytes(struct.pack("<I", version), "big") in VERSIONS
            what = "big-endian" if big else f"of version {version}"
            raise ModelError(
                f"{self._path} is a GGUF file {what}",
                "versions 2 and 3, little-endian, can be read",
            )
        metadata: dict[str, Any] = {}
        for _ in range(self._count(entries, 13)):
            key = self._name()
            if key in metadata:
                raise self._damaged(f"metadata {key} stands there twice")
            metadata[key] = self._value(self._number("<I"))
        infos = [self._info() for _ in range(self._count(tensors, 25))]
        return GgufFile(self._path, metadata, self._tensors(infos, self._alignment(metadata)))

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= len(self._data) - self._place:
            raise self._damaged("it breaks off, or a length in its header is wrong")
        start, self._place = self._place, self._place + count
        return self._data[start : self._place]

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def _count(self, count: int, least_bytes: int) -> int:
        """A number of things, each of which takes at least so many bytes."""
        if count * least_bytes > len(self._data) - self._place:
            raise self._damaged(f"it cannot hold the {count} entries that its header tells of")
        return count

    def _name(self) -> str:
        length = self._number("<Q")
        if length > MAX_NAME:
            raise self._damaged(f"a name has {length} bytes")
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise self._damaged("a name is not UTF-8") from None

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._take(self._number("<Q"))
        if kind != ARRAY:
            return self._numbers(kind, 1)[0].item()
        item, count = self._number("<I"), self._number("<Q")
        if item == STRING:
            return self._strings(self._count(count, 8))
        if item == ARRAY:
            raise self._damaged("it has arrays of arrays, which no model needs")
        return self._numbers(item, count)

    def _numbers(self, kind: int, count: int) -> Any:
        if kind not in SCALARS:
            raise self._damaged(f"a value is of the unknown type {kind}")
        form = np.dtype(SCALARS[kind])
        return np.frombuffer(self._take(self._count(count, form.itemsize) * form.itemsize), form)

    def _strings(self, count: int) -> list[bytes]:
        # In one loop with few calls, as a vocabulary has 100,000 of them and more.
        data, place, end = self._data, self._place, len(self._data)
        length, strings = struct.Struct("<Q"), []
        for _ in range(count):
            if place + 8 > end:
                raise self._damaged("it breaks off in a list of strings")
            size = length.unpack_from(data, place)[0]
            place += 8
            if size > end - place:
                raise self._damaged(f"a string has {size} bytes")
            strings.append(data[place : place + size])
            place += size
        self._place = place
        return strings

    def _info(self) -> tuple[str, str, list[int], int]:
        """A tensor's name, type, dimensions (columns first) and offset."""
        name, dimensions = self._name(), self._number("<I")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise self._damaged(f"tensor {name} has {dimensions} dimensions")
        sizes = [self._number("<Q") for _ in range(dimensions)]
        kind = self._number("<I")
        return name, TYPES.get(kind, f"of type {kind}"), sizes, self._number("<Q")

    def _alignment(self, metadata: Mapping[str, Any]) -> int:
        alignment = metadata.get(ALIGNMENT_KEY, DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 8 <= alignment <= 1 << 20 or alignment % 8:
            raise self._damaged(f"{ALIGNMENT_KEY} is {alignment!r}")
        return alignment

    def _tensors(
        self, infos: list[tuple[str, str, list[int], int]], alignment: int
    ) -> dict[str, Tensor]:
        start = -(-self._place // alignment) * alignment
        found: dict[str, Tensor] = {}
        ends: list[tuple[int, int, str]] = []
        for name, kind, sizes, offset in infos:
            if name in found:
                raise self._damaged(f"tensor {name} stands there twice")
            columns, rows = sizes[0], int(np.prod(sizes[1:], dtype=object))
            if not (0 < columns < 1 << 31 and 0 < rows < 1 << 31):
                raise self._damaged(f"tensor {name} has shape {sizes}")
            tensor = Tensor(self._path, name, kind, start + offset, rows, columns)
            found[name] = tensor
            if offset % alignment:
                raise self._damaged(f"tensor {name} starts at {offset}, which is not aligned")
            # Types that nothing can read may belong to tensors that nothing wants.
            size = rows * row_bytes(kind, columns, name) if readable(kind) else 0
            if tensor.offset + size > len(self._data):
                raise self._damaged(f"tensor {name} reaches beyond its end")
            ends.append((offset, offset + size, name))
        ends.sort()
        for (_, end, first), (begin, _, second) in pairwise(ends):
            if end > begin:
                raise self._damaged(f"tensors {first} and {second} overlap")
        return found

    def _damaged(self, reason: str) -> ModelError:
        return ModelError(f"{self._path} is damaged: {reason}", "download or copy it again")

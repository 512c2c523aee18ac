"""How an image lies in its file, and writing one front to back or piece by piece.

A safetensors file: the header's length (64 bits), the header (JSON), the tensors one behind the
other, those with wide elements first, so that all are aligned, and the tape last. Its place is
known before its content: the header gets as much room as it can need, and what it does not need is
spaces, which JSON allows.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from jalgateware.contract import isa
from jalgateware.contract.image_header import ALIGNMENT, CHUNK_BYTES
from jalhost.models.compiler import layout, program_length
from jalhost.models.image import GEOMETRY
from jalhost.models.plan import LayerShifts, Plan

FORMAT = "jalhost image"
VERSION = 2
METADATA_KEY = "jalhost"

TAPE = "tape"

Array = npt.NDArray[np.generic]

KINDS = {"uint32": "U32", "int32": "I32", "int16": "I16", "uint8": "U8", "float32": "F32"}
"""NumPy's types as safetensors names them."""

PIECE = 1 << 20
"""Bytes of the tape that are in memory at a time."""


@dataclass(frozen=True)
class Spec:
    """Type and shape of a tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes that it takes."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


def tensor_specs(plan: Plan, others: Mapping[str, Array]) -> dict[str, Spec]:
    """All tensors of an image: program and tape of a plan, and those that are there already."""
    a = plan.architecture
    place = layout(a, GEOMETRY, plan.formats)
    tape = (place.tape_words - place.first_matrix) * GEOMETRY.lanes
    return {
        "program": Spec("uint32", (program_length(a), isa.INSTRUCTION_WORDS)),
        **{name: Spec(item.dtype.name, item.shape) for name, item in others.items()},
        TAPE: Spec("uint8", (tape,)),
    }


class ImageFile:
    """A file that an image is being written to: tensors in any order, the header last.

    Args:
        file: open for writing.
        specs: its tensors, :func:`tensor_specs`.
        metadata: what will stand in the header, with values as long as they can be.
    """

    def __init__(
        self, file: IO[bytes], specs: Mapping[str, Spec], metadata: dict[str, Any]
    ) -> None:
        self._file = file
        self._specs = specs
        self._hashes: dict[str, Any] = {}
        order = sorted(
            specs, key=lambda name: (name == TAPE, -np.dtype(specs[name].dtype).itemsize, name)
        )
        self._offsets: dict[str, int] = {}
        place = 0
        for name in order:
            self._offsets[name] = place
            place += specs[name].bytes
        self._order = order
        digests = dict.fromkeys(specs, "f" * 64)
        room = len(self._header(metadata | {"sha256": digests}))
        self._room = -(-(8 + room) // ALIGNMENT) * ALIGNMENT - 8
        self._tape_place = self._start(TAPE)

    def _start(self, name: str) -> int:
        return 8 + self._room + self._offsets[name]

    @property
    def tape_start(self) -> int:
        """The tape's place in the file."""
        return self._start(TAPE)

    @property
    def tape_bytes(self) -> int:
        """How many bytes of the tape have been written."""
        return self._tape_place - self.tape_start

    def write(self, name: str, values: Array) -> None:
        """Writes a tensor."""
        spec = self._specs[name]
        assert (values.dtype.name, values.shape) == (spec.dtype, spec.shape), name
        data = data_of(values)
        self._file.seek(self._start(name))
        self._file.write(data)
        self._hashes[name] = hashlib.sha256(data)

    def append(self, piece: Array) -> None:
        """Writes the tape's next bytes."""
        data = data_of(piece)
        self._file.seek(self._tape_place)
        self._file.write(data)
        self._tape_place += len(data)
        self._hashes.setdefault(TAPE, hashlib.sha256()).update(data)

    def tape(self) -> Iterator[bytes]:
        """What was written of the tape, piece by piece; the file must be readable."""
        self._file.flush()
        place, end = self.tape_start, self._tape_place
        while place < end:
            self._file.seek(place)
            piece = self._file.read(min(PIECE, end - place))
            place += len(piece)
            yield piece

    def finish(self, metadata: dict[str, Any]) -> None:
        """Writes the header."""
        assert self._tape_place == self.tape_start + self._specs[TAPE].bytes, "a whole tape"
        digests = {name: self._hashes[name].hexdigest() for name in self._specs}
        header = self._header(metadata | {"sha256": digests})
        assert len(header) <= self._room, "there is room for the longest header"
        self._file.seek(0)
        self._file.write(self._room.to_bytes(8, "little") + header.ljust(self._room))

    def _header(self, metadata: dict[str, Any]) -> bytes:
        # One entry only, so that the order of several is nobody's question.
        entries: dict[str, Any] = {"__metadata__": {METADATA_KEY: seal(metadata)}}
        for name in self._order:
            spec, start = self._specs[name], self._offsets[name]
            entries[name] = {
                "dtype": KINDS[spec.dtype],
                "shape": list(spec.shape),
                "data_offsets": [start, start + spec.bytes],
            }
        return json.dumps(entries).encode()


def widest_metadata(known: dict[str, Any], plan: Plan, specs: Mapping[str, Spec]) -> dict[str, Any]:
    """Metadata of a plan whose binary points are not known yet, as long as they can be.

    ``known``: the entries that are known already.
    """
    shifts = (LayerShifts(-99, -99, -99),) * plan.architecture.layers
    widest = Plan(plan.architecture, shifts, plan.formats)
    count = -(-_payload_bytes(plan, specs) // CHUNK_BYTES)
    return known | {"plan": widest.as_dict(), "chunk_crc32": [0xFFFFFFFF] * count}


def _payload_bytes(plan: Plan, specs: Mapping[str, Spec]) -> int:
    place = layout(plan.architecture, GEOMETRY, plan.formats)
    drafts = specs["drafts"].bytes if "drafts" in specs else 0
    parts = (specs["program"].bytes, drafts, place.tape_words * GEOMETRY.lanes)
    return sum(-(-part // ALIGNMENT) * ALIGNMENT for part in parts)


def seal(metadata: dict[str, Any]) -> str:
    """Metadata as JSON, together with its SHA-256."""
    text = json.dumps(metadata, sort_keys=True)
    return json.dumps({"content": text, "sha256": hashlib.sha256(text.encode()).hexdigest()})


def data_of(values: Array) -> memoryview:
    """An array's bytes."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def pieces_of(values: Array) -> Iterator[memoryview]:
    """An array's bytes, piece by piece."""
    data = data_of(values)
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]


def padded(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The pieces, and zeros up to the alignment of what lies in DRAM."""
    total = 0
    for piece in pieces:
        total += len(piece)
        yield piece
    if total % ALIGNMENT:
        yield bytes(ALIGNMENT - total % ALIGNMENT)

"""The ``.jal`` image: a converted model in one file, checked from end to end when it is read.

A safetensors file with the tensors ``program`` (instructions, 4) uint32, ``rope`` (context,
head_dim) int16, ``tape`` (bytes,) uint8 - the matrices as the engine reads them with
``GEOMETRY.lanes`` -, the tokenizer, and optionally ``drafts`` (entries,) uint32, with which the
drafter starts, and ``constants`` (layers, entries) int32, biases and gains. One metadata entry,
``jalhost``, holds a JSON object with its own SHA-256: format and version, name, source, the
compiler's plan, special tokens, and a SHA-256 for each tensor.
"""

import hashlib
import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jalgateware.contract import isa
from jalgateware.contract.drafting import TABLE_WORDS
from jalgateware.contract.image_header import CHUNK_BYTES, streamed_chunk_crcs
from jalhost.errors import ModelError
from jalhost.files import atomic_path
from jalhost.models.compiler import all_tables, check_limits, layout, program_length
from jalhost.models.constants import counts
from jalhost.models.fast_tokenizer import read_tokenizer_tensors
from jalhost.models.image import GEOMETRY, Image, Tensors
from jalhost.models.image_layout import (
    FORMAT,
    METADATA_KEY,
    TAPE,
    VERSION,
    ImageFile,
    data_of,
    padded,
    pieces_of,
    tensor_specs,
    widest_metadata,
)
from jalhost.models.plan import Plan


def save_image(image: Image, path: Path) -> None:
    """Writes an image; the same image always gives the same bytes.

    Raises:
        ModelError: the model is beyond what any image holds.
        UsageError: the file cannot be written.
    """
    check_limits(image.plan, GEOMETRY)
    tensors = image.tensors()
    others = {name: item for name, item in tensors.items() if name not in ("program", TAPE)}
    specs = tensor_specs(image.plan, others)
    metadata = describe(image)
    crcs = {"chunk_crc32": list(image_crcs(image, pieces_of(image.tape)))}
    with atomic_path(path, nameless=True) as temporary, temporary.open("wb") as stream:
        file = ImageFile(stream, specs, widest_metadata(metadata, image.plan, specs))
        file.write("program", image.program)
        for name, tensor in others.items():
            file.write(name, tensor)
        file.append(image.tape)
        file.finish(metadata | crcs)


def describe(image: Image) -> dict[str, Any]:
    """An image's metadata, without what its tensors' bytes decide."""
    tokenizer = image.tokenizer.metadata()
    return {
        "format": FORMAT,
        "version": VERSION,
        "isa_version": isa.VERSION,
        "name": image.name,
        "source": image.source,
        "lanes": GEOMETRY.lanes,
        "plan": image.plan.as_dict(),
        "stop_tokens": list(image.stop_tokens),
        "chunk_bytes": CHUNK_BYTES,
        **({"tokenizer": tokenizer} if tokenizer else {}),
    }


def image_crcs(image: Image, tape: Iterable[bytes | memoryview]) -> tuple[int, ...]:
    """CRCs of the chunks of an image's blob for GEOMETRY.

    ``tape``: the image's tape in pieces, which may be elsewhere.
    """
    a = image.plan.architecture
    tables = pieces_of(all_tables(a, image.rope, image.constants, GEOMETRY))
    drafts = () if image.drafts is None else pieces_of(image.drafts)
    parts = (pieces_of(image.program), drafts, chain(tables, tape))
    return streamed_chunk_crcs(chain.from_iterable(padded(part) for part in parts))


def _unseal(text: str) -> dict[str, Any] | None:
    """Inverse of :func:`seal`; None where there is no such thing.

    Raises:
        ValueError: the content is damaged.
    """
    sealed = json.loads(text)
    if not isinstance(sealed, dict) or not isinstance(sealed.get("content"), str):
        return None
    content: str = sealed["content"]
    if hashlib.sha256(content.encode()).hexdigest() != sealed.get("sha256"):
        raise ValueError("metadata does not match its SHA-256")
    metadata = json.loads(content)
    return metadata if isinstance(metadata, dict) else None


def load_image(path: Path) -> Image:
    """Reads an image and checks everything that can be checked.

    Raises:
        ModelError: the file is missing, truncated, damaged, foreign, or of another format version.
    """
    tensors, metadata = _read(path)
    _check_header(path, metadata)
    try:
        for name, tensor in tensors.items():
            if _digest(tensor) != metadata["sha256"][name]:
                raise _damaged(path, f"tensor {name} does not match its SHA-256")
        image = Image(
            name=str(metadata["name"]),
            source=str(metadata["source"]),
            plan=Plan.from_dict(metadata["plan"]),
            program=_typed(tensors["program"], np.uint32),
            rope=_typed(tensors["rope"], np.int16),
            tape=_typed(tensors["tape"], np.uint8),
            tokenizer=read_tokenizer_tensors(tensors, metadata.get("tokenizer")),
            stop_tokens=tuple(int(token) for token in metadata["stop_tokens"]),
            drafts=_typed(tensors["drafts"], np.uint32) if "drafts" in tensors else None,
            constants=_typed(tensors["constants"], np.int32) if "constants" in tensors else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__} {error}") from error
    _check_consistency(path, image)
    check_limits(image.plan, GEOMETRY)
    if list(image_crcs(image, pieces_of(image.tape))) != metadata.get("chunk_crc32"):
        raise _damaged(path, "its blob does not match the CRCs of its chunks")
    return image


def is_image(path: Path) -> bool:
    """Whether a file looks like a safetensors file (an image, sound or not).

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    return start[8:9] == b"{"


def _read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not is_image(path):
        raise ModelError(
            f"{path} is not a .jal image", "convert models with: jalhost model convert"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            entries = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error
    try:
        metadata = _unseal(entries.get(METADATA_KEY, "null"))
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if metadata is None:
        raise ModelError(
            f"{path} is a safetensors file, but not a .jal image",
            "convert models with: jalhost model convert",
        )
    return tensors, metadata


def _check_header(path: Path, metadata: dict[str, Any]) -> None:
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{path} is not a .jal image", f"its format is {metadata.get('format')!r}")
    for key, ours in (
        ("version", VERSION),
        ("isa_version", isa.VERSION),
        ("lanes", GEOMETRY.lanes),
    ):
        if metadata.get(key) != ours:
            raise ModelError(
                f"{path} has {key} {metadata.get(key)!r}, this version of jalhost reads {ours}",
                "convert the model again",
            )


def _check_consistency(path: Path, image: Image) -> None:
    a = image.plan.architecture
    place = layout(a, GEOMETRY, image.plan.formats)
    expected = {
        "program": (image.program.shape, (program_length(a), isa.INSTRUCTION_WORDS)),
        "rope": (image.rope.shape, (a.context, a.head_dim)),
        "tape": (image.tape.shape, ((place.tape_words - place.first_matrix) * GEOMETRY.lanes,)),
        "tokenizer.ends": ((len(image.tokenizer.pieces),), (a.vocabulary,)),
    }
    if image.drafts is not None:
        expected["drafts"] = (image.drafts.shape, (TABLE_WORDS,))
    entries = sum(counts(a))
    if entries or image.constants is not None:
        found = () if image.constants is None else image.constants.shape
        expected["constants"] = (found, (a.layers, entries))
    for name, (shape, wanted) in expected.items():
        if shape != wanted:
            raise _damaged(
                path, f"tensor {name} has shape {shape}, the architecture asks for {wanted}"
            )


def _typed(tensor: npt.NDArray[np.generic], kind: type[np.generic]) -> npt.NDArray[Any]:
    if tensor.dtype != kind:
        raise TypeError(f"a tensor is {tensor.dtype} where {np.dtype(kind)} belongs")
    return tensor


def _digest(tensor: npt.NDArray[np.generic]) -> str:
    return hashlib.sha256(data_of(tensor)).hexdigest()


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} is damaged: {reason}", "copy it again or convert the model again")

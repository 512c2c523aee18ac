"""The ``.jal`` image: a converted model in one file, checked from end to end when it is read.

A safetensors file with the tensors ``program`` (instructions, 4) uint32, ``rope`` (context,
head_dim) int16, ``tape`` (bytes,) uint8 - the matrices as the engine reads them with
``GEOMETRY.lanes`` -, the tokenizer, and optionally ``drafts`` (entries,) uint32, with which the
drafter starts. One metadata entry, ``jalhost``, holds a JSON object with
its own SHA-256: format and version, name, source, the compiler's plan, special tokens, and a
SHA-256 for each tensor.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jalgateware.contract import isa
from jalgateware.contract.drafting import TABLE_WORDS
from jalgateware.contract.image_header import CHUNK_BYTES
from jalhost.errors import ModelError
from jalhost.files import atomic_path
from jalhost.models import tokenizer as tokens
from jalhost.models.blob import build_blob
from jalhost.models.compiler import layout, program_length
from jalhost.models.image import GEOMETRY, Image, Tensors
from jalhost.models.plan import Plan

FORMAT = "jalhost image"
VERSION = 2
METADATA_KEY = "jalhost"


def save_image(image: Image, path: Path) -> None:
    """Writes an image; the same image always gives the same bytes.

    Raises:
        UsageError: the file cannot be written.
    """
    from safetensors.numpy import save_file

    tensors = {name: np.ascontiguousarray(item) for name, item in image.tensors().items()}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "isa_version": isa.VERSION,
        "name": image.name,
        "source": image.source,
        "lanes": GEOMETRY.lanes,
        "plan": image.plan.as_dict(),
        "stop_tokens": list(image.stop_tokens),
        "sha256": {name: _digest(item) for name, item in tensors.items()},
        "chunk_bytes": CHUNK_BYTES,
        "chunk_crc32": build_blob(image, GEOMETRY).header.chunk_crcs,
    }
    with atomic_path(path) as temporary:
        # One entry only: safetensors does not promise an order between several.
        save_file(tensors, temporary, {METADATA_KEY: seal(metadata)})


def seal(metadata: dict[str, Any]) -> str:
    """Metadata as JSON, together with its SHA-256."""
    text = json.dumps(metadata, sort_keys=True)
    return json.dumps({"content": text, "sha256": hashlib.sha256(text.encode()).hexdigest()})


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
            tokenizer=tokens.from_tensors(tensors),
            stop_tokens=tuple(int(token) for token in metadata["stop_tokens"]),
            drafts=_typed(tensors["drafts"], np.uint32) if "drafts" in tensors else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__} {error}") from error
    _check_consistency(path, image)
    if list(build_blob(image, GEOMETRY).header.chunk_crcs) != metadata.get("chunk_crc32"):
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
    rope_words = a.context * place.rope_words
    expected = {
        "program": (image.program.shape, (program_length(a), isa.INSTRUCTION_WORDS)),
        "rope": (image.rope.shape, (a.context, a.head_dim)),
        "tape": (image.tape.shape, ((place.tape_words - rope_words) * GEOMETRY.lanes,)),
        "tokenizer.ends": ((len(image.tokenizer.pieces),), (a.vocabulary,)),
    }
    if image.drafts is not None:
        expected["drafts"] = (image.drafts.shape, (TABLE_WORDS,))
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
    return hashlib.sha256(tensor.tobytes()).hexdigest()


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} is damaged: {reason}", "copy it again or convert the model again")

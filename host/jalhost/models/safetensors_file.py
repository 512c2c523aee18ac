"""Tensors of safetensors files, read in place: one file, or several with an index.

Format: github.com/huggingface/safetensors: a 64-bit length, a JSON object with type, shape and
offsets of each tensor, then their bytes. The package of that name reads whole tensors or slices,
but BF16 only with another package's types; here rows are read as they are needed.
"""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

from jalhost.errors import ModelError
from jalhost.models.tensors import PLAIN_BYTES, Tensor

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MAX_HEADER = 100_000_000
"""Bytes, as the package has it."""

MAX_JSON = 1 << 28
"""Bytes of a JSON file that is read at all."""


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        ModelError: it cannot be read, or is no JSON.
    """
    try:
        if path.stat().st_size > MAX_JSON:
            raise ModelError(f"{path} has {path.stat().st_size:,} bytes", "no model needs so much")
        return parse_json(path.read_bytes(), path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error


def parse_json(data: bytes, path: Path) -> Any:
    """What JSON says.

    Raises:
        ModelError: it is none, or names something twice.
    """
    try:
        return json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ModelError(f"{path} is damaged: {reason}", "download or copy it again") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice} stands there twice")
    return data


def folder_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model's folder.

    Raises:
        ModelError: files are missing, damaged, or do not fit to their index.
    """
    if not (folder / INDEX).is_file():
        if not (folder / SINGLE).exists():
            raise _no_weights(folder)
        return file_tensors(folder / SINGLE)
    index = read_json(folder / INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(item, str) for item in places.values()):
        raise ModelError(f"{folder / INDEX} is damaged: it has no weight_map")
    found: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            raise ModelError(f"{folder / INDEX} names a file outside of its folder: {name!r}")
        for tensor in file_tensors(folder / name).values():
            if tensor.name in found:
                raise ModelError(f"{folder}: tensor {tensor.name} stands in several files")
            if places.get(tensor.name) == name:
                found[tensor.name] = tensor
    if missing := set(places) - set(found):
        raise ModelError(f"{folder}: tensor {min(missing)} is missing in {places[min(missing)]}")
    return found


def _no_weights(folder: Path) -> ModelError:
    hint = "download it again"
    if any(folder.glob("*.safetensors")):
        hint = f"{INDEX} is missing, which tells what is in its files"
    elif any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        hint = "PyTorch's files cannot be read: have transformers save the model as safetensors"
    return ModelError(f"{folder} has no {SINGLE}", hint)


def file_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a file, by name.

    Raises:
        ModelError: the file cannot be read, or is damaged.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER):
                raise _damaged(path, "it breaks off, or is no safetensors file")
            header = parse_json(file.read(length), path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no JSON object")
    start = 8 + length
    found = {
        name: _tensor(path, name, entry, start, size)
        for name, entry in header.items()
        if name != "__metadata__"
    }
    _check_overlaps(path, found)
    return found


def _tensor(path: Path, name: str, entry: Any, start: int, size: int) -> Tensor:
    try:
        kind, shape = entry["dtype"], entry["shape"]
        first, last = entry["data_offsets"]
        whole = all(type(item) is int and item >= 0 for item in (*shape, first, last))
    except (TypeError, KeyError, ValueError):
        raise _damaged(path, f"its entry of tensor {name} is incomplete") from None
    if not whole or not isinstance(kind, str) or last < first or start + last > size:
        raise _damaged(path, f"tensor {name} reaches beyond its end")
    columns = shape[-1] if shape else 1
    rows = math.prod(shape[:-1])
    # Types that nothing can read may belong to tensors that nothing wants.
    if kind in PLAIN_BYTES and rows * columns * PLAIN_BYTES[kind] != last - first:
        raise _damaged(
            path, f"tensor {name} has {last - first} bytes, which is not its shape's size"
        )
    return Tensor(path, name, kind, start + first, rows, columns)


def _check_overlaps(path: Path, tensors: dict[str, Tensor]) -> None:
    plain = [item for item in tensors.values() if item.kind in PLAIN_BYTES]
    plain.sort(key=lambda item: item.offset)
    for first, second in pairwise(plain):
        if first.offset + first.rows * first.row_bytes > second.offset:
            raise _damaged(path, f"tensors {first.name} and {second.name} overlap")


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} is damaged: {reason}", "download or copy it again")

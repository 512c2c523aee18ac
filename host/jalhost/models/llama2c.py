"""Reads llama2.c checkpoints (version 0, ``.bin``).

Format, from llama2.c's export.py and run.c (github.com/karpathy/llama2.c): seven int32 (dim,
hidden, layers, heads, KV heads, vocabulary - negative where the classifier is a matrix of its own
-, context), then float32 tensors: embedding; for all layers in turn each of attention norm, wq, wk,
wv, wo, FFN norm, w1, w2, w3; final norm; two unused rotary tables of context * head_dim / 2; the
classifier where it is not tied.
"""

import struct
from pathlib import Path

from jalhost.errors import ModelError
from jalhost.models.architecture import Architecture, Model
from jalhost.models.checkpoint import Checkpoint
from jalhost.models.tensors import Rows, Tensor

HEADER = struct.Struct("<7i")


def read_checkpoint(path: Path) -> Model:
    """Reads a whole checkpoint.

    Raises:
        ModelError: the file is missing, is no llama2.c checkpoint, its size does not fit its
        header, or it has values that are not finite.
    """
    return open_llama2c(path).load()


OTHERS = "models are GGUF files, Hugging Face folders, and such checkpoints"


def open_llama2c(path: Path) -> Checkpoint:
    """A checkpoint whose tensors are still in the file.

    Raises:
        ModelError: the file is missing, is no llama2.c checkpoint, or its size does not fit its
        header.
    """
    try:
        with path.open("rb") as file:
            start, size = file.read(HEADER.size), file.seek(0, 2)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    a = _header(path, start)
    expected = HEADER.size + 4 * (a.parameters + 2 * _rotary(a))
    if size != expected:
        raise ModelError(
            f"{path} has {size} bytes where its header asks for {expected}",
            "the file is truncated or not a llama2.c version 0 checkpoint",
        )
    return Checkpoint(a, _tensors(path, a), path.name)


def _header(path: Path, data: bytes) -> Architecture:
    if len(data) < HEADER.size:
        raise ModelError(
            f"{path} is too short for a llama2.c checkpoint: it has {len(data)} bytes", OTHERS
        )
    dim, hidden, layers, heads, kv_heads, vocabulary, context = HEADER.unpack(data)
    sizes = (dim, hidden, layers, heads, kv_heads, abs(vocabulary), context)
    if not all(0 < size <= 1 << 20 for size in sizes) or dim % heads:
        raise ModelError(
            f"{path} is not a llama2.c checkpoint: its first seven integers are {sizes}", OTHERS
        )
    return Architecture(
        dim=dim,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=dim // heads,
        vocabulary=abs(vocabulary),
        context=context,
        tied=vocabulary > 0,
    )


def _rotary(architecture: Architecture) -> int:
    return architecture.context * architecture.head_dim // 2


def _tensors(path: Path, a: Architecture) -> dict[str, Rows]:
    queries, keys = a.heads * a.head_dim, a.kv_heads * a.head_dim
    stacks = (
        ("attention_norm", 1, a.dim),
        ("query", queries, a.dim),
        ("key", keys, a.dim),
        ("value", keys, a.dim),
        ("output", a.dim, queries),
        ("ffn_norm", 1, a.dim),
        ("gate", a.hidden, a.dim),
        ("down", a.dim, a.hidden),
        ("up", a.hidden, a.dim),
    )
    shapes = [("embedding", a.vocabulary, a.dim)]
    shapes += [(f"{i}.{part}", rows, cols) for part, rows, cols in stacks for i in range(a.layers)]
    shapes += [("final_norm", 1, a.dim), ("", 2, _rotary(a))]
    shapes += [] if a.tied else [("classifier", a.vocabulary, a.dim)]
    found: dict[str, Rows] = {}
    offset = HEADER.size
    for part, rows, columns in shapes:
        found[part] = Tensor(path, part, "F32", offset, rows, columns)
        offset += 4 * rows * columns
    del found[""]  # the rotary tables
    return found

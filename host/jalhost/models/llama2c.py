"""Reads llama2.c checkpoints (version 0, ``.bin``).

Format, from llama2.c's export.py and run.c (github.com/karpathy/llama2.c): seven int32 (dim,
hidden, layers, heads, KV heads, vocabulary - negative where the classifier is a matrix of its own
-, context), then float32 tensors: embedding; for all layers in turn each of attention norm, wq, wk,
wv, wo, FFN norm, w1, w2, w3; final norm; two unused rotary tables of context * head_dim / 2; the
classifier where it is not tied.
"""

import struct
from pathlib import Path

import numpy as np

from jalhost.errors import ModelError
from jalhost.models.architecture import Architecture, Floats, Layer, Model

HEADER = struct.Struct("<7i")


def read_checkpoint(path: Path) -> Model:
    """Reads a checkpoint.

    Raises:
        ModelError: the file is missing, is no llama2.c checkpoint, or its size does not fit its
        header.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    architecture = _header(path, data)
    expected = HEADER.size + 4 * (architecture.parameters + 2 * _rotary(architecture))
    if len(data) != expected:
        raise ModelError(
            f"{path} has {len(data)} bytes where its header asks for {expected}",
            "the file is truncated or not a llama2.c version 0 checkpoint",
        )
    cursor = _Cursor(np.frombuffer(data, dtype="<f4", offset=HEADER.size))
    model = _tensors(cursor, architecture, str(path.name))
    for name, tensor in (("embedding", model.embedding), ("classifier", model.classifier)):
        if not np.isfinite(tensor).all():
            raise ModelError(f"{path}: {name} has values that are not finite")
    return model


def _header(path: Path, data: bytes) -> Architecture:
    if len(data) < HEADER.size:
        raise ModelError(f"{path} is too short for a llama2.c checkpoint ({len(data)} bytes)")
    dim, hidden, layers, heads, kv_heads, vocabulary, context = HEADER.unpack_from(data)
    sizes = (dim, hidden, layers, heads, kv_heads, abs(vocabulary), context)
    if not all(0 < size <= 1 << 20 for size in sizes) or dim % heads:
        raise ModelError(
            f"{path} is not a llama2.c checkpoint", f"its first seven integers are {sizes}"
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


class _Cursor:
    """Takes tensors off a flat array one after the other."""

    def __init__(self, values: Floats) -> None:
        self.values = values
        self.position = 0

    def take(self, *shape: int) -> Floats:
        count = int(np.prod(shape))
        part = self.values[self.position : self.position + count].reshape(shape)
        self.position += count
        return part


def _tensors(cursor: _Cursor, a: Architecture, source: str) -> Model:
    queries, keys = a.heads * a.head_dim, a.kv_heads * a.head_dim
    embedding = cursor.take(a.vocabulary, a.dim)
    attention_norm = cursor.take(a.layers, a.dim)
    query = cursor.take(a.layers, queries, a.dim)
    key = cursor.take(a.layers, keys, a.dim)
    value = cursor.take(a.layers, keys, a.dim)
    output = cursor.take(a.layers, a.dim, queries)
    ffn_norm = cursor.take(a.layers, a.dim)
    gate = cursor.take(a.layers, a.hidden, a.dim)
    down = cursor.take(a.layers, a.dim, a.hidden)
    up = cursor.take(a.layers, a.hidden, a.dim)
    final_norm = cursor.take(a.dim)
    cursor.take(2 * _rotary(a))
    classifier = embedding if a.tied else cursor.take(a.vocabulary, a.dim)
    layers = [
        Layer(
            attention_norm[i], query[i], key[i], value[i], output[i],
            ffn_norm[i], gate[i], up[i], down[i],
        )
        for i in range(a.layers)
    ]  # fmt: skip
    return Model(a, embedding, layers, final_norm, classifier, source)

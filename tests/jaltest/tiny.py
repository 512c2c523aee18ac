"""A tiny random model with its tokenizer, in memory and as the files that users have."""

import struct
from pathlib import Path

import numpy as np

from jalgateware.contract.isa import Format
from jalhost.models.architecture import Architecture, Floats, Layer, Model
from jalhost.models.convert import convert
from jalhost.models.image import Image
from jalhost.models.plan import MXINT8_ONLY, Formats, free_matrices
from jalhost.models.tokenizer import Tokenizer

WORDS = [" ", "a", "e", "h", "n", "o", "t", "w", "th", "the", " the", " a", " o", "on", "one"]
"""Pieces behind the bytes; those with more than one character score higher, the longer the more."""

ARCHITECTURE = Architecture(
    dim=64,
    hidden=96,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=16,
    vocabulary=259 + len(WORDS),
    context=64,
)


def tiny_tokenizer() -> Tokenizer:
    """Special tokens, 256 bytes and a few words."""
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256))]
    scores = [0.0] * len(pieces)
    return Tokenizer(
        (*pieces, *(word.encode() for word in WORDS)),
        (*scores, *(float(len(word)) for word in WORDS)),
    )


def tiny_model(architecture: Architecture = ARCHITECTURE, seed: int = 1) -> Model:
    """Random weights of the size that training gives."""
    random = np.random.default_rng(seed)
    a = architecture

    def matrix(rows: int, columns: int) -> Floats:
        return random.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    def gain() -> Floats:
        return random.uniform(0.5, 1.5, a.dim).astype(np.float32)

    def layer() -> Layer:
        queries, keys = a.heads * a.head_dim, a.kv_heads * a.head_dim
        return Layer(
            attention_norm=gain(),
            query=matrix(queries, a.dim),
            key=matrix(keys, a.dim),
            value=matrix(keys, a.dim),
            output=matrix(a.dim, queries),
            ffn_norm=gain(),
            gate=matrix(a.hidden, a.dim),
            up=matrix(a.hidden, a.dim),
            down=matrix(a.dim, a.hidden),
            **tiny_constants(a, random),
        )

    embedding = random.normal(0, 0.2, (a.vocabulary, a.dim)).astype(np.float32)
    classifier = embedding if a.tied else matrix(a.vocabulary, a.dim)
    layers = [layer() for _ in range(a.layers)]
    return Model(a, embedding, layers, gain(), classifier, "random")


def tiny_constants(a: Architecture, random: np.random.Generator) -> dict[str, Floats]:
    """A layer's biases, some of keys as large as Qwen2's, and gains of heads, some negative."""
    found: dict[str, Floats] = {}
    if a.qkv_bias:
        for name, heads in (("query", a.heads), ("key", a.kv_heads), ("value", a.kv_heads)):
            found[f"{name}_bias"] = random.normal(0, 1, heads * a.head_dim).astype(np.float32)
        found["key_bias"][::7] *= 50
    if a.qk_norm:
        for name in ("query_norm", "key_norm"):
            found[name] = random.normal(1, 0.7, a.head_dim).astype(np.float32)
    return found


def tiny_image(
    architecture: Architecture = ARCHITECTURE, seed: int = 1, formats: Formats = MXINT8_ONLY
) -> Image:
    """The tiny model, converted."""
    return convert(tiny_model(architecture, seed), tiny_tokenizer(), "tiny", formats)


def mixed_formats(architecture: Architecture = ARCHITECTURE) -> Formats:
    """MXFP4 for every other matrix, the classifier included."""
    return dict.fromkeys(free_matrices(architecture)[::2], Format.MXFP4)


def write_checkpoint(model: Model, path: Path) -> None:
    """Writes a llama2.c checkpoint (version 0)."""
    a = model.architecture
    vocabulary = a.vocabulary if a.tied else -a.vocabulary
    header = struct.pack(
        "<7i", a.dim, a.hidden, a.layers, a.heads, a.kv_heads, vocabulary, a.context
    )
    names = ["attention_norm", "query", "key", "value", "output", "ffn_norm", "gate", "down", "up"]
    tensors = [model.embedding]
    tensors += [getattr(layer, name) for name in names for layer in model.layers]
    tensors += [model.final_norm, np.zeros(a.context * a.head_dim, dtype=np.float32)]
    tensors += [] if a.tied else [model.classifier]
    path.write_bytes(header + b"".join(tensor.astype("<f4").tobytes() for tensor in tensors))


def write_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Writes a llama2.c tokenizer."""
    entries = [
        struct.pack("<fi", score, len(piece)) + piece
        for piece, score in zip(tokenizer.pieces, tokenizer.scores, strict=True)
    ]
    path.write_bytes(struct.pack("<i", tokenizer.longest) + b"".join(entries))

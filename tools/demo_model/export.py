"""Writes a trained model as a llama2.c checkpoint (version 0).

The layout is described in :mod:`jalhost.models.llama2c`, which reads it.
"""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from jalhost.models.llama2c import HEADER
from tools.demo_model.model import Block, Llama, rotations


def write_checkpoint(model: Llama, path: Path) -> None:
    """Writes header and float32 tensors; a positive vocabulary says that the classifier is tied."""
    shape = model.shape
    header = HEADER.pack(
        shape.dim, shape.hidden, shape.layers, shape.heads, shape.kv_heads,
        shape.vocabulary, shape.context,
    )  # fmt: skip
    with path.open("wb") as file:
        file.write(header)
        for tensor in _tensors(model):
            file.write(tensor.detach().float().contiguous().numpy().astype("<f4").tobytes())


def _tensors(model: Llama) -> Iterator[Tensor]:
    """All tensors in llama2.c's order: each kind for all layers in turn."""
    blocks = [block for block in model.blocks if isinstance(block, Block)]
    yield model.embedding.weight
    yield from (block.attention_norm.weight for block in blocks)
    for name in ("query", "key", "value", "output"):
        yield from (getattr(block.attention, name).weight for block in blocks)
    yield from (block.ffn_norm.weight for block in blocks)
    for name in ("gate", "down", "up"):
        yield from (getattr(block, name).weight for block in blocks)
    yield model.norm.weight
    # Readers skip the two rotary tables, and compute their own.
    yield from rotations(model.shape.context, model.shape.head_dim)

"""The demo model in PyTorch: a plain Llama, as llama2.c runs it.

RMSNorm in front of each block, rotary embedding of adjacent pairs, grouped-query attention, SwiGLU,
and one matrix for embedding and classifier.
"""

# PyTorch is optional: without it, its classes are of unknown type.
# mypy: allow-subclassing-any

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

ROPE_THETA = 10000.0
EPSILON = 1e-5


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; ``context`` is the longest sequence in tokens."""

    dim: int = 128
    hidden: int = 320
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 1024
    context: int = 256

    @property
    def head_dim(self) -> int:
        """Elements of one head."""
        return self.dim // self.heads


class Attention(nn.Module):
    """Causal self-attention; ``heads / kv_heads`` query heads share keys and values."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.query = nn.Linear(shape.dim, shape.heads * shape.head_dim, bias=False)
        self.key = nn.Linear(shape.dim, shape.kv_heads * shape.head_dim, bias=False)
        self.value = nn.Linear(shape.dim, shape.kv_heads * shape.head_dim, bias=False)
        self.output = nn.Linear(shape.heads * shape.head_dim, shape.dim, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """x: (batch, tokens, dim); cosine, sine: (tokens, head_dim / 2)."""
        batch, tokens, _ = x.shape

        def heads(projection: nn.Linear, count: int) -> Tensor:
            split: Tensor = projection(x).view(batch, tokens, count, self.shape.head_dim)
            return split.transpose(1, 2)

        group = self.shape.heads // self.shape.kv_heads
        query = rotate(heads(self.query, self.shape.heads), cosine, sine)
        key = rotate(heads(self.key, self.shape.kv_heads), cosine, sine)
        value = heads(self.value, self.shape.kv_heads)
        mixed = functional.scaled_dot_product_attention(
            query,
            key.repeat_interleave(group, dim=1),
            value.repeat_interleave(group, dim=1),
            is_causal=True,
        )
        flat: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, tokens, -1))
        return flat


class Block(nn.Module):
    """One decoder layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.dim, eps=EPSILON)
        self.attention = Attention(shape)
        self.ffn_norm = nn.RMSNorm(shape.dim, eps=EPSILON)
        self.gate = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.up = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.dim, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """x: (batch, tokens, dim)."""
        x = x + self.attention(self.attention_norm(x), cosine, sine)
        normed = self.ffn_norm(x)
        inner = functional.silu(self.gate(normed)) * self.up(normed)
        total: Tensor = x + self.down(inner)
        return total


class Llama(nn.Module):
    """The whole model."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.dim)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.dim, eps=EPSILON)
        self._initialise()

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, tokens, vocabulary) for int64 ``tokens`` (batch, tokens)."""
        x = self.embedding(tokens)
        cosine, sine = rotations(tokens.shape[1], self.shape.head_dim)
        for block in self.blocks:
            x = block(x, cosine, sine)
        return functional.linear(self.norm(x), self.embedding.weight)

    def _initialise(self) -> None:
        """Outputs of unit size, and residual branches that sum up to about that."""
        nn.init.normal_(self.embedding.weight, std=0.02)
        for name, weight in self.named_parameters():
            if weight.ndim == 2 and "embedding" not in name:
                shrink = (
                    2 * self.shape.layers if name.endswith(("output.weight", "down.weight")) else 1
                )
                nn.init.normal_(weight, std=(weight.shape[1] * shrink) ** -0.5)


def rotations(tokens: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (tokens, head_dim / 2) of the rotary embedding's angles."""
    frequencies = ROPE_THETA ** -(torch.arange(0, head_dim, 2) / head_dim)
    angles = torch.outer(torch.arange(tokens), frequencies)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turns adjacent pairs of the last axis."""
    first, second = x[..., 0::2], x[..., 1::2]
    turned = (first * cosine - second * sine, first * sine + second * cosine)
    return torch.stack(turned, dim=-1).flatten(-2)

"""A Llama-family model on the host: its architecture and its tensors in float32."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from jalhost.errors import ModelError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Architecture:
    """Sizes and constants of a Llama-family decoder. ``context`` is in tokens."""

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    rope_theta: float = 10000.0
    epsilon: float = 1e-5
    tied: bool = True

    def __post_init__(self) -> None:
        """Refuses what no Llama-family model can be.

        Raises:
            ModelError: a size is out of range or sizes contradict each other.
        """
        for name in (
            "dim",
            "hidden",
            "layers",
            "heads",
            "kv_heads",
            "head_dim",
            "vocabulary",
            "context",
        ):
            value = getattr(self, name)
            if not 1 <= value <= 1 << 20:
                raise ModelError(
                    f"model has {name} = {value}", "the file is damaged or not a model"
                )
        if self.heads % self.kv_heads:
            raise ModelError(f"{self.heads} heads do not divide into {self.kv_heads} KV heads")
        if self.head_dim % 2:
            raise ModelError(f"head size {self.head_dim} is odd", "rotary embedding needs pairs")
        if not 0 < self.epsilon < 1 or not self.rope_theta > 1:
            raise ModelError(
                f"epsilon {self.epsilon} or RoPE base {self.rope_theta} is out of range"
            )

    @property
    def group(self) -> int:
        """Query heads per key/value head."""
        return self.heads // self.kv_heads

    @property
    def parameters(self) -> int:
        """Number of weights."""
        attention = 2 * self.dim * (self.heads + self.kv_heads) * self.head_dim
        layer = attention + 3 * self.dim * self.hidden + 2 * self.dim
        tables = self.dim * self.vocabulary * (1 if self.tied else 2)
        return self.layers * layer + tables + self.dim

    def as_dict(self) -> dict[str, Any]:
        """All fields, for metadata."""
        return asdict(self)


@dataclass(frozen=True)
class Layer:
    """Tensors of one decoder layer; matrices are (outputs, inputs)."""

    attention_norm: Floats
    query: Floats
    key: Floats
    value: Floats
    output: Floats
    ffn_norm: Floats
    gate: Floats
    up: Floats
    down: Floats


@dataclass(frozen=True)
class Model:
    """A model in float32. ``classifier`` is ``embedding`` itself where they are tied.

    RoPE turns adjacent pairs (llama2.c's order).
    """

    architecture: Architecture
    embedding: Floats
    layers: list[Layer]
    final_norm: Floats
    classifier: Floats
    source: str = ""
    extra: dict[str, str] = field(default_factory=dict)

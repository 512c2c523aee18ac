"""A Llama-family model on the host: its architecture and its tensors in float32."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from jalhost.errors import ModelError

Floats = npt.NDArray[np.float32]

MOST_SIZE = 1 << 20
"""What any size of a model is at most; an image's context is far below."""


@dataclass(frozen=True)
class Architecture:
    """Sizes and constants of a Llama-family decoder. ``context`` is in tokens.

    ``rope_divisors``: what slows each rotated pair down, for models whose context was extended
    (:mod:`jalhost.models.rope`); empty where nothing does. ``qkv_bias``: rows of queries, keys or
    values have biases other than 0. ``qk_norm``: an RMSNorm stands behind each query's and key's
    head.
    """

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
    rope_divisors: tuple[float, ...] = ()
    qkv_bias: bool = False
    qk_norm: bool = False

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
            if not 1 <= value <= MOST_SIZE:
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
        if self.rope_divisors:
            self._check_divisors()

    def _check_divisors(self) -> None:
        if len(self.rope_divisors) != self.head_dim // 2:
            raise ModelError(
                f"the model scales {len(self.rope_divisors)} RoPE frequencies, its heads have"
                f" {self.head_dim // 2}"
            )
        if not all(math.isfinite(item) and item > 0 for item in self.rope_divisors):
            raise ModelError("the model's RoPE scaling has factors that are not above 0")

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
        """All fields, for metadata; those of parts that not every model has only if it has them."""
        data = asdict(self)
        parts = {name: data.pop(name) for name in ("rope_divisors", "qkv_bias", "qk_norm")}
        parts["rope_divisors"] = list(parts["rope_divisors"])
        return data | {name: part for name, part in parts.items() if part}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Architecture":
        """Inverse of :meth:`as_dict`.

        Raises:
            ModelError: a size is out of range.
            TypeError: fields are missing, strange or of the wrong kind.
        """
        divisors = tuple(data.get("rope_divisors", ()))
        return cls(**data | {"rope_divisors": divisors})


@dataclass(frozen=True)
class Layer:
    """Tensors of one decoder layer; matrices are (outputs, inputs).

    Biases of query, key and value, and the gains of norms over each query's and key's head
    (head_dim,), are None in models without them.
    """

    attention_norm: Floats
    query: Floats
    key: Floats
    value: Floats
    output: Floats
    ffn_norm: Floats
    gate: Floats
    up: Floats
    down: Floats
    query_bias: Floats | None = None
    key_bias: Floats | None = None
    value_bias: Floats | None = None
    query_norm: Floats | None = None
    key_norm: Floats | None = None


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

"""llama2.c's int8 arithmetic (runq.c's Q8_0) in NumPy: what the CPU's program computes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jalhost.models.architecture import Floats, Model

LARGEST = np.float32(127)


@dataclass(frozen=True)
class Groups:
    """Rows of int8 groups; a row's last group is shorter where the columns ask for it.

    ``elements``: (rows, columns) int8. ``scales``: (rows, groups) float32.
    """

    elements: npt.NDArray[np.int8]
    scales: Floats
    group: int

    def dequantise(self) -> Floats:
        """Real values (rows, columns)."""
        columns = self.elements.shape[1]
        return self.elements * np.repeat(self.scales, self.group, axis=1)[:, :columns]

    def times(self, vector: Floats) -> Floats:
        """Product (rows,) with a vector (columns,), which is quantised, too."""
        other = quantise(vector[None], self.group)
        total = np.zeros(len(self.scales), dtype=np.float32)
        for index in range(self.scales.shape[1]):
            part = slice(index * self.group, (index + 1) * self.group)
            dots = self.elements[:, part].astype(np.int32) @ other.elements[0, part].astype(
                np.int32
            )
            total += dots.astype(np.float32) * (self.scales[:, index] * other.scales[0, index])
        return total


def quantise(values: Floats, group: int) -> Groups:
    """Each group's largest magnitude becomes 127; (rows, columns) reals."""
    rows, columns = values.shape
    count = -(-columns // group)
    padded = np.zeros((rows, count * group), dtype=np.float32)
    padded[:, :columns] = values
    padded = padded.reshape(rows, count, group)
    largest = np.abs(padded).max(axis=2)
    inverse = np.divide(LARGEST, largest, out=np.zeros_like(largest), where=largest > 0)
    scaled = padded * inverse[:, :, None]
    elements = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    return Groups(elements.reshape(rows, -1)[:, :columns], largest / LARGEST, group)


@dataclass(frozen=True)
class QuantisedLayer:
    """A layer's tensors; norms stay float32."""

    attention_norm: Floats
    query: Groups
    key: Groups
    value: Groups
    output: Groups
    ffn_norm: Floats
    gate: Groups
    up: Groups
    down: Groups


MATRICES = ("query", "key", "value", "output", "gate", "up", "down")


class QuantisedModel:
    """A model with int8 matrices, and the keys and values of what it has read.

    Args:
        model: in float32.
        group: columns that share a scale.
    """

    def __init__(self, model: Model, group: int) -> None:
        a = model.architecture
        self.architecture = a
        self.group = group
        self.embedding = quantise(model.embedding, group)
        tied = model.classifier is model.embedding
        self.classifier = self.embedding if tied else quantise(model.classifier, group)
        self.final_norm = model.final_norm
        self.layers = [
            QuantisedLayer(
                attention_norm=layer.attention_norm,
                ffn_norm=layer.ffn_norm,
                **{name: quantise(getattr(layer, name), group) for name in MATRICES},
            )
            for layer in model.layers
        ]
        self._keys = np.zeros((a.layers, a.context, a.kv_heads, a.head_dim), dtype=np.float32)
        self._values = np.zeros_like(self._keys)

    def step(self, token: int, position: int) -> Floats:
        """Logits (vocabulary,) behind ``token`` at ``position``."""
        x = self.embedding.dequantise()[token]
        for index, layer in enumerate(self.layers):
            attended = self._attention(index, layer, self._norm(x, layer.attention_norm), position)
            x = x + layer.output.times(attended)
            normed = self._norm(x, layer.ffn_norm)
            gate = layer.gate.times(normed)
            x = x + layer.down.times(gate / (1 + np.exp(-gate)) * layer.up.times(normed))
        return self.classifier.times(self._norm(x, self.final_norm))

    def _norm(self, x: Floats, gain: Floats) -> Floats:
        root = np.sqrt(np.mean(x * x) + np.float32(self.architecture.epsilon))
        return np.asarray(gain * (x / root), dtype=np.float32)

    def _attention(
        self, index: int, layer: QuantisedLayer, normed: Floats, position: int
    ) -> Floats:
        a = self.architecture
        angles = rotary_angles(a.head_dim, a.rope_theta, position, 1)[0]
        query = rotate(layer.query.times(normed), angles).reshape(a.kv_heads, a.group, a.head_dim)
        shape = (a.kv_heads, a.head_dim)
        self._keys[index, position] = rotate(layer.key.times(normed), angles).reshape(shape)
        self._values[index, position] = layer.value.times(normed).reshape(shape)
        keys, values = (item[index, : position + 1] for item in (self._keys, self._values))
        score = np.einsum("hgd,phd->hgp", query, keys) / np.sqrt(np.float32(a.head_dim))
        weight = np.exp(score - score.max(axis=2, keepdims=True))
        total = np.einsum("hgp,phd->hgd", weight, values) / weight.sum(axis=2, keepdims=True)
        return np.asarray(total.reshape(-1), dtype=np.float32)


def rotary_angles(head_dim: int, theta: float, first: int, count: int) -> Floats:
    """Angles (count, head_dim / 2) of positions from ``first`` on."""
    exponents = np.arange(head_dim // 2) * 2 / head_dim
    return np.asarray(np.arange(first, first + count)[:, None] * theta**-exponents, np.float32)


def rotate(rows: Floats, angles: Floats) -> Floats:
    """Rotary embedding of adjacent pairs: (heads * head_dim,)."""
    pairs = rows.reshape(-1, len(angles), 2)
    cosine, sine = np.cos(angles), np.sin(angles)
    first, second = pairs[:, :, 0], pairs[:, :, 1]
    turned = np.stack([first * cosine - second * sine, first * sine + second * cosine], axis=2)
    return turned.reshape(-1)


def continue_greedily(
    model: QuantisedModel, prompt: tuple[int, ...], count: int, depth: int = 0
) -> list[int]:
    """The ``count`` likeliest tokens behind a prompt, which starts at position ``depth``."""
    tokens: list[int] = []
    token = prompt[0]
    for index in range(len(prompt) + count - 1):
        logits = model.step(token, depth + index)
        if index + 1 < len(prompt):
            token = prompt[index + 1]
        else:
            token = int(np.argmax(logits))
            tokens.append(token)
    return tokens

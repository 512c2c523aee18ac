"""A plain float32 forward pass, independent of the engine: the yardstick for quality."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jalhost.models.architecture import Architecture, Floats, Layer, Model
from jalhost.models.rope import frequencies


def _rms_norm(x: Floats, gain: Floats, epsilon: float) -> Floats:
    mean = np.mean(x * x, axis=-1, keepdims=True)
    return np.asarray(x / np.sqrt(mean + epsilon) * gain, dtype=np.float32)


def _rotate(x: Floats, angles: Floats) -> Floats:
    pairs = x.reshape(len(x), -1, len(angles), 2)
    cosine, sine = np.cos(angles), np.sin(angles)
    first, second = pairs[..., 0], pairs[..., 1]
    turned = np.stack([first * cosine - second * sine, first * sine + second * cosine], axis=3)
    return turned.reshape(x.shape)


def _frequencies(a: Architecture) -> Floats:
    """Angle per position of each rotated pair (head_dim / 2,)."""
    return np.asarray(frequencies(a), dtype=np.float32)


def _project(layer: Layer, a: Architecture, normed: Floats) -> tuple[Floats, Floats, Floats]:
    """Queries, keys and values (texts or tokens, heads, head_dim), not rotated yet."""
    query, key, value = (
        (normed @ matrix.T + (0 if bias is None else bias)).reshape(len(normed), -1, a.head_dim)
        for matrix, bias in (
            (layer.query, layer.query_bias),
            (layer.key, layer.key_bias),
            (layer.value, layer.value_bias),
        )
    )
    if layer.query_norm is not None:
        query = _rms_norm(query, layer.query_norm, a.epsilon)
    if layer.key_norm is not None:
        key = _rms_norm(key, layer.key_norm, a.epsilon)
    return query, key, value


def _softmax(score: Floats) -> Floats:
    weight = np.exp(score - score.max(axis=-1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=-1, keepdims=True), dtype=np.float32)


def _swiglu(gate: Floats, up: Floats) -> Floats:
    return np.asarray(gate / (1 + np.exp(-gate)) * up, dtype=np.float32)


def forward(model: Model, tokens: Sequence[int]) -> Floats:
    """Logits (tokens, vocabulary) behind each token of a text: as of Reference, but at once."""
    a, count = model.architecture, len(tokens)
    angles = np.arange(count, dtype=np.float32)[:, None, None] * _frequencies(a)
    future = np.triu(np.full((count, count), -np.inf, dtype=np.float32), 1)
    x: Floats = model.embedding[list(tokens)].astype(np.float32)
    for layer in model.layers:
        normed = _rms_norm(x, layer.attention_norm, a.epsilon)
        query, key, value = _project(layer, a, normed)
        query, key = _rotate_heads(query, angles), _rotate_heads(key, angles)
        query = query.reshape(count, a.kv_heads, a.group, -1).transpose(1, 2, 0, 3)
        score = query @ key.transpose(1, 2, 0)[:, None] / np.sqrt(np.float32(a.head_dim))
        mixed = _softmax(score + future) @ value.transpose(1, 0, 2)[:, None]
        joined = mixed.transpose(2, 0, 1, 3).reshape(count, -1).astype(np.float32)
        x = x + joined @ layer.output.T
        normed = _rms_norm(x, layer.ffn_norm, a.epsilon)
        x = x + _swiglu(normed @ layer.gate.T, normed @ layer.up.T) @ layer.down.T
    return np.asarray(_rms_norm(x, model.final_norm, a.epsilon) @ model.classifier.T)


def _rotate_heads(x: Floats, angles: Floats) -> Floats:
    """Rotates (tokens, heads, head_dim) by (tokens, 1, head_dim / 2)."""
    cosine, sine = np.cos(angles), np.sin(angles)
    first, second = x[..., 0::2], x[..., 1::2]
    turned = np.stack([first * cosine - second * sine, first * sine + second * cosine], axis=-1)
    return turned.reshape(x.shape)


class Reference:
    """Runs a model token by token in float32, with its KV cache, on several texts side by side.

    Args:
        model: the model.
        texts: how many; all are at the same position.
        positions: of the KV cache; the model's context where it is not given.
    """

    def __init__(self, model: Model, texts: int = 1, positions: int | None = None) -> None:
        a = model.architecture
        self.model = model
        shape = (a.layers, texts, a.kv_heads, positions or a.context, a.head_dim)
        self.keys = np.zeros(shape, dtype=np.float32)
        self.values = np.zeros_like(self.keys)
        self.frequencies = _frequencies(a)

    def step(self, tokens: Sequence[int] | npt.NDArray[np.int64], position: int) -> Floats:
        """Logits (texts, vocabulary) behind ``tokens`` (texts,) at ``position``, each in turn."""
        a = self.model.architecture
        x = self.model.embedding[np.asarray(tokens)].astype(np.float32)
        angles = self.frequencies * np.float32(position)
        for index, layer in enumerate(self.model.layers):
            normed = _rms_norm(x, layer.attention_norm, a.epsilon)
            query, key, value = _project(layer, a, normed)
            query = _rotate(query, angles).reshape(len(x), a.kv_heads, a.group, a.head_dim)
            self.keys[index, :, :, position] = _rotate(key, angles)
            self.values[index, :, :, position] = value
            keys = self.keys[index, :, :, : position + 1]
            score = np.matmul(query, keys.swapaxes(2, 3)) / np.sqrt(np.float32(a.head_dim))
            values = self.values[index, :, :, : position + 1]
            x = x + np.matmul(_softmax(score), values).reshape(len(x), -1) @ layer.output.T
            normed = _rms_norm(x, layer.ffn_norm, a.epsilon)
            x = x + _swiglu(normed @ layer.gate.T, normed @ layer.up.T) @ layer.down.T
        return _rms_norm(x, self.model.final_norm, a.epsilon) @ self.model.classifier.T

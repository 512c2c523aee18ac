"""A plain float32 forward pass, independent of the engine: the yardstick for quality."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jalhost.models.architecture import Floats, Model


def _rms_norm(x: Floats, gain: Floats, epsilon: float) -> Floats:
    mean = np.mean(x * x, axis=-1, keepdims=True)
    return np.asarray(x / np.sqrt(mean + epsilon) * gain, dtype=np.float32)


def _rotate(x: Floats, angles: Floats) -> Floats:
    pairs = x.reshape(len(x), -1, len(angles), 2)
    cosine, sine = np.cos(angles), np.sin(angles)
    first, second = pairs[..., 0], pairs[..., 1]
    turned = np.stack([first * cosine - second * sine, first * sine + second * cosine], axis=3)
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
        exponents = np.arange(a.head_dim // 2) * 2 / a.head_dim
        self.frequencies = (a.rope_theta**-exponents).astype(np.float32)

    def step(self, tokens: Sequence[int] | npt.NDArray[np.int64], position: int) -> Floats:
        """Logits (texts, vocabulary) behind ``tokens`` (texts,) at ``position``, each in turn."""
        a = self.model.architecture
        x = self.model.embedding[np.asarray(tokens)].astype(np.float32)
        angles = self.frequencies * np.float32(position)
        for index, layer in enumerate(self.model.layers):
            normed = _rms_norm(x, layer.attention_norm, a.epsilon)
            query = _rotate(normed @ layer.query.T, angles)
            query = query.reshape(len(x), a.kv_heads, a.group, a.head_dim)
            heads = (len(x), a.kv_heads, a.head_dim)
            self.keys[index, :, :, position] = _rotate(normed @ layer.key.T, angles).reshape(heads)
            self.values[index, :, :, position] = (normed @ layer.value.T).reshape(heads)
            keys = self.keys[index, :, :, : position + 1]
            score = np.matmul(query, keys.swapaxes(2, 3)) / np.sqrt(np.float32(a.head_dim))
            weight = np.exp(score - score.max(axis=3, keepdims=True))
            weight /= weight.sum(axis=3, keepdims=True)
            values = self.values[index, :, :, : position + 1]
            x = x + np.matmul(weight, values).reshape(len(x), -1) @ layer.output.T
            normed = _rms_norm(x, layer.ffn_norm, a.epsilon)
            gate = normed @ layer.gate.T
            x = x + (gate / (1 + np.exp(-gate)) * (normed @ layer.up.T)) @ layer.down.T
        return _rms_norm(x, self.model.final_norm, a.epsilon) @ self.model.classifier.T

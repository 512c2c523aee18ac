"""A plain float32 forward pass, independent of the engine: the yardstick for quality."""

import numpy as np

from jalhost.models.architecture import Floats, Model


def _rms_norm(x: Floats, gain: Floats, epsilon: float) -> Floats:
    return np.asarray(x / np.sqrt(np.mean(x * x) + epsilon) * gain, dtype=np.float32)


def _rotate(x: Floats, angles: Floats) -> Floats:
    pairs = x.reshape(-1, len(angles), 2)
    cosine, sine = np.cos(angles), np.sin(angles)
    first, second = pairs[:, :, 0], pairs[:, :, 1]
    turned = np.stack([first * cosine - second * sine, first * sine + second * cosine], axis=2)
    return turned.reshape(x.shape)


class Reference:
    """Runs a model token by token in float32, with its KV cache."""

    def __init__(self, model: Model) -> None:
        a = model.architecture
        self.model = model
        self.keys = np.zeros((a.layers, a.kv_heads, a.context, a.head_dim), dtype=np.float32)
        self.values = np.zeros_like(self.keys)
        exponents = np.arange(a.head_dim // 2) * 2 / a.head_dim
        self.frequencies = (a.rope_theta**-exponents).astype(np.float32)

    def step(self, token: int, position: int) -> Floats:
        """Logits (vocabulary,) behind ``token`` at ``position``; positions come in order."""
        a = self.model.architecture
        x = self.model.embedding[token].astype(np.float32)
        angles = self.frequencies * np.float32(position)
        for index, layer in enumerate(self.model.layers):
            normed = _rms_norm(x, layer.attention_norm, a.epsilon)
            query = _rotate(layer.query @ normed, angles).reshape(a.kv_heads, a.group, a.head_dim)
            self.keys[index, :, position] = _rotate(layer.key @ normed, angles).reshape(
                a.kv_heads, -1
            )
            self.values[index, :, position] = (layer.value @ normed).reshape(a.kv_heads, -1)
            keys = self.keys[index, :, : position + 1]
            score = np.einsum("hgd,hpd->hgp", query, keys) / np.sqrt(np.float32(a.head_dim))
            weight = np.exp(score - score.max(axis=2, keepdims=True))
            weight /= weight.sum(axis=2, keepdims=True)
            values = self.values[index, :, : position + 1]
            x = x + layer.output @ np.einsum("hgp,hpd->hgd", weight, values).reshape(-1)
            normed = _rms_norm(x, layer.ffn_norm, a.epsilon)
            gate = layer.gate @ normed
            x = x + layer.down @ (gate / (1 + np.exp(-gate)) * (layer.up @ normed))
        return self.model.classifier @ _rms_norm(x, self.model.final_norm, a.epsilon)

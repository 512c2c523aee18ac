"""What rows of queries, keys and values meet behind their matrices: biases, and gains of heads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import GAIN, NORMED_SHIFT, TABLE_ENTRY_BITS, VECTOR
from jalgateware.golden.mx import Bytes
from jalhost.errors import ModelError
from jalhost.models.architecture import Architecture, Floats
from jalhost.models.checkpoint import Checkpoint
from jalhost.models.folding import score_factor, signs_of_rows

Entries = npt.NDArray[np.int32]
"""All layers' table entries (layers, biases + gains): VECTORs, then GAINs."""

ENTRY_BYTES = TABLE_ENTRY_BITS // 8


@dataclass(frozen=True)
class LayerConstants:
    """A layer's biases (rows,) of queries, keys and values, and both norms' gains (2 * head_dim,).

    Both with what :mod:`jalhost.models.folding` puts into them; empty in models without them.
    """

    biases: Floats
    gains: Floats

    def bias(self, a: Architecture, name: str) -> Floats:
        """Biases of one of the matrices ``query``, ``key``, ``value`` (rows,), 0 without any."""
        first = {"query": 0, "key": a.heads, "value": a.heads + a.kv_heads}[name] * a.head_dim
        rows = (a.heads if name == "query" else a.kv_heads) * a.head_dim
        found = self.biases[first : first + rows]
        return found if len(found) else np.zeros(rows, dtype=np.float32)

    def head_gains(self, a: Architecture, name: str) -> Floats:
        """Gains of a head of ``query`` or ``key`` (head_dim,)."""
        return self.gains[: a.head_dim] if name == "query" else self.gains[a.head_dim :]


NO_CONSTANTS = LayerConstants(np.zeros(0, np.float32), np.zeros(0, np.float32))


def counts(a: Architecture) -> tuple[int, int]:
    """Biases and gains of a layer."""
    biases = (a.heads + 2 * a.kv_heads) * a.head_dim if a.qkv_bias else 0
    return biases, 2 * a.head_dim if a.qk_norm else 0


def fold_constants(checkpoint: Checkpoint) -> list[LayerConstants]:
    """The constants of all layers.

    Raises:
        ModelError: the file cannot be read, or has values that are not finite.
    """
    return [_fold_layer(checkpoint, index) for index in range(checkpoint.architecture.layers)]


def _fold_layer(checkpoint: Checkpoint, index: int) -> LayerConstants:
    a = checkpoint.architecture
    none = NO_CONSTANTS.biases
    biases = [_bias(checkpoint, index, name) for name in ("query", "key", "value")]
    gains = [none, none]
    if a.qk_norm:
        root = np.float32(np.sqrt(a.head_dim))
        gains = [abs(checkpoint.vector(f"{index}.{name}_norm")) * root for name in ("query", "key")]
        gains[0] = gains[0] * score_factor(a)
    return LayerConstants(np.concatenate(biases) if a.qkv_bias else none, np.concatenate(gains))


def _bias(checkpoint: Checkpoint, index: int, name: str) -> Floats:
    a, part = checkpoint.architecture, f"{index}.{name}_bias"
    if part not in checkpoint.tensors:
        return np.zeros((a.heads if name == "query" else a.kv_heads) * a.head_dim, np.float32)
    bias = checkpoint.vector(part)
    if name == "query" and not a.qk_norm:
        bias = bias * score_factor(a)
    signs = signs_of_rows(checkpoint, index, name)
    return bias if signs is None else bias * signs


def gain_unit(shift: int) -> float:
    """What a GAIN of 1 counts for, where so many bits are dropped of queries or keys."""
    return 2.0 ** (shift - NORMED_SHIFT - GAIN.fraction)


def to_entries(
    a: Architecture, layers: Sequence[LayerConstants], shifts: Sequence[tuple[int, int]]
) -> Entries:
    """The tables' content.

    Args:
        a: the architecture.
        layers: of all layers.
        shifts: bits that are dropped of each layer's queries and keys.

    Raises:
        ModelError: a bias is beyond what rows can be.
    """
    entries = np.zeros((len(layers), sum(counts(a))), dtype=np.int32)
    for row, layer, dropped in zip(entries, layers, shifts, strict=True):
        scaled = np.rint(layer.biases.astype(np.float64) * (1 << VECTOR.fraction))
        if (abs(scaled) > VECTOR.maximum).any():
            raise ModelError(
                f"the model has a bias of {abs(layer.biases).max():.0f}, rows are below 32,768"
            )
        row[: len(scaled)] = scaled
        if a.qk_norm:
            for name, shift in zip(("query", "key"), dropped, strict=True):
                gains = layer.head_gains(a, name).astype(np.float64) / gain_unit(shift)
                place = len(scaled) + (0 if name == "query" else a.head_dim)
                row[place : place + a.head_dim] = np.rint(gains)
    return entries


def from_entries(
    a: Architecture, entries: Entries | None, shifts: Sequence[tuple[int, int]]
) -> list[LayerConstants]:
    """What the tables' content stands for; arguments as of :func:`to_entries`."""
    biases, _ = counts(a)
    rows = np.zeros((a.layers, 0), dtype=np.int32) if entries is None else entries
    found = []
    for row, dropped in zip(rows, shifts, strict=True):
        units = np.repeat([gain_unit(shift) for shift in dropped], a.head_dim)
        gains = row[biases:] * (units if a.qk_norm else 1)
        bias = row[:biases] / (1 << VECTOR.fraction)
        found.append(LayerConstants(bias.astype(np.float32), gains.astype(np.float32)))
    return found


def table_words(a: Architecture, config: EngineConfig) -> tuple[int, int]:
    """Engine words of a layer's biases and of its gains."""
    biases, gains = counts(a)
    return -(-biases * ENTRY_BYTES // config.lanes), -(-gains * ENTRY_BYTES // config.lanes)


def constant_rows(a: Architecture, entries: Entries | None, config: EngineConfig) -> Bytes:
    """The tables of all layers as they follow the rotary one: (layers, bytes of whole words)."""
    words = table_words(a, config)
    rows = np.zeros((a.layers, sum(words) * config.lanes), dtype=np.uint8)
    if entries is not None:
        count = counts(a)
        parts = np.split(entries.astype("<i4"), [count[0]], axis=1)
        for start, part in zip((0, words[0] * config.lanes), parts, strict=True):
            data = np.ascontiguousarray(part).view(np.uint8).reshape(a.layers, -1)
            rows[:, start : start + data.shape[1]] = data
    return rows

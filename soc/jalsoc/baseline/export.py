"""Lays a quantised model out as the CPU's program reads it (:mod:`jalfirmware.baseline.layout`)."""

import struct

import numpy as np

from jalfirmware.baseline.layout import MAGIC, MAX_ENTRIES, Word
from jalhost.errors import UsageError
from jalhost.models.architecture import Floats
from jalsoc.baseline.quantised import Groups, QuantisedLayer, QuantisedModel, rotary_angles

WORD_BYTES = 4


def matrix_bytes(matrix: Groups) -> bytes:
    """Row by row, group by group: the scale, then the elements."""
    parts = []
    for index in range(matrix.scales.shape[1]):
        elements = matrix.elements[:, index * matrix.group : (index + 1) * matrix.group]
        padding = -elements.shape[1] % WORD_BYTES
        filled = np.pad(elements, ((0, 0), (0, padding)))
        parts += [matrix.scales[:, index : index + 1].astype("<f4").view(np.int8), filled]
    return np.concatenate(parts, axis=1).tobytes()


def _floats(values: Floats) -> bytes:
    return values.astype("<f4").tobytes()


def _float_word(value: float) -> int:
    return int.from_bytes(struct.pack("<f", value), "little")


def _layer(layer: QuantisedLayer) -> tuple[bytes, dict[Word, int]]:
    """A layer's bytes, and where in them each tensor is."""
    tensors = (
        (Word.ATTENTION_NORM, _floats(layer.attention_norm)),
        (Word.QUERY, matrix_bytes(layer.query)),
        (Word.KEY, matrix_bytes(layer.key)),
        (Word.VALUE, matrix_bytes(layer.value)),
        (Word.OUTPUT, matrix_bytes(layer.output)),
        (Word.FFN_NORM, _floats(layer.ffn_norm)),
        (Word.GATE, matrix_bytes(layer.gate)),
        (Word.UP, matrix_bytes(layer.up)),
        (Word.DOWN, matrix_bytes(layer.down)),
    )
    data, places = b"", {}
    for word, part in tensors:
        places[word] = len(data)
        data += part
    return data, places


def rope_rows(model: QuantisedModel, first: int, count: int) -> Floats:
    """Cosines, then sines, of positions from ``first`` on: (count, head_dim)."""
    a = model.architecture
    angles = rotary_angles(a.head_dim, a.rope_theta, first, count)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def build_image(
    model: QuantisedModel, prompt: tuple[int, ...], count: int, depth: int = 0
) -> bytes:
    """The image of a model and of a run: ``count`` tokens behind ``prompt``, from ``depth`` on.

    Raises:
        UsageError: the run does not fit the model's context or the program's report, or a token
            of the prompt does not exist.
    """
    a = model.architecture
    passes = len(prompt) + count - 1
    if not prompt or count < 1 or depth < 0 or depth + passes > a.context:
        raise UsageError(
            f"{len(prompt)} prompt tokens and {count} more from position {depth} on",
            f"at least one of each, in a context of {a.context}",
        )
    if passes + 1 > MAX_ENTRIES:
        raise UsageError(f"{passes} tokens are more than the report takes ({MAX_ENTRIES - 1})")
    if not all(0 <= token < a.vocabulary for token in prompt):
        raise UsageError(f"the prompt has tokens beyond the vocabulary of {a.vocabulary}")
    layers = [_layer(layer) for layer in model.layers]
    embedding = matrix_bytes(model.embedding)
    words = {
        Word.MAGIC: MAGIC,
        Word.DIM: a.dim,
        Word.HIDDEN: a.hidden,
        Word.LAYERS: a.layers,
        Word.HEADS: a.heads,
        Word.KV_HEADS: a.kv_heads,
        Word.HEAD_DIM: a.head_dim,
        Word.VOCABULARY: a.vocabulary,
        Word.GROUP: model.group,
        Word.EPSILON: _float_word(a.epsilon),
        Word.SCORE_FACTOR: _float_word(a.head_dim**-0.5),
        Word.DEPTH: depth,
        Word.POSITIONS: depth + passes,
        Word.PROMPT_TOKENS: len(prompt),
        Word.EMBEDDING_STRIDE: len(embedding) // a.vocabulary,
        Word.LAYER_STRIDE: len(layers[0][0]),
        **layers[0][1],
    }
    sections = [
        (Word.PROMPT, struct.pack(f"<{len(prompt)}I", *prompt)),
        (Word.ROPE, _floats(rope_rows(model, depth, passes))),
        (Word.EMBEDDING, embedding),
        (Word.FINAL_NORM, _floats(model.final_norm)),
        (Word.LAYER, b"".join(data for data, _ in layers)),
    ]
    if model.classifier is not model.embedding:
        sections.append((Word.CLASSIFIER, matrix_bytes(model.classifier)))
    position = WORD_BYTES * len(Word)
    for word, data in sections:
        words[word] = position
        position += len(data)
    words.setdefault(Word.CLASSIFIER, words[Word.EMBEDDING])
    words[Word.END] = position
    header = struct.pack(f"<{len(Word)}I", *(words[word] for word in Word))
    return header + b"".join(data for _, data in sections)

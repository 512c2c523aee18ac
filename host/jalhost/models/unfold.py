"""The float32 model that an image's integers stand for: what the compiler folds, unfolded."""

import math
from collections.abc import Iterator

import numpy as np

from jalgateware.golden.mx import BlockMatrix
from jalhost.models.architecture import Architecture, Floats, Layer, Model
from jalhost.models.convert import matrices
from jalhost.models.image import Image


def unfold(image: Image) -> Model:
    """A model whose conversion gives the image's matrices again.

    It differs from the one that the image was made from by the elements' rounding; the norms' gains
    are the matrices' columns now.
    """
    a, tape = image.plan.architecture, matrices(image)
    # The matrices behind a norm carry its sqrt(dim).
    gain = np.full(a.dim, 1 / math.sqrt(a.dim), dtype=np.float32)
    embedding = _real(next(tape), a.dim)
    layers = [_layer(a, tape, gain) for _ in range(a.layers)]
    return Model(a, embedding, layers, gain, _real(next(tape), a.dim), image.source)


def _real(matrix: BlockMatrix, columns: int) -> Floats:
    return np.ascontiguousarray(matrix.dequantise()[:, :columns])


def _layer(a: Architecture, tape: Iterator[BlockMatrix], gain: Floats) -> Layer:
    score = np.float32(math.log2(math.e) / math.sqrt(a.head_dim))
    query, key, value = (_real(next(tape), a.dim) for _ in range(3))
    output = _real(next(tape), a.heads * a.head_dim)
    gate_up = _real(next(tape), a.dim)
    return Layer(
        attention_norm=gain,
        query=query / score,
        key=key,
        value=value,
        output=output,
        ffn_norm=gain,
        gate=np.ascontiguousarray(gate_up[0::2]),
        up=np.ascontiguousarray(gate_up[1::2]),
        down=_real(next(tape), a.hidden),
    )

"""The float32 model that an image's integers stand for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from jalhost.models.architecture import Architecture, Floats, Layer, Model
from jalhost.models.constants import LayerConstants, from_entries
from jalhost.models.convert import matrices
from jalhost.models.folding import score_factor
from jalhost.models.image import Image
from jalhost.models.plan import CLASSIFIER, EMBEDDING


def unfold(
    a: Architecture, matrices: Mapping[str, Floats], constants: Sequence[LayerConstants]
) -> Model:
    """A model that computes with folded matrices: norms without gains, factors taken out again.

    ``matrices``: as of :func:`jalhost.models.folding.fold`, by name; columns that fill up blocks
    are cut off. ``constants``: of all layers.
    """
    unit = np.full(a.dim, 1 / math.sqrt(a.dim), dtype=np.float32)
    factor = np.float32(1) if a.qk_norm else score_factor(a)
    layers = [
        Layer(
            attention_norm=unit,
            query=matrices[f"{index}.query"][:, : a.dim] / factor,
            key=matrices[f"{index}.key"][:, : a.dim],
            value=matrices[f"{index}.value"][:, : a.dim],
            output=matrices[f"{index}.output"][:, : a.heads * a.head_dim],
            ffn_norm=unit,
            gate=matrices[f"{index}.gate_up"][0::2, : a.dim],
            up=matrices[f"{index}.gate_up"][1::2, : a.dim],
            down=matrices[f"{index}.down"][:, : a.hidden],
            **_unfold_constants(a, layer),
        )
        for index, layer in enumerate(constants)
    ]
    embedding, classifier = (matrices[name][:, : a.dim] for name in (EMBEDDING, CLASSIFIER))
    return Model(a, embedding, layers, unit, classifier)


def _unfold_constants(a: Architecture, layer: LayerConstants) -> dict[str, Floats]:
    """A layer's biases and norms over heads, where there are some."""
    found: dict[str, Floats] = {}
    factor, root = score_factor(a), np.float32(math.sqrt(a.head_dim))
    if a.qkv_bias:
        found = {f"{name}_bias": layer.bias(a, name) for name in ("query", "key", "value")}
        if not a.qk_norm:
            found["query_bias"] = found["query_bias"] / factor
    if a.qk_norm:
        found["query_norm"] = layer.head_gains(a, "query") / (root * factor)
        found["key_norm"] = layer.head_gains(a, "key") / root
    return found


def unfold_image(image: Image) -> Model:
    """A model whose conversion gives the image's matrices again.

    It differs from the one that the image was made from by the elements' rounding; the norms' gains
    are the matrices' columns now.
    """
    plan = image.plan
    names = (shape.name for shape in plan.matrices)
    real = (matrix.dequantise() for matrix in matrices(image))
    by_name = dict(zip(names, real, strict=True))
    shifts = [(item.query, item.key) for item in plan.shifts]
    constants = from_entries(plan.architecture, image.constants, shifts)
    return replace(unfold(plan.architecture, by_name, constants), source=image.source)

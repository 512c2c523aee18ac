"""Rotary embedding's frequencies, and how models with an extended context slow them down."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jalhost.errors import ModelError
from jalhost.models.architecture import Architecture

Doubles = npt.NDArray[np.float64]


def plain_frequencies(head_dim: int, theta: float) -> Doubles:
    """Radians per position of each pair (head_dim / 2,), as RoFormer (Su et al., 2021) has them."""
    return np.asarray(theta ** -(np.arange(head_dim // 2) * 2 / head_dim))


def frequencies(a: Architecture) -> Doubles:
    """Radians per position of each pair of a model's heads (head_dim / 2,)."""
    plain = plain_frequencies(a.head_dim, a.rope_theta)
    return plain / np.array(a.rope_divisors) if a.rope_divisors else plain


def divisors(scaling: Mapping[str, Any], head_dim: int, theta: float) -> tuple[float, ...]:
    """What divides the frequencies, by a configuration's ``rope_scaling`` (Hugging Face's keys).

    Kinds: ``default``, ``linear``, and ``llama3``, of Llama 3.1 and later.

    Raises:
        ModelError: another kind, or keys are missing or senseless.
    """
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default" or not 2 <= head_dim <= 1 << 20:  # such a size is refused elsewhere
        return ()
    try:
        if kind == "linear":
            return (_positive(scaling, "factor"),) * (head_dim // 2)
        if kind == "llama3":
            return _llama3(scaling, plain_frequencies(head_dim, theta))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the model's {kind} RoPE scaling is incomplete: {error}") from error
    raise ModelError(
        f"the model scales RoPE by {kind!r}", "default, linear and llama3 can be converted"
    )


def _llama3(scaling: Mapping[str, Any], plain: Doubles) -> tuple[float, ...]:
    """Llama 3.1's rule: llama-models' ``apply_scaling`` (github.com/meta-llama/llama-models).

    Pairs that turn more than ``high_freq_factor`` times within the original context stay as they
    are, those below ``low_freq_factor`` turns are slowed down by ``factor``, and between them the
    frequency goes from the one to the other linearly in the number of turns.
    """
    factor, low, high, context = (
        _positive(scaling, name)
        for name in (
            "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"
        )
    )  # fmt: skip
    if not low < high:
        raise ValueError("low_freq_factor is not below high_freq_factor")
    turns = context * plain / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return tuple((1 / ((1 - smooth) / factor + smooth)).tolist())


def _positive(scaling: Mapping[str, Any], name: str) -> float:
    value = float(scaling[name])
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}")
    return value

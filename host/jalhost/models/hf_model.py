"""Models in Hugging Face folders, of the types llama, qwen2 and qwen3.

Names of keys and tensors: transformers' configuration and modelling files of these models
(github.com/huggingface/transformers). Queries and keys rotate half-split there: rows i and i +
head_dim / 2 of a head are a pair. The engine wants pairs side by side (``Tensor.halves``).
"""

import re
from pathlib import Path
from typing import Any

from jalhost.errors import ModelError
from jalhost.models.architecture import MOST_SIZE, Architecture
from jalhost.models.checkpoint import Checkpoint
from jalhost.models.gguf_model import ordered
from jalhost.models.rope import divisors
from jalhost.models.safetensors_file import SINGLE, folder_tensors, read_json
from jalhost.models.tensors import Rows, Tensor

CONFIG = "config.json"
FAMILIES = ("llama", "qwen2", "qwen3")

PARTS = {
    "model.embed_tokens.weight": "embedding",
    "model.norm.weight": "final_norm",
    "lm_head.weight": "classifier",
}

LAYER_PARTS = {
    "input_layernorm.weight": "attention_norm",
    "self_attn.q_proj.weight": "query",
    "self_attn.k_proj.weight": "key",
    "self_attn.v_proj.weight": "value",
    "self_attn.o_proj.weight": "output",
    "post_attention_layernorm.weight": "ffn_norm",
    "mlp.gate_proj.weight": "gate",
    "mlp.up_proj.weight": "up",
    "mlp.down_proj.weight": "down",
    "self_attn.o_proj.bias": "output_bias",
    "mlp.gate_proj.bias": "gate_bias",
    "mlp.up_proj.bias": "up_bias",
    "mlp.down_proj.bias": "down_bias",
    "self_attn.q_proj.bias": "query_bias",
    "self_attn.k_proj.bias": "key_bias",
    "self_attn.v_proj.bias": "value_bias",
    "self_attn.q_norm.weight": "query_norm",
    "self_attn.k_norm.weight": "key_norm",
}

_LAYER = re.compile(r"model\.layers\.(\d{1,5})\.(.+)")


class Config:
    """A model's ``config.json``.

    Raises:
        ModelError: it cannot be read, or says nothing of a model.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = read_json(path)
        if not isinstance(data, dict):
            raise ModelError(f"{path} is damaged: it is no JSON object")
        self.data: dict[str, Any] = data

    def get(self, key: str, default: Any = None) -> Any:
        """A value; null counts as missing."""
        value = self.data.get(key)
        return default if value is None else value

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number.

        Raises:
            ModelError: there is none.
        """
        value = self.get(key, default)
        if type(value) is not int:
            raise ModelError(f"{self.path}: {key} is {value!r} where a whole number belongs")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """A number.

        Raises:
            ModelError: there is none.
        """
        value = self.get(key, default)
        if type(value) not in (int, float):
            raise ModelError(f"{self.path}: {key} is {value!r} where a number belongs")
        return float(value)


def read_hf_model(folder: Path) -> Checkpoint:
    """The model of a folder.

    Raises:
        ModelError: files are missing or damaged, or the model is none that can be read.
    """
    if not (folder / CONFIG).exists():
        raise ModelError(
            f"{folder} is no model's folder: it has no {CONFIG}",
            f"Hugging Face's folders have {CONFIG}, {SINGLE} and tokenizer.json",
        )
    config = Config(folder / CONFIG)
    family = config.get("model_type")
    if family not in FAMILIES:
        raise ModelError(
            f"{folder}: models of the type {family!r} cannot be converted",
            f"{', '.join(FAMILIES)} can",
        )
    _check_variant(config)
    architecture = _architecture(config, family)
    tensors = _tensors(folder, architecture, folder_tensors(folder))
    checkpoint = Checkpoint(architecture, tensors, folder.resolve().name)
    checkpoint.check_family(family)
    return checkpoint


def _check_variant(config: Config) -> None:
    """Refuses what would compute something else than the engine does.

    Raises:
        ModelError: names the key and its value.
    """
    activation = config.get("hidden_act", "silu")
    if activation != "silu":
        raise ModelError(f"{config.path}: hidden_act is {activation!r}, the engine computes silu")
    _check_window(config)
    if config.get("quantization_config") is not None:
        raise ModelError(
            f"{config.path}: the weights are quantised already", "use the model that they come from"
        )


def _check_window(config: Config) -> None:
    """Refuses layers that do not attend to the whole context.

    Raises:
        ModelError: names the window.
    """
    layers = config.whole("num_hidden_layers")
    kinds = config.get("layer_types", [])
    if not isinstance(kinds, list):
        raise ModelError(f"{config.path}: layer_types is {kinds!r} where a list belongs")
    slides = any(kind != "full_attention" for kind in kinds)
    if not kinds and config.get("use_sliding_window", False):
        # Qwen's layers below max_window_layers attend to all; transformers' default for it is 28.
        slides = layers > config.whole("max_window_layers", 28)
    context = config.whole("max_position_embeddings")
    window = config.whole("sliding_window", context)
    if slides and window < context:
        raise ModelError(
            f"{config.path}: the model attends to a sliding window of {window} of its {context}"
            " tokens, the engine to all"
        )


def _rope(config: Config) -> dict[str, Any]:
    """What the configuration says of the rotary embedding, by precedence as transformers has it.

    Raises:
        ModelError: it is none, or not all of a head rotates.
    """
    rope = config.get("rope_scaling") or config.get("rope_parameters", {})
    if not isinstance(rope, dict):
        raise ModelError(f"{config.path}: rope_scaling is {rope!r}")
    part = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1))
    if part != 1:
        raise ModelError(
            f"{config.path}: partial_rotary_factor is {part!r}, the engine rotates whole heads"
        )
    return rope


def _architecture(config: Config, family: str) -> Architecture:
    heads, dim = config.whole("num_attention_heads"), config.whole("hidden_size")
    if heads < 1:
        raise ModelError(f"{config.path}: num_attention_heads is {heads}")
    # Qwen3's heads have 128 elements where nothing else is said, whatever dim is.
    head_dim = config.whole("head_dim", 128 if family == "qwen3" else dim // heads)
    rope = _rope(config)
    theta = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    if type(theta) not in (int, float):
        raise ModelError(f"{config.path}: rope_theta is {theta!r} where a number belongs")
    return Architecture(
        dim=dim,
        hidden=config.whole("intermediate_size"),
        layers=config.whole("num_hidden_layers"),
        heads=heads,
        kv_heads=config.whole("num_key_value_heads", heads),
        head_dim=head_dim,
        vocabulary=config.whole("vocab_size"),
        context=min(config.whole("max_position_embeddings"), MOST_SIZE),
        rope_theta=float(theta),
        epsilon=config.real("rms_norm_eps", 1e-6),
        tied=bool(config.get("tie_word_embeddings", False)),
        rope_divisors=divisors(rope, head_dim, theta),
    )


def _tensors(folder: Path, a: Architecture, tensors: dict[str, Tensor]) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for name, tensor in tensors.items():
        part = _part(name, a.layers)
        if name.endswith("rotary_emb.inv_freq") or (part == "classifier" and a.tied):
            continue
        if part is None:
            raise ModelError(f"{folder}: the engine has no place for tensor {name}")
        found[part] = ordered(tensor, part, a.head_dim)
    return found


def _part(name: str, layers: int) -> str | None:
    match = _LAYER.fullmatch(name)
    if match is None:
        return PARTS.get(name)
    part = LAYER_PARTS.get(match[2])
    return None if part is None or int(match[1]) >= layers else f"{int(match[1])}.{part}"

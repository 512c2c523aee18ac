"""Models in GGUF files, of the architectures llama, qwen2 and qwen3.

Names of keys and tensors: gguf-py's constants.py (github.com/ggml-org/llama.cpp). Order of the rows
of queries and keys: files of ``llama`` hold them as the engine wants them, rotated by adjacent
pairs (``LlamaModel.permute`` of convert_hf_to_gguf.py), files of ``qwen2`` and ``qwen3`` in halves.
"""

import re
from pathlib import Path

from jalhost.errors import ModelError
from jalhost.models.architecture import MOST_SIZE, Architecture
from jalhost.models.checkpoint import Checkpoint
from jalhost.models.gguf_file import GgufFile, read_gguf
from jalhost.models.rope import divisors
from jalhost.models.tensors import HalvesVector, Rows, Tensor, read_vector

IN_HALVES = {"llama": False, "qwen2": True, "qwen3": True}
"""Architectures that can be read, and whether queries and keys rotate half-split."""

PARTS = {
    "token_embd.weight": "embedding",
    "output_norm.weight": "final_norm",
    "output.weight": "classifier",
}

LAYER_PARTS = {
    "attn_norm.weight": "attention_norm",
    "attn_q.weight": "query",
    "attn_k.weight": "key",
    "attn_v.weight": "value",
    "attn_output.weight": "output",
    "ffn_norm.weight": "ffn_norm",
    "ffn_gate.weight": "gate",
    "ffn_up.weight": "up",
    "ffn_down.weight": "down",
    "attn_output.bias": "output_bias",
    "ffn_gate.bias": "gate_bias",
    "ffn_up.bias": "up_bias",
    "ffn_down.bias": "down_bias",
    "attn_q.bias": "query_bias",
    "attn_k.bias": "key_bias",
    "attn_v.bias": "value_bias",
    "attn_q_norm.weight": "query_norm",
    "attn_k_norm.weight": "key_norm",
}

ROPE_DIVISORS = "rope_freqs.weight"
"""Divisors of the rotary frequencies: how GGUF keeps Llama 3.1's scaling."""

SCALES = (
    "attention.scale", "attn_logit_softcapping", "embedding_scale", "final_logit_softcapping",
    "logit_scale", "residual_scale",
)  # fmt: skip
"""Numbers that change what a model computes, and that the engine has no place for."""

_LAYER = re.compile(r"blk\.(\d{1,5})\.(.+)")


def read_gguf_model(path: Path) -> tuple[Checkpoint, GgufFile]:
    """A GGUF file's model, and the file for its tokenizer.

    Raises:
        ModelError: the file is damaged, or its model is none that can be read.
    """
    file = read_gguf(path)
    family = file.text("general.architecture")
    if family not in IN_HALVES:
        raise ModelError(
            f"{path}: models of the architecture {family!r} cannot be converted",
            f"{', '.join(IN_HALVES)} can",
        )
    _check_variant(file, family)
    architecture = _architecture(file, family)
    tensors = _tensors(file, architecture, IN_HALVES[family])
    checkpoint = Checkpoint(architecture, tensors, path.name)
    checkpoint.check_family(family)
    return checkpoint, file


def _check_variant(file: GgufFile, family: str) -> None:
    """Refuses what would compute something else than the engine does.

    Raises:
        ModelError: names the key and its value.
    """
    parts = file.whole("split.count", 1)
    if parts > 1:
        raise ModelError(
            f"{file.path} is part {file.whole('split.no', 0) + 1} of {parts}",
            "put them together: llama-gguf-split --merge FIRST_PART ONE_FILE",
        )
    window = file.whole(f"{family}.attention.sliding_window", 0)
    context = file.whole(f"{family}.context_length")
    if 0 < window < context:
        raise ModelError(
            f"{file.path}: the model attends to a sliding window of {window} of its {context}"
            " tokens, the engine to all"
        )
    for key in SCALES:
        if (value := file.real(f"{family}.{key}", 0)) != 0:
            raise ModelError(f"{file.path}: {family}.{key} is {value:g}, the engine has none")


def _architecture(file: GgufFile, family: str) -> Architecture:
    def whole(key: str, default: int | None = None) -> int:
        return file.whole(f"{family}.{key}", default)

    if whole("expert_count", 0):
        raise ModelError(f"{file.path} is a mixture of experts", "the engine runs dense models")
    heads, dim = whole("attention.head_count"), whole("embedding_length")
    if not (heads > 0 and dim > 0):
        raise ModelError(f"{file.path} has {heads} heads and {dim} columns", "the file is damaged")
    head_dim = whole("attention.key_length", dim // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if (size := whole(key, head_dim)) != head_dim:
            raise ModelError(
                f"{file.path} has {family}.{key} = {size} and heads of {head_dim}",
                "the engine rotates whole heads, and keys and values have one size",
            )
    theta = file.real(f"{family}.rope.freq_base", 10000.0)
    return Architecture(
        dim=dim,
        hidden=whole("feed_forward_length"),
        layers=whole("block_count"),
        heads=heads,
        kv_heads=whole("attention.head_count_kv", heads),
        head_dim=head_dim,
        vocabulary=_vocabulary(file),
        context=min(whole("context_length"), MOST_SIZE),
        rope_theta=theta,
        epsilon=file.real(f"{family}.attention.layer_norm_rms_epsilon"),
        tied="output.weight" not in file.tensors,
        rope_divisors=_divisors(file, family, head_dim, theta),
    )


def _vocabulary(file: GgufFile) -> int:
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise ModelError(f"{file.path} has no tensor token_embd.weight", "the file is damaged")
    return embedding.rows


def _divisors(file: GgufFile, family: str, head_dim: int, theta: float) -> tuple[float, ...]:
    kind = file.text(f"{family}.rope.scaling.type", "none")
    given = file.tensors.get(ROPE_DIVISORS)
    if kind == "none" and given is not None:
        return tuple(read_vector(given).tolist())
    if kind == "none" or (given is not None and kind == "linear"):
        kind = "default"
    scaling: dict[str, object] = {"rope_type": kind}
    if kind == "linear":
        scaling["factor"] = file.real(f"{family}.rope.scaling.factor")
    return divisors(scaling, head_dim, theta)


def _tensors(file: GgufFile, a: Architecture, in_halves: bool) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for name, tensor in file.tensors.items():
        part = _part(name, a.layers)
        if part is None and name != ROPE_DIVISORS:
            raise ModelError(f"{file.path}: the engine has no place for tensor {name}")
        if part is not None:
            found[part] = ordered(tensor, part, a.head_dim if in_halves else 0)
    return found


def _part(name: str, layers: int) -> str | None:
    match = _LAYER.fullmatch(name)
    if match is None:
        return PARTS.get(name)
    part = LAYER_PARTS.get(match[2])
    return None if part is None or int(match[1]) >= layers else f"{int(match[1])}.{part}"


def ordered(tensor: Tensor, part: str, halves: int) -> Rows:
    """A tensor whose heads' rows, or a vector whose heads' elements, are in the engine's order.

    ``halves``: size of heads that the file keeps half-split, 0 for none.
    """
    kind = part.rpartition(".")[2]
    if not halves or kind not in (
        "query",
        "key",
        "query_bias",
        "key_bias",
        "query_norm",
        "key_norm",
    ):
        return tensor
    if kind in ("query", "key"):
        if tensor.rows % halves:
            raise ModelError(f"tensor {tensor.name} has {tensor.rows} rows, heads have {halves}")
        return tensor.in_halves(halves)
    if tensor.rows != 1 or tensor.columns % halves:
        raise ModelError(f"tensor {tensor.name} has shape {tensor.shape}, heads have {halves}")
    return HalvesVector(tensor, halves)

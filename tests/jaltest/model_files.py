"""Model files by independent writers: gguf-py for GGUF, safetensors' package for folders."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jalhost.models.architecture import Architecture, Floats, Layer, Model
from jaltest.vocabularies import add_byte_level, byte_level_tokenizer, finish, gguf_writer

HF_NAMES = {
    "attention_norm": "input_layernorm.weight",
    "query": "self_attn.q_proj.weight",
    "key": "self_attn.k_proj.weight",
    "value": "self_attn.v_proj.weight",
    "output": "self_attn.o_proj.weight",
    "ffn_norm": "post_attention_layernorm.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
}

GGUF_NAMES = {
    "attention_norm": "attn_norm.weight",
    "query": "attn_q.weight",
    "key": "attn_k.weight",
    "value": "attn_v.weight",
    "output": "attn_output.weight",
    "ffn_norm": "ffn_norm.weight",
    "gate": "ffn_gate.weight",
    "up": "ffn_up.weight",
    "down": "ffn_down.weight",
}

GGUF_CONSTANTS = {
    "query_bias": "attn_q.bias",
    "key_bias": "attn_k.bias",
    "value_bias": "attn_v.bias",
    "query_norm": "attn_q_norm.weight",
    "key_norm": "attn_k_norm.weight",
}

SIZES = Architecture(
    dim=256, hidden=512, layers=2, heads=4, kv_heads=2, head_dim=64, vocabulary=600, context=256,
    tied=False,
)  # fmt: skip
"""Large enough for blocks of 256 weights."""


def add_sizes(writer: Any, a: Architecture) -> None:
    """An architecture's metadata."""
    writer.add_context_length(a.context)
    writer.add_embedding_length(a.dim)
    writer.add_block_count(a.layers)
    writer.add_feed_forward_length(a.hidden)
    writer.add_head_count(a.heads)
    writer.add_head_count_kv(a.kv_heads)
    writer.add_key_length(a.head_dim)
    writer.add_value_length(a.head_dim)
    writer.add_rope_dimension_count(a.head_dim)
    writer.add_rope_freq_base(a.rope_theta)
    writer.add_layer_norm_rms_eps(a.epsilon)


def gguf_tensors(model: Model) -> dict[str, Floats]:
    """A model's tensors by their names in GGUF."""
    named = {"token_embd.weight": model.embedding, "output_norm.weight": model.final_norm}
    if not model.architecture.tied:
        named["output.weight"] = model.classifier
    for index, layer in enumerate(model.layers):
        named |= {f"blk.{index}.{name}": getattr(layer, key) for key, name in GGUF_NAMES.items()}
        for key, name in GGUF_CONSTANTS.items():
            if (values := getattr(layer, key)) is not None:
                named[f"blk.{index}.{name}"] = values
    return named


def half_split(model: Model) -> Model:
    """The model with the rows of queries and keys as files of qwen2 and qwen3 have them."""
    a = model.architecture
    heads = {"query": a.heads, "key": a.kv_heads, "query_bias": a.heads, "key_bias": a.kv_heads}
    heads |= {"query_norm": 1, "key_norm": 1}

    def layer_of(layer: Layer) -> Layer:
        return replace(layer, **{
            key: in_halves(values.reshape(values.shape[0], -1), count).reshape(values.shape)
            for key, count in heads.items() if (values := getattr(layer, key)) is not None
        })  # fmt: skip

    return replace(model, layers=[layer_of(layer) for layer in model.layers])


def write_gguf(
    model: Model, path: Path, kind: str = "F32", size: int = 600, family: str = "llama"
) -> None:
    """Writes a model; matrices are of the type ``kind``.

    Tensors of types that gguf-py cannot make from numbers are random blocks.
    """
    writer = gguf_writer(path, family)
    model = model if family == "llama" else half_split(model)
    add_sizes(writer, model.architecture)
    tokenizer = byte_level_tokenizer("llama-bpe", size)
    add_byte_level(writer, tokenizer, "llama-bpe", bos=True)
    for name, values in gguf_tensors(model).items():
        add_tensor(writer, name, values, kind if values.ndim == 2 else "F32")
    finish(writer)


def add_tensor(writer: Any, name: str, values: Floats, kind: str) -> None:
    """Adds a tensor of a type."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import quantize

    number = GGMLQuantizationType[kind]
    if kind == "F32":
        writer.add_tensor(name, values.astype(np.float32))
    elif kind == "F16":
        writer.add_tensor(name, values.astype(np.float16))
    elif kind in ("Q4_K", "Q6_K", "MXFP4"):
        block, size = GGML_QUANT_SIZES[number]
        random = np.random.default_rng(len(name))
        shape = (*values.shape[:-1], values.shape[-1] // block, size)
        raw = random.integers(0, 256, shape, dtype=np.uint8)
        if kind == "MXFP4":
            raw[..., 0] = random.integers(118, 124, shape[:-1])  # the scale
        else:  # the half-precision scales
            places = {"Q4_K": ((0, 4), 2), "Q6_K": ((208, 210), 1)}[kind]
            scales = random.uniform(1e-4, 4e-4, (*shape[:-1], places[1])).astype(np.float16)
            raw[..., slice(*places[0])] = scales.view(np.uint8)
        writer.add_tensor(name, raw.reshape(*values.shape[:-1], -1), raw_dtype=number)
    else:
        writer.add_tensor(name, quantize(values.astype(np.float32), number), raw_dtype=number)


def in_halves(values: Floats, heads: int) -> Floats:
    """Rows of heads from adjacent pairs to Hugging Face's half-split order."""
    split = values.reshape(heads, -1, 2, values.shape[-1])
    return split.swapaxes(1, 2).reshape(values.shape)


def write_folder(model: Model, folder: Path, kind: str = "qwen2") -> None:
    """Writes a Hugging Face folder of the type llama; ``kind``: rule by which texts are split."""
    from safetensors.numpy import save_file

    a = model.architecture
    config = {
        "model_type": "llama", "hidden_size": a.dim, "intermediate_size": a.hidden,
        "num_hidden_layers": a.layers, "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads, "head_dim": a.head_dim, "vocab_size": a.vocabulary,
        "max_position_embeddings": a.context, "rms_norm_eps": a.epsilon,
        "rope_theta": a.rope_theta, "tie_word_embeddings": a.tied, "hidden_act": "silu",
    }  # fmt: skip
    tensors = {"model.embed_tokens.weight": model.embedding, "model.norm.weight": model.final_norm}
    if not a.tied:
        tensors["lm_head.weight"] = model.classifier
    for index, layer in enumerate(model.layers):
        tensors |= {
            f"model.layers.{index}.{name}": _for_hf(layer, key, a) for key, name in HF_NAMES.items()
        }
    folder.mkdir(exist_ok=True)
    save_file({name: np.ascontiguousarray(item) for name, item in tensors.items()},
              folder / "model.safetensors")  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    byte_level_tokenizer(kind, a.vocabulary).save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _for_hf(layer: Layer, key: str, a: Architecture) -> Floats:
    values: Floats = getattr(layer, key)
    heads = {"query": a.heads, "key": a.kv_heads}.get(key)
    return in_halves(values, heads) if heads else values

"""Models that say or have something unusual: converted as meant, or refused by name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jalhost.errors import ModelError
from jalhost.models.checkpoint import Checkpoint
from jalhost.models.source import MOST_CONTEXT, open_checkpoint, open_source
from jaltest.model_files import add_sizes, gguf_tensors, half_split, write_folder
from jaltest.tiny import ARCHITECTURE as TINY
from jaltest.tiny import tiny_model
from jaltest.vocabularies import finish, gguf_writer

SHAPE = replace(TINY, vocabulary=400, tied=False)
ROWS = {"q": SHAPE.heads * SHAPE.head_dim, "k": SHAPE.kv_heads * SHAPE.head_dim}
ROWS["v"] = ROWS["k"]


Change = Callable[[dict[str, Any]], None]


def unchanged(tensors: dict[str, Any]) -> None:
    """Leaves tensors as they are."""


def opened(path: Path, change: Change = unchanged, **config: Any) -> Checkpoint:
    """A folder whose tensors and configuration are changed, opened."""
    from safetensors.numpy import load_file, save_file

    write_folder(tiny_model(SHAPE), path)
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors")
    known = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(known | config))
    return open_checkpoint(path)


def biases(value: float, *names: str) -> Callable[[dict[str, Any]], None]:
    """Adds biases to layers' matrices of Hugging Face's names."""
    sizes = {f"self_attn.{name}_proj": rows for name, rows in ROWS.items()}
    sizes |= {"self_attn.o_proj": SHAPE.dim, "mlp.up_proj": SHAPE.hidden}

    def change(tensors: dict[str, Any]) -> None:
        for layer in range(SHAPE.layers):
            for name in names:
                bias = np.full(sizes[name], value, dtype=np.float32)
                tensors[f"model.layers.{layer}.{name}.bias"] = bias

    return change


QKV = tuple(f"self_attn.{name}_proj" for name in "qkv")


@pytest.mark.parametrize(
    ("name", "what"),
    [("self_attn.o_proj", "the attention's output"), ("mlp.up_proj", "the feed-forward part")],
)
def test_biases_that_the_engine_does_not_add(tmp_path: Path, name: str, what: str) -> None:
    expected = rf"a bias on {what} \(layer 0\) \(the engine adds biases to queries, keys and values"
    with pytest.raises(ModelError, match=expected):
        opened(tmp_path / "x", biases(0.5, name), attention_bias=True)
    assert not opened(tmp_path / "y", biases(0, name)).architecture.qkv_bias


def test_a_llama_may_have_biases(tmp_path: Path) -> None:
    assert opened(tmp_path / "x", biases(0.5, *QKV), attention_bias=True).architecture.qkv_bias


def test_parts_that_a_family_has_are_not_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tensor for 0\.query_bias, which qwen2 has"):
        opened(tmp_path / "x", model_type="qwen2")
    with pytest.raises(ModelError, match=r"no tensor for 0\.query_norm, which qwen3 has"):
        opened(tmp_path / "y", model_type="qwen3")

    def one_is_missing(tensors: dict[str, Any]) -> None:
        biases(0.5, *QKV)(tensors)
        del tensors["model.layers.1.self_attn.k_proj.bias"]

    with pytest.raises(ModelError, match="has biases in some layers only"):
        opened(tmp_path / "z", one_is_missing)


@pytest.mark.parametrize(
    "config",
    [{"partial_rotary_factor": 0.5},
     {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}],
)  # fmt: skip
def test_heads_that_rotate_in_part_are_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(
        ModelError, match=r"partial_rotary_factor is 0\.5, the engine rotates whole"
    ):
        opened(tmp_path / "x", **config)


@pytest.mark.parametrize(
    ("config", "theta", "divisor"),
    [
        ({"rope_theta": 1e6, "rope_parameters": {"rope_theta": 5e5}}, 5e5, 1),
        ({"rope_theta": 1e6, "rope_parameters": None}, 1e6, 1),
        ({"rope_parameters": {}, "rope_scaling": {"type": "linear", "factor": 2}}, 1e4, 2),
        ({"rope_parameters": {"rope_theta": 5e5},
          "rope_scaling": {"rope_type": "linear", "factor": 2.0}}, 1e4, 2),
        ({"partial_rotary_factor": 1.0}, 1e4, 1),
    ],
)  # fmt: skip
def test_rope_by_the_precedence_of_transformers(
    tmp_path: Path, config: dict[str, Any], theta: float, divisor: float
) -> None:
    a = opened(tmp_path / "x", **config).architecture
    assert (a.rope_theta, (*a.rope_divisors, 1)[0]) == (theta, divisor)


def test_windows(tmp_path: Path) -> None:
    window: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 16}
    layers, most = SHAPE.layers, SHAPE.context
    with pytest.raises(ModelError, match=rf"a sliding window of 16 of its {most} tokens"):
        opened(tmp_path / "x", **window, max_window_layers=layers - 1)
    with pytest.raises(ModelError, match="a sliding window of 16"):
        opened(tmp_path / "y", layer_types=["sliding_attention"] * layers, sliding_window=16)
    harmless: list[dict[str, Any]] = [
        {"max_window_layers": layers},
        {"use_sliding_window": False},
        {"sliding_window": most, "max_window_layers": 0},
        {"sliding_window": None, "max_window_layers": 0},
    ]
    for index, config in enumerate(harmless):
        assert opened(tmp_path / str(index), **window | config).architecture.layers == layers


def test_the_longest_context_is_no_damage(tmp_path: Path) -> None:
    opened(tmp_path / "x", max_position_embeddings=1 << 22, quantization_config=None)
    assert open_source(tmp_path / "x").checkpoint.architecture.context == MOST_CONTEXT


def gguf(path: Path, family: str = "llama", change: Change = unchanged, **keys: Any) -> Checkpoint:
    """A GGUF file with changed tensors and further keys, opened."""
    writer = gguf_writer(path, family)
    model = tiny_model(SHAPE)
    add_sizes(writer, SHAPE)
    for key, value in keys.items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(key.replace("__", "."), value)
    tensors = gguf_tensors(model if family == "llama" else half_split(model))
    change(tensors)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    finish(writer)
    return open_checkpoint(path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"split__no": 1, "split__count": 3}, r"is part 2 of 3 \(put them together"),
        ({"llama__attention__sliding_window": 16}, "a sliding window of 16 of its"),
        ({"llama__logit_scale": 0.5}, r"llama\.logit_scale is 0\.5, the engine has none"),
        ({"llama__attention__scale": 0.25}, r"llama\.attention\.scale is 0\.25"),
    ],
)
def test_keys_that_change_what_a_model_computes(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        gguf(tmp_path / "x.gguf", **keys)


def test_gguf_parts(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tensor for 0\.query_bias, which qwen2 has"):
        gguf(tmp_path / "x.gguf", "qwen2")
    with pytest.raises(ModelError, match=r"no tensor for 0\.query_norm, which qwen3 has"):
        gguf(tmp_path / "y.gguf", "qwen3")

    def bias(tensors: dict[str, Any]) -> None:
        tensors["blk.1.attn_output.bias"] = np.ones(SHAPE.dim, dtype=np.float32)

    with pytest.raises(ModelError, match=r"a bias on the attention's output \(layer 1\)"):
        gguf(tmp_path / "z.gguf", change=bias)


def test_a_file_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    assert gguf(tmp_path / "x.gguf").architecture.layers == SHAPE.layers
    with pytest.raises(ModelError, match=r"x\.gguf has no tokenizer \(make the file again"):
        open_source(tmp_path / "x.gguf")

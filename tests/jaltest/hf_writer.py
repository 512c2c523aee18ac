"""Models and tokens by transformers, for a Python that has it: ``python hf_writer.py FOLDER SEED``.

Writes a folder for each family, as ``save_pretrained`` makes it, with random weights, and beside it
what transformers computes: ``tokens.npy`` (tokens,) and ``logits.npy`` (tokens, vocabulary).
Imports nothing of this project: it runs in an environment of its own.
"""

import sys
from pathlib import Path
from typing import Any

TOKENS = 40

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.12,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}

LLAMA3_SCALING = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def _configurations(transformers: Any) -> dict[str, Any]:
    plain = {"rope_type": "default", "rope_theta": 10000.0}
    return {
        "llama": transformers.LlamaConfig(
            **SIZES, rope_parameters=LLAMA3_SCALING, tie_word_embeddings=True
        ),
        "llama-untied": transformers.LlamaConfig(
            **SIZES | {"num_key_value_heads": 4, "num_hidden_layers": 1},
            rope_parameters=plain | {"rope_theta": 500000.0},
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
        ),
        "qwen2": transformers.Qwen2Config(**SIZES, rope_parameters=plain, tie_word_embeddings=True),
        "qwen3": transformers.Qwen3Config(
            **SIZES, head_dim=32, rope_parameters=plain, tie_word_embeddings=False
        ),
    }


def write(folder: Path, seed: int) -> None:
    """Writes all families below ``folder``."""
    import numpy as np
    import torch
    import transformers

    for name, config in _configurations(transformers).items():
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for key, value in model.named_parameters():
                if value.ndim == 1:  # gains and biases, which all start equal
                    value.uniform_(-0.5, 0.5) if "bias" in key else value.uniform_(0.5, 1.5)
        kind = torch.float32 if name == "qwen3" else torch.bfloat16
        model = model.to(kind)
        shards = {"max_shard_size": "150KB"} if name == "qwen3" else {}
        model.save_pretrained(folder / name, **shards)
        # Read again: a model that was in BF16 keeps rotary frequencies rounded to it.
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder / name, dtype=torch.float32
        ).eval()
        tokens = torch.randint(3, config.vocab_size, (1, TOKENS))
        with torch.no_grad():
            logits = model(tokens).logits[0]
        np.save(folder / name / "tokens.npy", tokens[0].numpy())
        np.save(folder / name / "logits.npy", logits.numpy().astype(np.float32))


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))

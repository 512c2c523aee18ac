"""Small tokenizers of the kinds that models have, trained on the spot, and their GGUF files.

The rules by which they split texts are written down here once more, from the models' own
``tokenizer.json``: Meta-Llama-3-8B, Qwen2-0.5B, SmolLM-135M and GPT-2.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaltest.strings import strings

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

KINDS = ("llama-bpe", "qwen2", "smollm", "default")


def byte_level_tokenizer(kind: str, size: int = 600) -> Any:
    """A tokenizer of the package ``tokenizers``, of one of KINDS."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers
    from tokenizers import pre_tokenizers as pre

    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    whole = pre.ByteLevel(add_prefix_space=False, use_regex=True)
    bare = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    rules: dict[str, Any] = {
        "llama-bpe": lambda: pre.Sequence([pre.Split(Regex(LLAMA3), "isolated"), bare]),
        "qwen2": lambda: pre.Sequence([pre.Split(Regex(QWEN2), "isolated"), bare]),
        "smollm": lambda: pre.Sequence([pre.Digits(individual_digits=True), whole]),
        "default": lambda: whole,
    }
    tokenizer.pre_tokenizer = rules[kind]()
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL),
        initial_alphabet=pre.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(strings(1500, seed=7), trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    return tokenizer


def sentence_piece_model(size: int = 900) -> bytes:
    """A SentencePiece model with byte fallback, as Llama 2's."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in strings(1500, seed=7) if text.strip()]),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        byte_fallback=True,
        split_digits=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    return model.getvalue()


def add_byte_level(writer: Any, tokenizer: Any, kind: str, bos: bool = False) -> None:
    """Puts a byte-level tokenizer into a GGUF file that is being written."""
    from gguf import TokenType

    definition = json.loads(tokenizer.to_str())
    size = tokenizer.get_vocab_size()
    special = {token["id"] for token in definition["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(kind)
    writer.add_token_list([tokenizer.id_to_token(number) for number in range(size)])
    writer.add_token_types(
        [TokenType.CONTROL if number in special else TokenType.NORMAL for number in range(size)]
    )
    writer.add_token_merges([" ".join(pair) for pair in definition["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.token_to_id("<|endoftext|>"))
    writer.add_eos_token_id(tokenizer.token_to_id("<|im_end|>"))
    writer.add_add_bos_token(bos)
    writer.add_chat_template(TEMPLATE)


def add_sentence_piece(writer: Any, model: bytes) -> int:
    """Puts a SentencePiece model into a GGUF file that is being written; returns its size."""
    import sentencepiece
    from gguf import TokenType

    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    size = int(pieces.get_piece_size())
    kinds = [
        TokenType.UNKNOWN if pieces.is_unknown(number)
        else TokenType.CONTROL if pieces.is_control(number)
        else TokenType.BYTE if pieces.is_byte(number)
        else TokenType.NORMAL
        for number in range(size)
    ]  # fmt: skip
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([pieces.id_to_piece(number) for number in range(size)])
    writer.add_token_scores([pieces.get_score(number) for number in range(size)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(pieces.bos_id())
    writer.add_eos_token_id(pieces.eos_id())
    writer.add_unk_token_id(pieces.unk_id())
    return size


def gguf_writer(path: Path, architecture: str = "llama") -> Any:
    """A writer of gguf-py, which knows nothing of this project."""
    from gguf import GGUFWriter

    return GGUFWriter(path, architecture)


def finish(writer: Any) -> None:
    """Writes everything."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def one_tensor(writer: Any) -> None:
    """A tensor, since files without any are none."""
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), dtype=np.float32))

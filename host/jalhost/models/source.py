"""Model files of all kinds that can be converted."""

import logging
from dataclasses import dataclass
from pathlib import Path

from jalgateware.contract.mailbox import PROMPT_CAPACITY
from jalhost.errors import ModelError
from jalhost.models.checkpoint import Checkpoint
from jalhost.models.tokenizer import BOS, EOS, Codec

MOST_CONTEXT = PROMPT_CAPACITY
"""Context of an image where nothing else is asked for, in tokens: one run's longest prompt. Tables
and KV cache for the 131,072 tokens that models are trained for would fill a board's DRAM."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A model file: tensors that are not read yet, the tokenizer, and what ends a text."""

    checkpoint: Checkpoint
    tokenizer: Codec
    stop_tokens: tuple[int, ...]


def model_name(path: Path) -> str:
    """A model's name where nobody says otherwise: its folder's, or its file's without suffix."""
    path = path.resolve()
    return path.name if path.is_dir() else path.stem


def open_checkpoint(path: Path) -> Checkpoint:
    """A model without its tokenizer: a GGUF file, a Hugging Face folder, a llama2.c checkpoint.

    Raises:
        ModelError: there is none, it is damaged, or none that can be read.
    """
    from jalhost.models.gguf_file import is_gguf
    from jalhost.models.gguf_model import read_gguf_model
    from jalhost.models.hf_model import read_hf_model
    from jalhost.models.image_file import is_image
    from jalhost.models.llama2c import open_llama2c

    if path.is_dir():
        return read_hf_model(path)
    if is_gguf(path):
        return read_gguf_model(path)[0]
    if is_image(path):
        raise ModelError(
            f"{path} is a safetensors file, not a model to convert",
            "a .jal image is converted already; of a Hugging Face model, name the folder",
        )
    return open_llama2c(path)


def open_source(path: Path, tokenizer: Path | None = None, context: int | None = None) -> Source:
    """A model with its tokenizer.

    Args:
        path: as of :func:`open_checkpoint`.
        tokenizer: llama2.c's ``tokenizer.bin``, where the model is one of llama2.c.
        context: most tokens of a text; None takes the model's own, up to MOST_CONTEXT.

    Raises:
        ModelError: model or tokenizer are missing, damaged, or do not fit each other.
    """
    from jalhost.models.gguf_file import is_gguf
    from jalhost.models.gguf_model import read_gguf_model
    from jalhost.models.gguf_tokenizer import gguf_tokenizer
    from jalhost.models.hf_model import read_hf_model
    from jalhost.models.hf_tokenizer import hf_tokenizer

    if not path.is_dir() and not is_gguf(path):
        return _open_llama2c(path, tokenizer, context)
    if tokenizer is not None:
        raise ModelError(f"{path} has its own tokenizer", "leave --tokenizer out")
    codec: Codec
    if path.is_dir():
        checkpoint = read_hf_model(path)
        codec, stops = hf_tokenizer(path, checkpoint.architecture.vocabulary)
    else:
        checkpoint, file = read_gguf_model(path)
        codec, stops = gguf_tokenizer(file, checkpoint.architecture.vocabulary)
    own = checkpoint.architecture.context
    if context is None and own > MOST_CONTEXT:
        _log.info("the context is %d of the model's %d tokens", MOST_CONTEXT, own)
    return Source(checkpoint.with_context(context, MOST_CONTEXT), codec, stops)


def _open_llama2c(path: Path, tokenizer: Path | None, context: int | None) -> Source:
    from jalhost.models.tokenizer import read_tokenizer

    checkpoint = open_checkpoint(path)
    if tokenizer is None:
        raise ModelError(f"{path} is a checkpoint without its tokenizer", "name it by --tokenizer")
    pieces = read_tokenizer(tokenizer, checkpoint.architecture.vocabulary)
    return Source(checkpoint.with_context(context, MOST_CONTEXT), pieces, (BOS, EOS))

"""Finds the model files that some tests run on."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
"""Top folder of the working copy."""


def models_folder() -> Path:
    """Returns the folder of model files: ``JALHOST_MODELS``, else ``../shared/models``."""
    configured = os.environ.get("JALHOST_MODELS")
    return Path(configured) if configured else REPOSITORY.parent / "shared" / "models"


def require_model(name: str) -> Path:
    """Returns the path of a model file; skips the calling test where the file is absent.

    Args:
        name: File name, for example ``stories260K.bin`` (checkpoint) or ``tok512.bin`` (its
            tokenizer), both as published with llama2.c.
    """
    path = models_folder() / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {path.parent} (set JALHOST_MODELS to its folder)")
    return path

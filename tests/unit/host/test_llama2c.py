"""Checkpoints of llama2.c."""

import dataclasses
import struct
from pathlib import Path

import numpy as np
import pytest

from jalhost.errors import ModelError
from jalhost.models.convert import read_model
from jalhost.models.llama2c import read_checkpoint
from jaltest.tiny import ARCHITECTURE, tiny_model, tiny_tokenizer, write_checkpoint, write_tokenizer


@pytest.mark.parametrize("tied", [True, False])
def test_tensors_are_found(tmp_path: Path, tied: bool) -> None:
    model = tiny_model(dataclasses.replace(ARCHITECTURE, tied=tied))
    path = tmp_path / "model.bin"
    write_checkpoint(model, path)
    back = read_checkpoint(path)
    assert back.architecture == model.architecture
    assert np.array_equal(back.classifier, model.classifier)
    assert np.array_equal(back.final_norm, model.final_norm)
    for mine, theirs in zip(model.layers, back.layers, strict=True):
        for field in dataclasses.fields(mine):
            assert np.array_equal(getattr(mine, field.name), getattr(theirs, field.name))


def test_published_checkpoint(stories260k: Path) -> None:
    a = read_checkpoint(stories260k).architecture
    assert (a.dim, a.layers, a.heads, a.kv_heads, a.vocabulary) == (64, 5, 8, 4, 512)
    assert a.parameters == 260_032


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "too short for a llama2.c checkpoint"),
        (b"not a model at all, only text that is long enough", "not a llama2.c checkpoint"),
        (struct.pack("<7i", 64, 96, 2, 5, 5, 259, 64), "not a llama2.c checkpoint"),
        (struct.pack("<7i", 64, 96, 2, 4, 3, 259, 64), "4 heads do not divide into 3 KV heads"),
        (struct.pack("<7i", 64, 96, 2, 4, 2, 259, 64) + bytes(100), "has 128 bytes where its"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=message):
        read_checkpoint(path)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = tiny_model()
    model.embedding[3, 3] = np.nan
    path = tmp_path / "model.bin"
    write_checkpoint(model, path)
    with pytest.raises(ModelError, match="embedding has values that are not finite"):
        read_checkpoint(path)


def test_inner_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = tiny_model()
    model.layers[1].down[0, 0] = np.inf
    write_checkpoint(model, tmp_path / "model.bin")
    write_tokenizer(tiny_tokenizer(), tmp_path / "tok.bin")
    with pytest.raises(ModelError, match=r"matrix 1\.down has values that are not finite"):
        read_model(tmp_path / "model.bin", tmp_path / "tok.bin")


def test_checkpoint_wants_its_tokenizer(tmp_path: Path) -> None:
    write_checkpoint(tiny_model(), tmp_path / "model.bin")
    with pytest.raises(ModelError, match=r"without its tokenizer \(name it by --tokenizer\)"):
        read_model(tmp_path / "model.bin", None)

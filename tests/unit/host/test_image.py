"""Images: what is written is read back, and nothing damaged passes."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from jalgateware.contract import isa
from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import Format
from jalgateware.golden.machine import Machine
from jalgateware.golden.sampler import Sampling
from jalhost.errors import ModelError, UsageError
from jalhost.models.blob import build_blob
from jalhost.models.convert import (
    classifier_bytes,
    convert,
    matrices,
    multiplications,
    prepare,
    token_bytes,
    weight_bytes,
)
from jalhost.models.drafting import with_drafts
from jalhost.models.image import GEOMETRY
from jalhost.models.image_file import load_image, save_image
from jalhost.models.image_layout import METADATA_KEY, seal
from jalhost.models.plan import Formats, free_matrices
from jaltest.tiny import ARCHITECTURE, mixed_formats, tiny_image, tiny_model, tiny_tokenizer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "tiny.jal"
    save_image(tiny_image(), target)
    return target


def rewrite(path: Path, **changes: object) -> None:
    """Changes metadata entries of an image and leaves all else as it is."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    sealed = json.loads(header["__metadata__"][METADATA_KEY])
    header["__metadata__"][METADATA_KEY] = seal(json.loads(sealed["content"]) | changes)
    new = json.dumps(header).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + data[8 + length :])


def plan_with(formats: object) -> dict[str, object]:
    """The tiny model's plan as metadata, with other formats."""
    return tiny_image().plan.as_dict() | {"formats": formats}


@pytest.mark.parametrize("formats", [{}, mixed_formats()])
def test_round_trip(path: Path, formats: Formats) -> None:
    image = tiny_image(formats=formats)
    save_image(image, path)
    back = load_image(path)
    assert (back.name, back.source, back.plan) == (image.name, image.source, image.plan)
    assert (back.tokenizer, back.stop_tokens) == (image.tokenizer, image.stop_tokens)
    for name, tensor in image.tensors().items():
        assert np.array_equal(tensor, back.tensors()[name]), name


def test_drafts_come_back(tmp_path: Path) -> None:
    image = with_drafts(tiny_image(), 200)
    save_image(image, tmp_path / "x.jal")
    back = load_image(tmp_path / "x.jal")
    assert np.array_equal(back.tensors()["drafts"], image.tensors()["drafts"])


def test_a_table_of_drafts_has_one_length(tmp_path: Path) -> None:
    image = dataclasses.replace(tiny_image(), drafts=np.zeros(5, dtype=np.uint32))
    save_image(image, tmp_path / "x.jal")
    with pytest.raises(ModelError, match=r"tensor drafts has shape \(5,\)"):
        load_image(tmp_path / "x.jal")


def test_same_image_same_bytes(path: Path, tmp_path: Path) -> None:
    save_image(tiny_image(), tmp_path / "again.jal")
    assert (tmp_path / "again.jal").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("place", [*range(0, 2000, 97), 10_000, 50_000, 90_000, -1])
def test_every_flipped_bit_is_found(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"damaged|not a \.jal image"):
        load_image(path)


@pytest.mark.parametrize("keep", [0, 4, 100, 5000, -1])
def test_truncated_file_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"damaged|not a \.jal image"):
        load_image(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.jal"
    text.write_text("once upon a time")
    with pytest.raises(ModelError, match=r"not a \.jal image \(convert models with"):
        load_image(text)
    other = tmp_path / "other.safetensors"
    save_file({"x": np.zeros(4, dtype=np.float32)}, other)
    with pytest.raises(ModelError, match=r"safetensors file, but not a \.jal image"):
        load_image(other)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read .*no\.jal: No such file"):
        load_image(tmp_path / "no.jal")
    with pytest.raises(ModelError, match="Is a directory"):
        load_image(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 99}, "has version 99, this version of jalhost reads 2"),
        ({"isa_version": 0}, "has isa_version 0"),
        ({"lanes": 4}, "has lanes 4"),
        ({"format": "other"}, "its format is 'other'"),
        ({"plan": {}}, "metadata is damaged"),
        ({"plan": plan_with({"0.query": "MXFP3"})}, "metadata is damaged: 'MXFP3'"),
        ({"plan": plan_with({"9.query": "MXFP4"})}, "metadata is damaged: a format for 9.query"),
        ({"plan": plan_with({"embedding": "MXFP4"})}, "damaged: a format for embedding"),
        ({"plan": plan_with({"0.query": "MXFP4"})}, "tensor tape has shape"),
        ({"plan": plan_with([])}, "metadata is damaged"),
        ({"sha256": {}}, "damaged: KeyError"),
        ({"stop_tokens": None}, "damaged"),
        ({"chunk_crc32": [1, 2]}, "does not match the CRCs of its chunks"),
    ],
)
def test_metadata_is_checked(path: Path, changes: dict[str, object], message: str) -> None:
    rewrite(path, **changes)
    with pytest.raises(ModelError, match=message):
        load_image(path)


def test_plan_of_another_model_is_refused(path: Path) -> None:
    plan = tiny_image().plan.as_dict()
    plan["architecture"]["hidden"] = 128
    rewrite(path, plan=plan)
    with pytest.raises(ModelError, match="tensor tape has shape"):
        load_image(path)


def test_interrupted_writing_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = path.read_bytes()

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_image(tiny_image(seed=2), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*: No such file or directory"):
        save_image(tiny_image(), tmp_path / "missing" / "x.jal")


@pytest.mark.parametrize("formats", [{}, mixed_formats()])
@pytest.mark.parametrize("lanes", [2, 4, 8, 32, 64])
def test_every_geometry_computes_the_same(lanes: int, formats: Formats) -> None:
    image = tiny_image(formats=formats)
    logits = []
    for config in (GEOMETRY, EngineConfig(lanes=lanes, mxfp4=True)):
        executable = prepare(image, config)
        machine = Machine(config, executable.memory, executable.program, ARCHITECTURE.context)
        for position, token in enumerate([1, 300 % ARCHITECTURE.vocabulary, 261]):
            machine.step(token, position, Sampling())
        logits.append(machine.logits)
    assert np.array_equal(logits[0], logits[1])


def test_program_and_header_carry_the_formats() -> None:
    formats = mixed_formats()
    image = tiny_image(formats=formats)
    program = [isa.decode(tuple(words)) for words in image.program.tolist()]
    found = [item.format for item in program if item.opcode is isa.Opcode.MATVEC]
    names = free_matrices(ARCHITECTURE)
    assert found == [formats.get(name, Format.MXINT8) for name in names]
    assert build_blob(image, GEOMETRY).header.formats == 0b11
    assert build_blob(tiny_image(), GEOMETRY).header.formats == 0b01
    assert [item.form for item in matrices(image)] == [Format.MXINT8, *found]


def test_mxfp4_needs_gateware_that_takes_it() -> None:
    image = tiny_image(formats={"1.down": Format.MXFP4})
    message = r"takes MXINT8 only \(build gateware with mxfp4 or convert .* --weights mxint8\)"
    for lanes in (8, 16):
        with pytest.raises(ModelError, match=message):
            prepare(image, EngineConfig(lanes=lanes))
        prepare(image, EngineConfig(lanes=lanes, mxfp4=True))
        prepare(tiny_image(), EngineConfig(lanes=lanes))


def test_mxfp4_halves_what_a_token_reads() -> None:
    wide, narrow = tiny_image(), tiny_image(formats=dict(mixed_formats()))
    blocks = sum(
        shape.rows * shape.blocks for shape in narrow.plan.matrices if shape.form is Format.MXFP4
    )
    assert weight_bytes(wide) - weight_bytes(narrow) == blocks * (33 - 17)
    assert multiplications(wide) - multiplications(narrow) == blocks * 32 // 2
    assert classifier_bytes(wide) == ARCHITECTURE.vocabulary * 2 * 33
    assert classifier_bytes(narrow) == ARCHITECTURE.vocabulary * 2 * 17
    assert token_bytes(wide, 3) == token_bytes(narrow, 3)


def test_matrices_come_back_from_the_tape() -> None:
    image = tiny_image()
    again = list(matrices(image))
    assert len(again) == 2 + 6 * ARCHITECTURE.layers
    assert again[0].rows == ARCHITECTURE.vocabulary


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"max_dim": 32}, "dim is 64, this gateware's limit is 32"),
        ({"max_heads": 2}, "heads is 4, this gateware's limit is 2"),
        ({"max_context": 32}, "context is 64, this gateware's limit is 32"),
        ({"max_instructions": 16}, "program length is 26, this gateware's limit is 16"),
    ],
)
def test_model_beyond_the_gateware_is_refused(limit: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        prepare(tiny_image(), EngineConfig(**limit))


def test_tokenizer_of_another_size_is_refused() -> None:
    model = tiny_model()
    tokenizer = tiny_tokenizer()
    short = type(tokenizer)(tokenizer.pieces[:-1], tokenizer.scores[:-1])
    with pytest.raises(ModelError, match="tokenizer has 273 tokens, the model has 274"):
        convert(model, short, "x")

"""Damaged model files: one clear error each, whatever is wrong with them."""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jalgateware.contract.isa import Format
from jalhost.errors import JalError
from jalhost.models.image_file import load_image
from jalhost.models.plan import uniform_formats
from jalhost.models.source import open_source
from jalhost.models.stream import Conversion, convert_to_file
from jaltest.model_files import write_folder, write_gguf
from jaltest.tiny import ARCHITECTURE, tiny_model
from jaltest.vocabularies import finish, gguf_writer, one_tensor

SHAPE = ARCHITECTURE.__class__(**ARCHITECTURE.as_dict() | {"vocabulary": 400})

MOST_MEMORY = 1 << 30

EACH = 50
"""Files of each random kind."""


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "x.gguf"
    write_gguf(tiny_model(SHAPE), path, "F16", 400)
    return path.read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "x"
    write_folder(tiny_model(SHAPE), path)
    return path


def copy(folder: Path, target: Path) -> Path:
    target.mkdir()
    for item in folder.iterdir():
        (target / item.name).write_bytes(item.read_bytes())
    return target


def convert(path: Path, output: Path) -> str | None:
    """What is wrong with a file; None where it could be converted."""
    try:
        source = open_source(path)
        formats = uniform_formats(source.checkpoint.architecture, Format.MXINT8, Format.MXINT8)
        job = Conversion(source.checkpoint, source.tokenizer, "x", formats, source.stop_tokens)
        convert_to_file(job, output, lambda _: None)
    except JalError as error:
        return str(error)
    return None


def memory(name: str) -> int:
    """Bytes of memory that the process has (VmRSS), or had at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(line.split()[1])


def attempt(path: Path, must_fail: bool) -> None:
    """Converts a file: either to a sound image, or to one line that says what is wrong."""
    output = path.parent / "out" / "x.jal"
    output.parent.mkdir(exist_ok=True)
    # What tests before this one took does not count: the kernel forgets the process's peak.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = memory("VmRSS")
    message = convert(path, output)
    if message is None:
        assert not must_fail, "a damaged file was converted"
        load_image(output)
        output.unlink()
    else:
        assert 10 < len(message) < 1000
    assert not list(output.parent.iterdir())
    assert memory("VmHWM") - before < MOST_MEMORY
    # Nothing appeared but what was asked for.
    assert {item.name for item in path.parent.iterdir()} <= {path.name, "out"}


@pytest.mark.parametrize("seed", range(EACH))
def test_truncated_gguf(tmp_path: Path, gguf: bytes, seed: int) -> None:
    length = random.Random(seed).randrange(len(gguf) - 64)
    (tmp_path / "x.gguf").write_bytes(gguf[:length])
    attempt(tmp_path / "x.gguf", must_fail=True)


@pytest.mark.parametrize("seed", range(EACH))
def test_flipped_bits_in_gguf(tmp_path: Path, gguf: bytes, seed: int) -> None:
    source = random.Random(seed)
    data = bytearray(gguf)
    for _ in range(source.randrange(1, 5)):
        data[source.randrange(20_000)] ^= 1 << source.randrange(8)
    (tmp_path / "x.gguf").write_bytes(data)
    attempt(tmp_path / "x.gguf", must_fail=False)  # a letter of a token may have changed


@pytest.mark.parametrize("seed", range(EACH))
def test_huge_numbers_in_gguf(tmp_path: Path, gguf: bytes, seed: int) -> None:
    source = random.Random(seed)
    data = bytearray(gguf)
    place = source.choice((8, 16, 24, source.randrange(24, 900)))
    huge = source.choice((2**63 - 1, 2**64 - 1, 2**40, 2**32, 2**31, len(gguf)))
    data[place : place + 8] = struct.pack("<Q", huge)
    (tmp_path / "x.gguf").write_bytes(data)
    attempt(tmp_path / "x.gguf", must_fail=place in (8, 16, 24))


@pytest.mark.parametrize("seed", range(EACH))
def test_damaged_safetensors(tmp_path: Path, folder: Path, seed: int) -> None:
    source = random.Random(seed)
    path = copy(folder, tmp_path / "x")
    data = bytearray((path / "model.safetensors").read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    if seed % 2:
        del data[source.randrange(len(data) - 4) :]
    else:
        data[source.randrange(header)] ^= 1 << source.randrange(8)
    (path / "model.safetensors").write_bytes(data)
    attempt(path, must_fail=bool(seed % 2))


@pytest.mark.parametrize("seed", range(EACH))
def test_damaged_json(tmp_path: Path, folder: Path, seed: int) -> None:
    source = random.Random(seed)
    path = copy(folder, tmp_path / "x")
    name = source.choice(("config.json", "tokenizer.json", "tokenizer_config.json"))
    data = bytearray((path / name).read_bytes())
    if seed % 2:
        del data[source.randrange(len(data) - 1) :]
    else:
        for _ in range(3):
            data[source.randrange(min(len(data), 4000))] ^= 1 << source.randrange(8)
    (path / name).write_bytes(data)
    attempt(path, must_fail=bool(seed % 2))


VALUES: list[Any] = [None, -1, 0, 2**31, 2**63, 1e300, "x", [], {}, [[[]]], True, float("nan")]


@pytest.mark.parametrize("key", [
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim",
    "num_key_value_heads", "vocab_size", "max_position_embeddings", "rms_norm_eps", "rope_theta",
    "rope_scaling", "hidden_act", "model_type", "layer_types",
])  # fmt: skip
def test_strange_values_in_config(tmp_path: Path, folder: Path, key: str) -> None:
    for index, value in enumerate(VALUES):
        path = copy(folder, tmp_path / str(index) / "x") if _made(tmp_path / str(index)) else None
        assert path
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(config | {key: value}))
        attempt(path, must_fail=False)


def _made(folder: Path) -> bool:
    folder.mkdir()
    return True


def entries(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header


def rewrite(path: Path, header: Any, text: str | None = None) -> None:
    data = path.read_bytes()
    body = data[8 + int.from_bytes(data[:8], "little") :]
    new = (json.dumps(header) if text is None else text).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + body)


QUERY = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"


def overlap(header: dict[str, Any]) -> None:
    header["model.layers.1.self_attn.q_proj.weight"] = header[QUERY]


def shape(header: dict[str, Any]) -> None:
    header[QUERY]["shape"].reverse()
    header[QUERY]["shape"][0] *= 2


def huge(header: dict[str, Any]) -> None:
    header[QUERY]["shape"] = [2**40, 2**40]


def negative(header: dict[str, Any]) -> None:
    header[QUERY]["data_offsets"] = [-8, 8]


def beyond(header: dict[str, Any]) -> None:
    header[NORM]["data_offsets"] = [2**62, 2**62 + 256]


def backwards(header: dict[str, Any]) -> None:
    header[NORM]["data_offsets"].reverse()


def foreign(header: dict[str, Any]) -> None:
    header[QUERY]["dtype"] = "F8_E4M3"


def missing(header: dict[str, Any]) -> None:
    del header[NORM]


def strange(header: dict[str, Any]) -> None:
    header["model.layers.0.mlp.experts.0.weight"] = header[NORM]


def empty(header: dict[str, Any]) -> None:
    header[QUERY] = {}


@pytest.mark.parametrize(
    "change",
    [overlap, shape, huge, negative, beyond, backwards, foreign, missing, strange, empty],
)
def test_wrong_entries_in_safetensors(
    tmp_path: Path, folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    path = copy(folder, tmp_path / "x")
    header = entries(path / "model.safetensors")
    change(header)
    rewrite(path / "model.safetensors", header)
    attempt(path, must_fail=True)


def test_texts_that_are_no_headers(tmp_path: Path, folder: Path) -> None:
    texts = ["", "[]", "null", "1", "{" * 1000, "[" * 200_000, '{"a":1,"a":2}', '{"a":{}}', "\x00"]
    for index, text in enumerate(texts):
        _made(tmp_path / str(index))
        path = copy(folder, tmp_path / str(index) / "x")
        rewrite(path / "model.safetensors", None, text)
        attempt(path, must_fail=True)


def test_an_index_that_leads_elsewhere(tmp_path: Path, folder: Path) -> None:
    maps = [
        {QUERY: "../../secret"}, {QUERY: "/etc/passwd"}, {QUERY: "no.safetensors"}, {QUERY: 1}, [],
        {"none": "model.safetensors"}, {QUERY: ".."}, {QUERY: ""},
    ]  # fmt: skip
    for index, places in enumerate(maps):
        _made(tmp_path / str(index))
        path = copy(folder, tmp_path / str(index) / "x")
        name = path / "model.safetensors.index.json"
        name.write_text(json.dumps({"weight_map": places}))
        attempt(path, must_fail=True)


def test_tensors_that_stand_twice_or_overlap(tmp_path: Path, gguf: bytes) -> None:
    name = b"blk.1.attn_q.weight"
    assert gguf.count(name) == 1
    (tmp_path / "x.gguf").write_bytes(gguf.replace(name, b"blk.0.attn_q.weight"))
    attempt(tmp_path / "x.gguf", must_fail=True)
    place = gguf.index(name) + len(name) + 4 + 16 + 4
    data = bytearray(gguf)
    data[place : place + 8] = bytes(8)
    (tmp_path / "x.gguf").write_bytes(data)
    attempt(tmp_path / "x.gguf", must_fail=True)


def test_arrays_of_arrays(tmp_path: Path) -> None:
    writer = gguf_writer(tmp_path / "x.gguf")
    writer.add_array("nested", [[1, 2], [3]])
    one_tensor(writer)
    finish(writer)
    attempt(tmp_path / "x.gguf", must_fail=True)


@pytest.mark.parametrize(
    "start", [b"", b"GGUF", b"GGUF\x03\0\0\0", b"GGUF\0\0\0\x03", b"GGJT", b"{}"]
)
def test_other_files(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(start)
    attempt(tmp_path / "x.gguf", must_fail=True)
    (tmp_path / "x.gguf").write_bytes(start.ljust(4096, b"\xff"))
    attempt(tmp_path / "x.gguf", must_fail=True)

"""Model files become what their writers meant: tensors, numbers, images."""

import dataclasses
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jalgateware.contract.isa import Format
from jalhost.errors import ModelError
from jalhost.models.architecture import Model
from jalhost.models.compiler import check_limits
from jalhost.models.convert import assemble, convert
from jalhost.models.drafting import with_drafts
from jalhost.models.image import GEOMETRY
from jalhost.models.image_file import load_image, save_image
from jalhost.models.plan import MXINT8_ONLY, uniform_formats
from jalhost.models.quality import measure_program, sample_texts
from jalhost.models.reference import Reference, forward
from jalhost.models.rope import frequencies
from jalhost.models.source import MOST_CONTEXT, open_checkpoint, open_source
from jalhost.models.stream import Conversion, convert_to_file
from jaltest.model_files import SIZES, add_tensor, gguf_tensors, write_folder, write_gguf
from jaltest.models import REPOSITORY
from jaltest.tiny import ARCHITECTURE as TINY
from jaltest.tiny import tiny_model, tiny_tokenizer, write_tokenizer
from jaltest.vocabularies import finish, gguf_writer

HF = REPOSITORY / "tests" / "data" / "hf"
FAMILIES = ("llama", "llama-untied", "qwen2", "qwen3")
WRITER = REPOSITORY / "tests" / "jaltest" / "hf_writer.py"

KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K", "MXFP4")


def assert_same(mine: Model, theirs: Model) -> None:
    assert dataclasses.replace(mine.architecture, epsilon=1e-5) == theirs.architecture
    assert abs(mine.architecture.epsilon / theirs.architecture.epsilon - 1) < 1e-6
    assert np.array_equal(mine.embedding, theirs.embedding)
    assert np.array_equal(mine.classifier, theirs.classifier)
    assert np.array_equal(mine.final_norm, theirs.final_norm)
    for one, other in zip(mine.layers, theirs.layers, strict=True):
        for field in dataclasses.fields(one):
            assert np.array_equal(getattr(one, field.name), getattr(other, field.name)), field.name


def check_logits(folder: Path) -> None:
    model = open_checkpoint(folder).load()
    tokens, wanted = np.load(folder / "tokens.npy").tolist(), np.load(folder / "logits.npy")
    assert np.abs(forward(model, tokens) - wanted).max() < 1e-3
    reference = Reference(model)
    steps = np.stack([reference.step([token], place)[0] for place, token in enumerate(tokens)])
    assert np.abs(steps - wanted).max() < 1e-3
    assert np.abs(wanted).max() > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(family: str) -> None:
    check_logits(HF / family)


def test_logits_of_other_weights_are_those_of_transformers(tmp_path: Path) -> None:
    python = os.environ.get("JALHOST_HF_PYTHON")
    if not python:
        pytest.skip("JALHOST_HF_PYTHON does not name a Python that has transformers")
    subprocess.run([python, str(WRITER), str(tmp_path), "2"], check=True, capture_output=True)
    for family in FAMILIES:
        check_logits(tmp_path / family)


@pytest.mark.parametrize("family", FAMILIES)
def test_engine_keeps_the_perplexity(family: str) -> None:
    model = open_checkpoint(HF / family).load()
    _, executable = assemble(model, MXINT8_ONLY, GEOMETRY)
    texts = sample_texts(model, sequences=2, length=200)
    quality = measure_program(model, executable, texts, GEOMETRY)
    assert quality.tokens == 400
    assert 0.98 < quality.ratio < 1.02


@pytest.mark.parametrize(
    ("family", "option", "message"),
    [
        ("qwen2", "qkv_bias", r"biases on queries, keys and values, this gateware has none"),
        ("qwen3", "qk_norm", r"norms over the heads of queries and keys, this gateware has none"),
    ],
)
def test_gateware_that_lacks_a_part_is_told(family: str, option: str, message: str) -> None:
    model = open_checkpoint(HF / family).load()
    config = dataclasses.replace(GEOMETRY, **{option: False})
    with pytest.raises(ModelError, match=rf"{message} \(build gateware with {option}"):
        check_limits(assemble(model, MXINT8_ONLY, GEOMETRY)[0], config)


def test_biases_of_zero_are_no_obstacle(tmp_path: Path) -> None:
    model = open_checkpoint(HF / "qwen2").load()
    layers = [
        dataclasses.replace(
            layer,
            query_bias=np.zeros_like(layer.query_bias),
            key_bias=np.zeros_like(layer.key_bias),
            value_bias=np.zeros_like(layer.value_bias),
        )
        for layer in model.layers
    ]
    plan, _ = assemble(dataclasses.replace(model, layers=layers), MXINT8_ONLY, GEOMETRY)
    assert not plan.architecture.qkv_bias


@pytest.mark.parametrize("kind", KINDS)
def test_gguf_tensors(tmp_path: Path, kind: str) -> None:
    from gguf import GGUFReader
    from gguf.quants import dequantize

    model = tiny_model(SIZES)
    write_gguf(model, tmp_path / "x.gguf", kind)
    source = open_source(tmp_path / "x.gguf")
    mine = source.checkpoint.load()
    if kind == "F32":
        assert_same(mine, model)
    named = gguf_tensors(mine)
    for tensor in GGUFReader(tmp_path / "x.gguf").tensors:
        values = np.asarray(tensor.data)
        if kind not in ("F32", "F16") and values.ndim == 2:
            values = dequantize(values, tensor.tensor_type)
        assert np.array_equal(named[tensor.name], values.astype(np.float32)), tensor.name
    assert source.tokenizer.encode("the dog")[0] == source.tokenizer.bos
    assert len(source.stop_tokens) == 1


def test_folder_tensors(tmp_path: Path) -> None:
    model = tiny_model(SIZES)
    write_folder(model, tmp_path / "x")
    assert_same(open_checkpoint(tmp_path / "x").load(), model)


def test_gguf_keeps_llama3_scaling_as_divisors(tmp_path: Path) -> None:
    divisors = tuple(float(item) for item in np.linspace(1, 8, 32, dtype=np.float32))
    writer = gguf_writer(tmp_path / "x.gguf")
    from jaltest.model_files import add_sizes

    model = tiny_model(SIZES)
    add_sizes(writer, SIZES)
    for name, values in gguf_tensors(model).items():
        add_tensor(writer, name, values, "F32")
    writer.add_tensor("rope_freqs.weight", np.array(divisors, dtype=np.float32))
    finish(writer)
    a = open_checkpoint(tmp_path / "x.gguf").architecture
    assert a.rope_divisors == divisors
    plain = 10000.0 ** -(np.arange(32) / 32)
    assert np.allclose(frequencies(a), plain / np.array(divisors), rtol=1e-12)


def job(path: Path, form: Format, drafts: Any = None) -> Conversion:
    source = open_source(path)
    formats = uniform_formats(source.checkpoint.architecture, form, Format.MXINT8)
    return Conversion(source.checkpoint, source.tokenizer, "x", formats, source.stop_tokens, drafts)


@pytest.mark.parametrize(
    ("family", "part"), [("llama", None), ("qwen2", "qkv_bias"), ("qwen3", "qk_norm")]
)
@pytest.mark.parametrize(("form", "drafts"), [(Format.MXINT8, 0), (Format.MXFP4, 60)])
def test_streaming_gives_the_same_image(
    tmp_path: Path, form: Format, drafts: int, family: str, part: str | None
) -> None:
    wanted: dict[str, Any] = {part: True} if part else {}
    a = dataclasses.replace(SIZES, **wanted)
    write_gguf(tiny_model(a), tmp_path / "x.gguf", "Q8_0", family=family)
    work = job(tmp_path / "x.gguf", form, (lambda i: with_drafts(i, drafts)) if drafts else None)
    lines: list[str] = []
    convert_to_file(work, tmp_path / "x.jal", lines.append)
    assert lines[-1].startswith("100% converted")
    model = work.checkpoint.load()
    image = convert(model, work.tokenizer, "x", work.formats)
    image = dataclasses.replace(image, stop_tokens=work.stop_tokens)
    save_image(with_drafts(image, drafts), tmp_path / "y.jal")
    assert (tmp_path / "x.jal").read_bytes() == (tmp_path / "y.jal").read_bytes()
    assert load_image(tmp_path / "x.jal").tokenizer == work.tokenizer
    assert sorted(item.name for item in tmp_path.iterdir()) == ["x.gguf", "x.jal", "y.jal"]


GROWTH = """
import resource, sys
from pathlib import Path
import jalhost.models.stream as stream
from jalhost.models.plan import MXINT8_ONLY
from jalhost.models.source import open_source

model, tokenizer, output = map(Path, sys.argv[1:])
source = open_source(model, tokenizer)
job = stream.Conversion(source.checkpoint, source.tokenizer, "x", MXINT8_ONLY, source.stop_tokens)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stream.convert_to_file(job, output, lambda _: None)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def test_conversion_takes_little_memory(tmp_path: Path) -> None:
    # A file of zeros is as good as any, and takes no room on the disk.
    a = dataclasses.replace(TINY, dim=512, hidden=2048, layers=8, heads=8, kv_heads=8, head_dim=64)
    path = tmp_path / "x.bin"
    names = ("dim", "hidden", "layers", "heads", "kv_heads", "vocabulary", "context")
    path.write_bytes(struct.pack("<7i", *(getattr(a, name) for name in names)))
    size = 28 + 4 * (a.parameters + a.context * a.head_dim)
    os.truncate(path, size)
    write_tokenizer(tiny_tokenizer(), tmp_path / "tok.bin")
    files = [str(path), str(tmp_path / "tok.bin"), str(tmp_path / "x.jal")]
    run = subprocess.run(
        [sys.executable, "-c", GROWTH, *files], capture_output=True, text=True, check=True
    )
    assert size > 128 << 20
    assert (tmp_path / "x.jal").stat().st_size > a.parameters
    assert int(run.stdout) < 32 << 20


def test_interrupted_conversion_leaves_nothing(tmp_path: Path) -> None:
    write_gguf(tiny_model(SIZES), tmp_path / "x.gguf")

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_to_file(job(tmp_path / "x.gguf", Format.MXINT8), tmp_path / "x.jal", interrupt)
    assert [item.name for item in tmp_path.iterdir()] == ["x.gguf"]


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = tiny_model(SIZES)
    model.layers[1].down[0, 0] = np.inf
    write_gguf(model, tmp_path / "x.gguf")
    with pytest.raises(ModelError, match=r"matrix 1\.down has values that are not finite"):
        convert_to_file(job(tmp_path / "x.gguf", Format.MXINT8), tmp_path / "x.jal", print)
    assert not (tmp_path / "x.jal").exists()


def test_context_of_an_image(tmp_path: Path) -> None:
    large = dataclasses.replace(SIZES, context=131072)
    write_gguf(tiny_model(large), tmp_path / "x.gguf")
    assert open_source(tmp_path / "x.gguf").checkpoint.architecture.context == MOST_CONTEXT
    assert open_source(tmp_path / "x.gguf", None, 4096).checkpoint.architecture.context == 4096
    with pytest.raises(ModelError, match="a context of 131073 is asked for, the model has 131072"):
        open_source(tmp_path / "x.gguf", None, 131073)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"model_type": "mamba"}, "the type 'mamba' cannot be converted"),
        (
            {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
            "a sliding window of 8",
        ),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2}}, "scales RoPE by 'yarn'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2}}, "llama3 RoPE scaling is incomp"),
        ({"num_hidden_layers": 3}, r"no tensor for 2\.attention_norm"),
        ({"hidden_size": 128}, r"tensor embedding has shape \(600, 256\)"),
        ({"quantization_config": {}}, "quantised already"),
        ({"vocab_size": "many"}, "vocab_size is 'many' where a whole number belongs"),
        ({"head_dim": 63}, "query has shape|head size 63 is odd"),
    ],
)
def test_what_cannot_run_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_folder(tiny_model(SIZES), tmp_path / "x")
    path = tmp_path / "x" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=message):
        open_checkpoint(tmp_path / "x")


def leave_out(*names: str) -> Any:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def as_pytorch(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def as_shards(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (leave_out("config.json"), r"is no model's folder: it has no config\.json"),
        (leave_out("tokenizer.json"), r"has no tokenizer\.json \(.*save_pretrained"),
        (leave_out("model.safetensors"), r"has no model\.safetensors \(download it again"),
        (as_pytorch, "PyTorch's files cannot be read"),
        (as_shards, r"index\.json is missing"),
    ],
)
def test_what_a_folder_lacks_is_named(tmp_path: Path, change: Any, message: str) -> None:
    write_folder(tiny_model(SIZES), tmp_path / "x")
    change(tmp_path / "x")
    with pytest.raises(ModelError, match=message):
        open_source(tmp_path / "x")


def test_files_that_belong_to_folders_are_told(tmp_path: Path) -> None:
    write_folder(tiny_model(SIZES), tmp_path / "x")
    for opened in (open_source, open_checkpoint):
        with pytest.raises(ModelError, match="of a Hugging Face model, name the folder"):
            opened(tmp_path / "x" / "model.safetensors")

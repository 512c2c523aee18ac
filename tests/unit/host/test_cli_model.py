"""Formats and texts on the command line of ``jalhost model``."""

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from jalgateware.contract.isa import Format
from jalhost.models.image import Image
from jalhost.models.image_file import load_image
from jalhost.models.plan import CLASSIFIER, free_matrices
from jaltest.texts import JALHOST
from jaltest.tiny import ARCHITECTURE, tiny_model, tiny_tokenizer, write_checkpoint, write_tokenizer


def model(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*JALHOST, "model", *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as checkpoint with tokenizer (x.bin, tok.bin) and as images."""
    path = tmp_path_factory.mktemp("models")
    write_checkpoint(tiny_model(), path / "x.bin")
    write_tokenizer(tiny_tokenizer(), path / "tok.bin")
    assert convert(path, "mxint8.jal").returncode == 0
    return path


def convert(folder: Path, output: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return model(
        "convert", str(folder / "x.bin"), "--tokenizer", str(folder / "tok.bin"),
        "--draft-tokens", "0",
        "-o", str(folder / output), *arguments,
    )  # fmt: skip


def evaluate(folder: Path, image: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return model("eval", str(folder / image), "--reference", str(folder / "x.bin"), *arguments)


def formats(image: Image) -> dict[str, Format]:
    return {shape.name: shape.form for shape in image.plan.matrices}


def assert_fails(run: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert run.returncode == 2, run.stderr
    last = run.stderr.splitlines()[-1]
    assert last.startswith("jalhost: error: ")
    for part in parts:
        assert part in last
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


@pytest.mark.parametrize(
    ("options", "weights", "classifier"),
    [
        ([], Format.MXINT8, Format.MXINT8),
        (["--classifier=mxfp4"], Format.MXINT8, Format.MXFP4),
        (["--weights=mxfp4"], Format.MXFP4, Format.MXINT8),
        (["--weights=mxfp4", "--classifier=mxfp4"], Format.MXFP4, Format.MXFP4),
    ],
)
def test_convert_to_a_format(
    folder: Path, options: list[str], weights: Format, classifier: Format
) -> None:
    run = convert(folder, "y.jal", *options)
    assert run.returncode == 0, run.stderr
    found = formats(load_image(folder / "y.jal"))
    layers = free_matrices(ARCHITECTURE)[:-1]
    assert found == {
        "embedding": Format.MXINT8,
        **dict.fromkeys(layers, weights),
        CLASSIFIER: classifier,
    }


def test_convert_below_a_traffic(folder: Path) -> None:
    run = convert(folder, "y.jal", "--weights=auto", "--max-bytes-per-token=70000")
    assert run.returncode == 0, run.stderr
    lines = run.stderr.splitlines()
    assert lines[0] == "sampling the text to measure on"
    assert "matrices in MXFP4, " in lines[-2]
    assert "mean KL divergence 0.0" in lines[-2]
    facts = json.loads(model("info", str(folder / "y.jal"), "--json").stdout)
    assert facts["bytes_per_token"] <= 70_000
    assert f"{facts['bytes_per_token']:,} of them per token" in lines[-1]
    kinds = facts["matrices"]
    assert list(kinds) == [
        "embedding", "query", "key", "value", "output", "gate_up", "down", "classifier",
    ]  # fmt: skip
    assert kinds["embedding"] == {"mxint8": 1, "mxfp4": 0, "bytes_per_token": 66}
    assert kinds["query"]["mxint8"] + kinds["query"]["mxfp4"] == ARCHITECTURE.layers
    assert sum(counts["mxfp4"] for counts in kinds.values()) == int(lines[-2].split()[0])


def test_convert_below_a_divergence(folder: Path) -> None:
    run = convert(folder, "y.jal", "--weights=auto", "--max-kl=0.03", "--classifier=mxint8")
    assert run.returncode == 0, run.stderr
    assert formats(load_image(folder / "y.jal"))[CLASSIFIER] is Format.MXINT8
    quality = json.loads(evaluate(folder, "y.jal", "--json").stdout)
    assert quality["divergence"] <= 0.03
    assert f"mean KL divergence {quality['divergence']:.5f} on 1,024 tokens" in run.stderr


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--weights=mxfp5"], ["'--weights'", "mxfp5"]),
        (["--weights=auto"], ["needs one target", "--max-bytes-per-token or --max-kl"]),
        (["--weights=auto", "--max-kl=1", "--max-bytes-per-token=9"], ["needs one target"]),
        (["--max-kl=1"], ["need --weights auto"]),
        (["--weights=mxfp4", "--max-bytes-per-token=9"], ["need --weights auto"]),
        (["--weights=auto", "--max-kl=0"], ["--max-kl is above 0, not 0"]),
        (["--weights=auto", "--max-kl=nan"], ["--max-kl is above 0, not nan"]),
        (["--weights=auto", "--max-bytes-per-token=9"], ["no choice", "MXFP4 wherever there is"]),
        (["--weights=auto", "--max-kl=1e-9"], ["no choice of formats", "MXINT8 wherever there"]),
    ],
)
def test_bad_conversions(folder: Path, options: list[str], parts: list[str]) -> None:
    assert_fails(convert(folder, "never.jal", *options), *parts)
    assert not (folder / "never.jal").exists()


def test_info_for_people(folder: Path) -> None:
    assert convert(folder, "y.jal", "--classifier=mxfp4").returncode == 0
    lines = model("info", str(folder / "y.jal")).stdout.splitlines()
    rows = dict(line.split(None, 1) for line in lines)
    assert rows["classifier"] == f"1 x MXFP4: {ARCHITECTURE.vocabulary * 2 * 17:,} bytes per token"
    assert rows["down"] == f"2 x MXINT8: {2 * 64 * 3 * 33:,} bytes per token"


def test_eval_on_a_text(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the one on the other, then a note " * 10, encoding="utf-8")
    runs = {
        length: json.loads(
            evaluate(folder, "mxint8.jal", f"--text={text}", *options, "--json").stdout
        )
        for length, options in (("context", []), ("twenty", ["--length=20", "--sequences=3"]))
    }
    count = len(tiny_tokenizer().encode(text.read_text())) - 1
    whole, part = runs["context"], runs["twenty"]
    assert (whole["tokens"], whole["sequences"]) == (count, -(-count // ARCHITECTURE.context))
    assert (part["tokens"], part["sequences"], part["text"]) == (60, 3, str(text))
    for facts in runs.values():
        assert 0.9 < facts["perplexity_ratio"] < 1.1
        assert facts["agreement"] > 0.9
        assert 0 < facts["divergence"] < 0.05


@pytest.mark.parametrize(
    ("content", "options", "parts"),
    [
        (b"", [], ["is empty"]),
        (b" \n\n", [], ["is empty"]),
        (b"caf\xe9 au lait", [], ["is not valid UTF-8: byte 3 is 0xe9"]),
        (b"the", ["--length=20"], ["the text has 1 token,", "at least 20", "smaller --length"]),
        (b"the one " * 99, ["--length=65"], ["65 tokens exceed the context of 64"]),
        (b"the one " * 99, ["--length=1"], ["'--length'"]),
        (None, [], ["cannot read", "No such file"]),
    ],
)
def test_bad_texts(
    folder: Path, tmp_path: Path, content: bytes | None, options: list[str], parts: list[str]
) -> None:
    text = tmp_path / "text.txt"
    if content is not None:
        text.write_bytes(content)
    assert_fails(evaluate(folder, "mxint8.jal", f"--text={text}", *options), *parts)


def test_a_model_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes((folder / "x.bin").read_bytes())
    (tmp_path / "tok.bin").write_bytes((folder / "tok.bin").read_bytes())
    before = (tmp_path / "x.bin").read_bytes()
    assert_fails(convert(tmp_path, "x.bin"), "x.bin is the model itself", "--output")
    assert (tmp_path / "x.bin").read_bytes() == before


def test_eval_against_another_model(folder: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(ARCHITECTURE, vocabulary=ARCHITECTURE.vocabulary - 1)
    write_checkpoint(tiny_model(other), tmp_path / "y.bin")
    run = model("eval", str(folder / "mxint8.jal"), "--reference", str(tmp_path / "y.bin"))
    assert run.returncode == 3
    assert "y.bin has" in run.stderr
    assert "--reference is what the image was converted from" in run.stderr

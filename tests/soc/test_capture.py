"""Waveforms of a run, by the command line: the engine's own signals, and where the trigger is."""

import csv
import json
import re
import subprocess
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest

from jalhost.engine.records import CaptureRecord
from jalhost.models.architecture import Architecture
from jalhost.models.image_file import save_image
from jaltest.little import LITTLE
from jaltest.texts import JALHOST
from jaltest.tiny import ARCHITECTURE, tiny_image

pytestmark = [pytest.mark.sim, pytest.mark.slow]

SHAPE = Architecture(
    dim=64, hidden=64, layers=1, heads=1, kv_heads=1, head_dim=64,
    vocabulary=ARCHITECTURE.vocabulary, context=16,
)  # fmt: skip
"""Fits the little engine."""

ENGINE = ",".join(f"{name}={str(value).lower()}" for name, value in asdict(LITTLE).items())

TARGET = ["--target", "sim:eth", "--gateware", f"{ENGINE},scope=true"]
"""The simulator that LiteX's own tools are tried on."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "little.jal"
    save_image(tiny_image(SHAPE), path)
    return path


def capture(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*JALHOST, "capture", *arguments, *TARGET], capture_output=True, text=True, check=False
    )


def samples(path: Path, name: str) -> list[int]:
    """A signal's samples: LiteScope writes each of them twice, as its clock has two halves."""
    rows = list(csv.DictReader(path.read_text().splitlines(), skipinitialspace=True))[1::2]
    return [int(row[f"scope_{name}"], 2) for row in rows]


def test_a_run_is_caught_at_its_trigger(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.csv"
    options = ["-t", "loop_run=1", "-t", "rising:pass_start", "--offset", "20", "--json"]
    run = capture(*options, "-o", str(output), "--prompt", "the one", "--model", str(model))
    assert run.returncode == 0, run.stderr
    record = CaptureRecord.model_validate_json(run.stdout)
    assert (record.samples, record.offset, record.samplerate) == (256, 20, 100e6)
    starts = samples(output, "pass_start")
    assert len(starts) == 256
    assert starts[:21] == [0] * 20 + [1]
    # The pass begins, and its first instruction is taken; nothing else starts one meanwhile.
    running = samples(output, "loop_run")
    assert running[21:].count(1) > 100
    assert samples(output, "trig").index(1) == 20


def test_files_of_other_programs_say_how_long_a_sample_is(model: Path, tmp_path: Path) -> None:
    engine = ["--prompt", "the one", "--model", str(model), "--length", "64"]
    run = capture("-t", "loop_run=1,loop_idle=0b0", "-o", str(tmp_path / "x.vcd"), *engine)
    assert run.returncode == 0, run.stderr
    text = (tmp_path / "x.vcd").read_text()
    assert "$timescale 5000ps $end" in text  # half a cycle
    assert re.search(r"\$var wire 1 \S+ scope_loop_run \$end", text)
    beside = tmp_path / "x"
    beside.mkdir()
    (beside / "kept").touch()
    run = capture("-o", str(tmp_path / "x.sr"), "--subsampling", "64", "--length", "32")
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(tmp_path / "x.sr") as archive:
        metadata = archive.read("metadata").decode()
        assert "samplerate=3125000 Hz" in metadata
        assert "=scope_loop_run" in metadata
        assert len(archive.read("logic-1-1")) == 64 * int(
            metadata.rpartition("unitsize=")[2].split()[0]
        )
    assert (beside / "kept").exists()


def test_what_does_not_come_is_one_line(tmp_path: Path) -> None:
    output = tmp_path / "x.vcd"
    run = capture("-t", "pass_start", "-o", str(output), "--timeout", "0.2")
    assert run.returncode == 5
    errors = [line for line in run.stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "the trigger did not come within 0.2 s (--prompt runs the engine" in errors[0]
    assert not list(tmp_path.iterdir())
    assert json.loads(capture("--list", "--json").stdout)["signals"]

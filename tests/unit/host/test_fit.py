"""Whether a model fits a board, and what would change that."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import Format
from jalgateware.contract.memory_map import IMAGE_OFFSET
from jalhost.engine.fit import fit, memory
from jalhost.models.architecture import Architecture
from jalhost.models.blob import build_blob
from jalhost.models.drafting import with_drafts
from jalhost.models.plan import Plan, uniform_formats, without_mxint8
from jaltest.model_files import SIZES, write_folder
from jaltest.models import REPOSITORY
from jaltest.texts import JALHOST
from jaltest.tiny import tiny_image, tiny_model

LARGE = EngineConfig(
    max_dim=2048, max_hidden=8192, max_heads=32, max_kv_heads=8, max_context=2048, mxfp4=True
)

LLAMA_1B = Architecture(
    dim=2048, hidden=8192, layers=16, heads=32, kv_heads=8, head_dim=64, vocabulary=128256,
    context=2048,
)  # fmt: skip
"""Llama 3.2 1B."""

SMOL = replace(LLAMA_1B, dim=576, hidden=1536, layers=30, heads=9, kv_heads=3, vocabulary=49152)
"""SmolLM2 135M."""


def board(dram: int = 1 << 28, peak: float = 6e8) -> dict[str, Any]:
    return {"dram": {"bytes": dram}, "peak_bytes_per_s": peak}


def test_what_fits_has_its_roofline() -> None:
    plan = tiny_image().plan
    result = fit(plan, EngineConfig(), board())
    assert result.fits
    needed = plan.weight_bytes() + plan.token_bytes(0)
    assert result.tokens_per_s[0] == 6e8 / needed
    assert result.tokens_per_s[1] < result.tokens_per_s[0]


def test_memory_is_what_a_device_takes() -> None:
    image = with_drafts(tiny_image(), 100)
    for lanes in (2, 16, 64):
        config = EngineConfig(lanes=lanes)
        blob = build_blob(image, config)
        assert sum(memory(image.plan, config)) >= blob.memory_bytes
        assert sum(memory(image.plan, config)) - blob.memory_bytes <= 4096


def test_each_limit_says_what_would_change_it() -> None:
    result = fit(Plan(SMOL, ()), EngineConfig(), board())
    changes = {item.what: (item.value, item.limit, item.change) for item in result.problems}
    assert changes == {
        "dim": (576, 512, "gateware with max_dim=576"),
        "context": (
            2048, 1024, "--context 1024 at conversion, or gateware with max_context=2048"
        ),
    }  # fmt: skip
    config = EngineConfig(max_dim=576, max_context=2048)
    assert fit(Plan(SMOL, ()), config, board()).fits


def test_dram_decides_on_the_context() -> None:
    config = EngineConfig(max_dim=576, max_context=2048)
    image, cache = memory(Plan(SMOL, ()), config)
    dram = IMAGE_OFFSET + image + cache // 2
    (problem,) = fit(Plan(SMOL, ()), config, board(dram)).problems
    assert (problem.what, problem.limit) == ("DRAM bytes", dram)
    context = int(problem.change.split()[1])
    assert 1000 < context < 1100
    assert fit(Plan(replace(SMOL, context=context), ()), config, board(dram)).fits
    (problem,) = fit(Plan(SMOL, ()), config, board(1 << 26)).problems
    assert problem.change.startswith("--weights mxfp4 --classifier mxfp4 at conversion")


def test_instructions_have_their_limits() -> None:
    result = fit(Plan(LLAMA_1B, ()), LARGE, board(1 << 32))
    (obstacle,) = result.obstacles
    assert obstacle == (
        "the model's classifier takes 16,929,792 words of 16 bytes as mxint8, an instruction's"
        " limit is 16,777,215 (convert it with --classifier mxfp4)"
    )
    formats = uniform_formats(LLAMA_1B, Format.MXINT8, Format.MXFP4)
    assert fit(Plan(LLAMA_1B, (), formats), LARGE, board(1 << 32)).fits
    formats = uniform_formats(LLAMA_1B, Format.MXFP4, Format.MXFP4)
    assert fit(Plan(LLAMA_1B, (), formats), LARGE, board(1 << 32)).fits
    (problem,) = fit(
        Plan(LLAMA_1B, (), formats), replace(LARGE, mxfp4=False), board(1 << 32)
    ).problems
    assert "mxfp4=true" in problem.change


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*JALHOST, "model", "fit", *arguments],
        capture_output=True, encoding="utf-8", check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("llama", 0, ""),
        ("qwen3", 3, "does not fit ecpix5: norms over the heads of queries and keys"),
    ],
)
def test_on_the_command_line(name: str, code: int, message: str) -> None:
    path = REPOSITORY / "tests" / "data" / "hf" / name
    done = run(str(path), "--board", "ecpix5", "--json")
    assert done.returncode == code
    assert message in done.stderr
    facts = json.loads(done.stdout)
    assert (facts["fits"], facts["provenance"]) == (code == 0, "estimated")


def test_boards_that_do_not_exist(tmp_path: Path) -> None:
    done = run(str(tmp_path), "--board", "none")
    assert done.returncode == 2
    assert "there is no board 'none' (boards: " in done.stderr


@pytest.mark.parametrize(
    "formats",
    [[], ["--weights", "mxfp4"], ["--classifier", "mxfp4"],
     ["--weights", "mxfp4", "--classifier", "mxfp4"]],
)  # fmt: skip
def test_what_fits_is_what_is_converted(tmp_path: Path, formats: list[str]) -> None:
    path, image = tmp_path / "x", tmp_path / "x.jal"
    write_folder(tiny_model(SIZES), path)
    asked = json.loads(run(str(path), "--board", "ecpix5", "--json", *formats).stdout)
    output = ["-o", str(image), "--draft-tokens", "0"]
    subprocess.run(
        [*JALHOST, "model", "convert", str(path), *output, *formats],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert json.loads(run(str(image), "--board", "ecpix5", "--json").stdout) == asked


def test_an_image_has_its_formats() -> None:
    image = REPOSITORY / "host" / "jalhost" / "data" / "demo.jal"
    done = run(str(image), "--board", "ecpix5", "--classifier", "mxfp4")
    assert done.returncode == 2
    assert "is converted already (--context, --weights and --classifier are" in done.stderr


def test_formats_that_would_save_memory_are_named() -> None:
    config = EngineConfig(max_dim=576, max_context=2048, mxfp4=True)
    for weights, classifier, named in (
        (Format.MXFP4, Format.MXINT8, "--classifier mxfp4 at conversion, "),
        (Format.MXINT8, Format.MXFP4, "--weights mxfp4 at conversion, "),
        (Format.MXFP4, Format.MXFP4, "a smaller model"),
    ):
        plan = Plan(SMOL, (), without_mxint8(uniform_formats(SMOL, weights, classifier)))
        (problem,) = fit(plan, config, board(1 << 25)).problems
        assert problem.change.startswith(named)

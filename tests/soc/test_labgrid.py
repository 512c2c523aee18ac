"""A board of a farm, end to end: coordinator and exporter are labgrid's, the board is simulated.

Its serial port goes the way of a real one: the exporter serves it by (a stand-in for) ser2net.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jalhost.bundle import write_bundle
from jalhost.engine.farm import find_client
from jalhost.engine.targets import open_target
from jalhost.errors import EnvironmentProblem
from jalhost.models.image_file import save_image
from jaltest.bundles import manifest, members
from jaltest.farm import PLACE, Farm
from jaltest.loader import StandIn
from jaltest.models import REPOSITORY
from jaltest.system import System
from jaltest.texts import JALHOST, generate
from jaltest.tiny import tiny_image

pytestmark = [pytest.mark.sim, pytest.mark.slow]

TARGET = ["--target", f"labgrid:{PLACE}"]

OPTIONS = ["--temperature", "0.8", "--seed", "1", "--max-tokens", "12"]

DRIVER_TEST = """
def test_driver(target):
    driver = target.get_driver("JalhostDriver")
    found = driver.generate("the one", model={model!r}, temperature=0.8, seed=1, max_tokens=12)
    assert found["token_ids"] == {tokens!r}
    assert "jalfirmware" in driver.run("console", "--command", "ident", "--bundle", {bundle!r})
"""


@pytest.fixture(scope="module")
def system(simulator_build: object) -> Iterator[System]:
    system = System(simulator_build, pty=True)
    yield system
    system.close()


@pytest.fixture(scope="module")
def farm(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    try:
        find_client()
    except EnvironmentProblem as error:
        pytest.skip(str(error))
    pty = system.simulator.pty_path
    resources = f"  RawSerialPort:\n    port: {pty}\n"
    farm = Farm(tmp_path_factory.mktemp("farm"), resources)
    yield farm
    farm.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.jal"
    save_image(tiny_image(), path)
    return path


@pytest.fixture(scope="module")
def tokens() -> list[int]:
    """What the emulator gives."""
    with open_target("emu", print) as emulator:
        image = tiny_image()
        emulator.load(image)
        return list(generate(emulator, image, "the one", 0.8, 1, 12).token_ids)


@pytest.fixture(scope="module")
def bundle(system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the simulated system."""
    soc = json.loads(system.build.soc_json.read_text())
    facts: dict[str, Any] = {"fingerprint": soc["fingerprint"], "engine": soc["engine"]}
    maps = {
        "csr_json": system.build.csr_json.read_bytes(),
        "soc_json": system.build.soc_json.read_bytes(),
    }
    path = tmp_path_factory.mktemp("bundle") / "x.jalb"
    write_bundle(path, manifest(**facts), members(**maps))
    return path


def jalhost(farm: Farm, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*JALHOST, *arguments, *TARGET],
        env=farm.env | env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_command_acquires_and_releases_the_place(
    farm: Farm, model: Path, tokens: list[int]
) -> None:
    run = jalhost(farm, "generate", "the one", "--model", str(model), *OPTIONS, "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["token_ids"] == tokens
    said = run.stderr.splitlines()
    assert said[0] == f"acquired {PLACE}"
    assert said[-1] == f"released {PLACE}"
    assert not farm.holder


def test_a_place_that_somebody_has_is_one_line(farm: Farm) -> None:
    farm.client("acquire", user="bob")
    run = jalhost(farm, "mem", "read", "mailbox")
    holder = farm.holder
    farm.client("release", user="bob")
    assert holder.endswith("/bob")
    assert run.returncode == 4
    assert run.stderr.count("\n") == 1
    assert f"place {PLACE} is taken: {holder} has it" in run.stderr


def test_what_was_acquired_before_stays_acquired(farm: Farm, bundle: Path) -> None:
    farm.client("acquire")
    run = jalhost(farm, "csr", "read", "ctrl_scratch", "--bundle", str(bundle))
    holder = farm.holder
    farm.client("release")
    assert run.stdout == "ctrl_scratch = 0x12345678 (305419896)\n", run.stderr
    assert f"{PLACE} is acquired already, and stays so" in run.stderr
    assert holder


def test_ctrl_c_releases_the_place(farm: Farm) -> None:
    command = [*JALHOST, "mem", "test", "--tests", "march", "--block", "1", *TARGET]
    process = subprocess.Popen(command, env=farm.env, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    with process.stderr:
        assert process.stderr.readline() == f"acquired {PLACE}\n"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.wait() == 130, said
    assert f"released {PLACE}" in said
    assert not farm.holder


def test_a_board_is_flashed_with_its_cable(farm: Farm, bundle: Path, tmp_path: Path) -> None:
    loader = StandIn(tmp_path)
    path = f"{loader.folder}{os.pathsep}{farm.env['PATH']}"
    run = jalhost(farm, "flash", str(bundle), PATH=path)
    assert run.returncode == 0, run.stderr
    assert "READY   ok: fingerprint " in run.stdout
    assert loader.written == members()["bitstream.bit"]
    assert not farm.holder


def test_bring_up_looks_at_the_board(farm: Farm, bundle: Path) -> None:
    stages = ["--stage", "link", "--stage", "identity", "--stage", "firmware"]
    run = jalhost(farm, "bringup", *stages, "--bundle", str(bundle), "--json")
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert report["provenance"] == "simulated"
    assert [stage["verdict"] for stage in report["rounds"][0]["stages"]] == ["pass"] * 3
    assert not farm.holder


def test_board_tests_pass_on_the_farm(farm: Farm) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/hil"]
    run = subprocess.run(
        [*command, *TARGET, "-k", "0.0-0 or damage"],
        cwd=REPOSITORY,
        env=farm.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "2 passed, 5 deselected" in run.stdout
    assert not farm.holder


def test_labgrids_own_pytest_has_the_driver(
    farm: Farm, model: Path, tokens: list[int], bundle: Path, tmp_path: Path
) -> None:
    text = subprocess.run(
        [*JALHOST, "labgrid", "env", PLACE], capture_output=True, text=True, check=True
    ).stdout
    # The program of this working copy, whatever is installed.
    program = tmp_path / "jalhost"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{JALHOST[-1]}" "$@"\n')
    program.chmod(0o755)
    lines = [
        line if "jalhost:" not in line else f"  jalhost: {program}" for line in text.split("\n")
    ]
    (tmp_path / "env.yaml").write_text("\n".join(lines))
    content = DRIVER_TEST.format(model=str(model), tokens=tokens, bundle=str(bundle))
    (tmp_path / "test_board.py").write_text(content)
    farm.client("acquire")
    command = [str(farm.bin / "pytest"), "-q", "-p", "no:cacheprovider", "test_board.py"]
    run = subprocess.run(
        [*command, "--lg-env", "env.yaml"],
        cwd=tmp_path,
        env=farm.env,
        capture_output=True,
        text=True,
        check=False,
    )
    farm.client("release")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout

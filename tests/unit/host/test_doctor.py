"""What ``jalhost doctor`` says of this computer."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from jaltest.texts import JALHOST


def doctor(env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*JALHOST, "doctor", *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=os.environ | env,
        timeout=120,
    )


def test_doctor_names_what_is_missing_and_the_fix(tmp_path: Path) -> None:
    run = doctor({"PATH": str(tmp_path)})
    assert run.returncode == 6
    assert "emulation (target emu): ready" in run.stdout
    assert "missing: verilator, g++, make, riscv64-unknown-elf-gcc" in run.stdout
    fix = "sudo apt-get install -y g++ gcc-riscv64-unknown-elf make verilator"
    assert f"to fix: {fix}" in run.stdout
    results = json.loads(doctor({"PATH": str(tmp_path)}, "--json").stdout)
    assert "verilator" in results[1]["missing"]
    (farm,) = [item for item in results if item["optional"]]
    assert (farm["missing"], farm["fix"]) == (["labgrid-client"], ["pipx install labgrid"])


def test_doctor_names_the_extra_for_models(tmp_path: Path) -> None:
    # A folder without it hides the package.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u, jalhost.environment as e\n"
        "e.find_spec = lambda name: None if name == 'tokenizers' else u.find_spec(name)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    lines = doctor({"PYTHONPATH": path}).stdout.splitlines()
    (place,) = [at for at, line in enumerate(lines) if line.startswith("models of other projects")]
    assert lines[place].endswith("missing: tokenizers")
    assert "-m pip install " in lines[place + 1]
    assert lines[place + 1].endswith("[models]'")

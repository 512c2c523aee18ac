"""The pytest plugin as its users meet it: a run of pytest in a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest

def test_target(target, model):
    target.load(model)
    assert target.info.name == "emu"

@pytest.mark.jalhost_needs(rows=4, mxfp4=True)
def test_has_what_it_needs(target):
    pass

@pytest.mark.jalhost_needs(rows=5)
def test_rows(target):
    raise AssertionError

@pytest.mark.jalhost_needs(links=("uart", "eth"))
def test_links():
    raise AssertionError

def test_device(device):
    raise AssertionError

@pytest.mark.jalhost_needs(lines=5)
def test_typing_error():
    pass

@pytest.mark.jalhost_needs(rows=5)
class TestMarkersOfTests:
    @pytest.mark.jalhost_needs(rows=2)
    def test_win(self, target):
        pass
"""


def run(folder: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    (folder / "test_x.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "jalhost.hil.plugin", "-rs", *options]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=os.environ | env
    )


def test_tests_run_on_the_target_or_say_why_not(tmp_path: Path) -> None:
    done = run(tmp_path, JALHOST_HIL="emu")
    assert "3 passed, 3 skipped, 1 error" in done.stdout.replace("failed", "error"), done.stdout
    assert "jalhost target: emu" in done.stdout
    assert "emu has 4 token rows, the test needs 5" in done.stdout
    assert "emu is not behind uart or eth" in done.stdout
    assert "emu has no device" in done.stdout
    assert "jalhost_needs takes rows=, mxfp4= and links=" in done.stdout


def test_without_a_target_all_are_skipped(tmp_path: Path) -> None:
    done = run(tmp_path, JALHOST_HIL="")
    assert done.stdout.count("no target is named: --jalhost-target TARGET") >= 1
    assert " 6 skipped" in done.stdout, done.stdout


def test_a_target_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    options = ["--jalhost-target", "uart:/dev/no-such-port", "-k", "test_target"]
    done = run(tmp_path, *options)
    assert "target uart:/dev/no-such-port: there is no port /dev/no-such-port" in done.stdout
    assert "Traceback" not in done.stdout
    assert done.returncode == 1


def test_gateware_and_several_processes_are_checked(tmp_path: Path) -> None:
    options = ["--jalhost-target", "emu", "--jalhost-gateware", "tokens=5", "-k", "test_rows"]
    done = run(tmp_path, *options)
    assert "--gateware: " in done.stdout
    done = run(tmp_path, "--jalhost-target", "emu", "-n", "2")
    assert "leave out -n, or --dist loadgroup" in done.stderr

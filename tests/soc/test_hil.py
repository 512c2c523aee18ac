"""The tests for boards pass on the simulated system, by the options that a board's user gives."""

import subprocess
import sys

import pytest

from jaltest.models import REPOSITORY

pytestmark = [pytest.mark.sim, pytest.mark.slow]


@pytest.mark.usefixtures("simulator_build")
def test_board_tests_pass_on_the_simulated_serial_port() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/hil"]
    run = subprocess.run(
        [*command, "--target", "sim:uart"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "7 passed" in run.stdout
    assert "skipped" not in run.stdout

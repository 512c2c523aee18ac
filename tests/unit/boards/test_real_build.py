"""One board for real: yosys, nextpnr and ecppack make a bitstream that meets its clocks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jalboards.catalogue import find_board
from jalhost.bundle import open_bundle

QUICKEST = "ulx3s"

SMALL = {
    "tokens": 1,
    "mxfp4": False,
    "attention_slots": 1,
    "max_dim": 64,
    "max_hidden": 192,
    "max_heads": 8,
    "max_kv_heads": 4,
    "max_group": 2,
    "max_head_dim": 8,
    "max_context": 512,
}
"""An engine for the smallest models, which is placed and routed soon."""

PREAMBLE = bytes.fromhex("ffffbdb3")
"""Of every ECP5 bitstream (Lattice TN-02039)."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_board_is_built_to_a_bitstream(tmp_path: Path) -> None:
    path = tmp_path / "x.jalb"
    command = [sys.executable, "-m", "jalboards", "build", QUICKEST, str(path)]
    command += ["--engine", json.dumps(SMALL)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    bundle = open_bundle(path)
    assert PREAMBLE in bundle.member(bundle.bitstream_name)[:1000]
    clock = bundle.manifest.clocks["sys"]
    assert clock.achieved_mhz is not None
    assert clock.achieved_mhz >= clock.constraint_mhz >= find_board(QUICKEST).clock_hz / 1e6
    assert bundle.manifest.utilisation["TRELLIS_COMB"].used > 0

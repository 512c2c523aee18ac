"""Runs yosys and nextpnr for the ECP5 on one Verilog file and reads their reports."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jalhost.errors import BuildError, EnvironmentProblem
from jalsoc.ecp5_registers import pack_registers
from jalsoc.netlist_wires import change_file
from jalsoc.ram_rows import place_to_spread

TARGET_MHZ = 130
"""Clock that the placer works towards; it tries no harder once that is reached."""

PLACERS = ("heap", "static", "spread")
"""Of nextpnr; the wires of the second are a third shorter where a design is crowded. The third is
the second, run twice, with block RAMs spread over all rows in between (:mod:`jalsoc.ram_rows`)."""

SPEEDS = (6, 7, 8)
"""Speed grades of an LFE5U-85F; 8 is the fastest."""

DENSITY = 0.5
"""Share of a region's cells that nextpnr fills at most. Around block RAM and multipliers wires are
crowded at its default of 0.9."""

TOOL_TIMEOUT_S = 7200

BAD_DRIVER = r"^Warning: .*(?:is used but has no driver|multiple conflicting drivers).*$"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Usage:
    """What a design takes on an LFE5U-85F, and how fast it runs there.

    ``luts`` counts LUT4s, those of carry chains and distributed RAM included; ``undriven`` signals
    with no driver or several; ``critical_path`` one line per step.
    """

    luts: int
    flip_flops: int
    multipliers: int
    block_rams: int
    fmax_mhz: float
    latches: int
    undriven: int
    critical_path: tuple[str, ...] = ()

    LUTS_85F = 83640

    @property
    def lut_share(self) -> float:
        """Part of the LFE5U-85F's LUTs, from 0 to 1."""
        return self.luts / self.LUTS_85F


def find_tool(name: str) -> str:
    """Path of a tool, beside the running Python or on PATH: YoWASP's, else another of its name.

    Raises:
        EnvironmentProblem: neither is installed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    found = shutil.which(f"yowasp-{name}", path=path) or shutil.which(name, path=path)
    if not found:
        raise EnvironmentProblem(f"{name} is not installed", hint="pip install 'jalhost[build]'")
    return found


def run_tool(
    command: list[str], folder: Path, log: Path, timeout_s: float = TOOL_TIMEOUT_S
) -> None:
    """Runs a tool in ``folder``, its output in ``log``.

    Raises:
        BuildError: the tool failed, with its first error line, or took longer than ``timeout_s``.
    """
    with log.open("w", encoding="utf-8") as output:
        try:
            result = subprocess.run(
                command,
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise BuildError(
                f"{Path(command[0]).name} was not done after {timeout_s:.0f} s",
                hint=f"another --seed may route; see {log}",
            ) from error
    if result.returncode:
        lines = log.read_text(encoding="utf-8").splitlines()
        errors = [line for line in lines if "ERROR" in line] or lines[-1:] or ["no output"]
        raise BuildError(f"{Path(command[0]).name} failed: {errors[0]}", hint=f"see {log}")


def placer_options(placer: str, density: float = DENSITY) -> list[str]:
    """What one of PLACERS is to nextpnr-ecp5; ``density`` is for ``heap``."""
    if placer == "heap":
        return ["--placer", "heap", "--placer-heap-beta", str(density)]
    return ["--placer", "static"]


def place_and_route(
    verilog: Path, top: str, seed: int, placer: str = "heap", speed: int = SPEEDS[0]
) -> Usage:
    """Synthesises, places and routes ``top`` for an LFE5U-85F of a speed grade.

    All files are written beside the Verilog.

    Raises:
        EnvironmentProblem: a tool is not installed.
        BuildError: a tool failed.
    """
    folder, stem = verilog.parent, verilog.stem
    yosys_log = synthesise(verilog, top)
    netlist, report = folder / f"{stem}.json", folder / f"{stem}.report.json"
    (folder / f"{stem}.lpf").write_text("", encoding="utf-8")
    options = f"--85k --speed {speed} --freq {TARGET_MHZ} --seed {seed} --timing-allow-fail"
    options += f" --json {netlist.name} --lpf {stem}.lpf --lpf-allow-unconstrained"
    command = [find_tool("nextpnr-ecp5"), *options.split(), *placer_options(placer)]
    if placer == "spread":
        placed, log = folder / f"{stem}.placed.json", folder / f"{stem}.nextpnr-1.log"
        logger.info("nextpnr, to see where the logic goes: %s", verilog)
        count = place_to_spread(
            command, netlist, placed, top, lambda run, where: run_tool(run, where, log)
        )
        logger.info("block RAMs spread: %d", count)
    logger.info("nextpnr: %s", verilog)
    run_tool([*command, "--report", report.name], folder, folder / f"{stem}.nextpnr.log")
    return read_reports(
        yosys_log.read_text(encoding="utf-8"), json.loads(report.read_text(encoding="utf-8"))
    )


def synthesise(verilog: Path, top: str) -> Path:
    """Writes ``top``'s netlist of ECP5 cells beside the Verilog, as JSON; returns yosys's log.

    Raises:
        EnvironmentProblem: yosys is not installed.
        BuildError: it failed.
    """
    folder, stem = verilog.parent, verilog.stem
    script = (
        f"read_verilog {verilog.name}; hierarchy -check -top {top}; proc; check; "
        f"synth_ecp5 -top {top} -json {stem}.json; tee -o {stem}.stat stat"
    )
    log = folder / f"{stem}.yosys.log"
    logger.info("yosys: %s", verilog)
    command = [find_tool("yosys"), "-q", "-l", log.name, "-p", script]
    run_tool(command, folder, folder / f"{stem}.yosys.out")
    packed = change_file(folder / f"{stem}.json", top, pack_registers)
    logger.info("registers moved: %s", packed)
    return log


def read_reports(yosys_log: str, report: dict[str, Any]) -> Usage:
    """Usage from yosys's log and nextpnr's report.

    Raises:
        BuildError: the report names no clock.
    """
    clocks = [clock["achieved"] for clock in report["fmax"].values()]
    if not clocks:
        raise BuildError("nextpnr found no clock in the design")
    used = {name: item["used"] for name, item in report["utilization"].items()}
    return Usage(
        luts=used["TRELLIS_COMB"],
        flip_flops=used["TRELLIS_FF"],
        multipliers=used["MULT18X18D"],
        block_rams=used["DP16KD"],
        fmax_mhz=min(clocks),
        latches=len(set(re.findall(r"^Latch inferred for signal (.*)$", yosys_log, re.M))),
        undriven=len(set(re.findall(BAD_DRIVER, yosys_log, re.M))),
        critical_path=critical_path(report),
    )


def critical_path(report: dict[str, Any]) -> tuple[str, ...]:
    """The slowest path within one clock, one line per step: delay in ns, kind, where it ends."""
    paths = [path for path in report.get("critical_paths", []) if path["from"] == path["to"]]
    if not paths:
        return ()
    slowest = max(paths, key=lambda path: sum(step["delay"] for step in path["path"]))
    return tuple(
        f"{step['delay']:5.2f} {step['type']:8} {step.get('net') or step['to']['cell']}"
        for step in slowest["path"]
    )

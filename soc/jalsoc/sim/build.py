"""Builds simulators: Verilog by LiteX, firmware by the RISC-V compiler, a program by Verilator.

Each of the three stages is cached by what goes into it. An unchanged system needs none of these
tools: it starts as fast as its sources can be hashed.
"""

import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jalgateware
import jalsoc
from jalfirmware.build import (
    COMPILER,
    compile_firmware,
    firmware_sources,
    litedram_sources,
)
from jalgateware.contract.c_header import c_header
from jalsoc.cache import (
    cache_root,
    cached,
    digest,
    digest_files,
    distribution_versions,
    program_identity,
    require_headers,
)
from jalsoc.export import CSR_CSV, CSR_JSON, HEADERS, SOC_JSON
from jalsoc.guard import run_guarded
from jalsoc.sim.config import SimulatorConfig
from jalsoc.sim.faults import ANY_FAULT, faulty_system, parse_fault
from jalsoc.sim.links import LINKS

HARDWARE_PACKAGES = (
    "litex",
    "litedram",
    "migen",
    "pythondata-cpu-vexriscv",
    "pythondata-cpu-serv",
)

VERILATOR_FLAGS = (
    "--cc",
    "--exe",
    "--flatten",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--noassert",
    # Chains of ifs and ?: instead of tables and trees: about 10 % faster.
    "-fno-case",
    "-fno-table",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    "-Wno-COMBDLY",
)

UNSPLIT = ("--output-split", "0", "--output-split-cfuncs", "0")
"""All of a cycle in one function: about 7 % faster, and still compiled in a minute or less."""

COMPILER_FLAGS = "-std=c++17 -Wall -Wextra"

LINKER_FLAGS = "-lutil -no-pie -Wl,-z,max-page-size=0x200000 -Wl,-z,separate-code"
"""Code lies apart from everything else, in units of large pages (see ``harness/pages.h``)."""

OPTIMISATION = " ".join(
    (
        # -O1 is 20 % slower, -Os (Verilator's own default) 40 %, -O0 four times.
        "-O3",
        "-fno-pie",
        "-fno-tree-ter",
        # The code is long and runs straight through: the fewer jumps and bytes, the better. Against
        # a frame pointer, addresses on the stack are a byte shorter.
        *(["-mbranch-cost=5", "-fno-omit-frame-pointer"] if platform.machine() == "x86_64" else []),
        "-fno-align-jumps",
        "-fno-align-labels",
        "-fno-align-loops",
        "-fno-schedule-insns2",
        # In a function this long, these passes take three fifths of the compiler's time, and their
        # code is a percent longer.
        "-fno-gcse",
        "-fno-gcse-after-reload",
        "--param=sccvn-max-alias-queries-per-access=20",
        "--param=dse-max-alias-queries-per-store=16",
    )
)
"""How the generated code is compiled."""

JOBS = 2

BINARY = "Vsim"

Progress = Callable[[str, str, float, bool], None]
"""Takes step ("gateware", "firmware", "simulator"), state ("start", "done"), seconds, cached."""


@dataclass(frozen=True)
class SimulatorBuild:
    """A simulator that can be started.

    ``system`` is the folder of the generated Verilog and its maps, ``firmware`` the ROM's image.
    """

    config: SimulatorConfig
    system: Path
    firmware: Path
    binary: Path

    @property
    def csr_json(self) -> Path:
        """LiteX's register map."""
        return self.system / CSR_JSON

    @property
    def csr_csv(self) -> Path:
        """The same for LiteX's own tools."""
        return self.system / CSR_CSV

    @property
    def soc_json(self) -> Path:
        """Description of the system."""
        return self.system / SOC_JSON


def _ignore(_step: str, _state: str, _seconds: float, _cached: bool) -> None:
    """Progress that nobody wants."""


def build(
    config: SimulatorConfig, progress: Progress = _ignore, trace: bool = False
) -> SimulatorBuild:
    """Builds whatever is not in the cache.

    Args:
        config: the system.
        progress: is told what goes on.
        trace: builds the variant that can write waveforms; it is about 10 % slower.

    Raises:
        EnvironmentProblem: a tool is missing; the hint has the command that installs it.
        BuildError: a tool failed; the hint names its log.
        UsageError: such a system cannot be built.
    """
    system = _step(progress, "gateware", lambda: build_system(config))
    firmware = _step(progress, "firmware", lambda: build_firmware(system))
    program = _step(progress, "simulator", lambda: build_program(system, trace))
    if config.fault:
        system = add_fault(config, system)
    return SimulatorBuild(config, system, firmware / "firmware.bin", program / BINARY)


def _step(progress: Progress, step: str, make: Callable[[], tuple[Path, bool]]) -> Path:
    start = time.monotonic()
    progress(step, "start", 0.0, False)
    folder, was_cached = make()
    progress(step, "done", time.monotonic() - start, was_cached)
    return folder


def _log(stage: str, key: str) -> Path:
    """An empty log for a build; logs stay after a failure."""
    folder = cache_root() / "logs"
    folder.mkdir(exist_ok=True)
    path = folder / f"{stage}-{key}.log"
    path.write_text("", encoding="utf-8")
    return path


def build_system(config: SimulatorConfig) -> tuple[Path, bool]:
    """Verilog and maps: (folder, was cached)."""
    sources = [
        path
        for package in (jalgateware, jalsoc)
        for path in Path(package.__path__[0]).rglob("*.py")
        if package is jalgateware or "ooc" not in path.name
    ]
    packages = [*HARDWARE_PACKAGES, *LINKS[config.link].packages]
    versions = distribution_versions(*packages, *["litescope"] * config.scope)
    # All faults share a build: which one it is, is decided when it starts.
    built = replace(config, fault=ANY_FAULT if config.fault else "").to_json()
    key = digest(built, digest_files(sources), versions, sys.version)

    def make(folder: Path) -> None:
        log = _log("gateware", key)
        command = [sys.executable, "-m", "jalsoc.sim.elaborate", built, str(folder)]
        run_guarded(command, folder, log)

    return cached("gateware", key, make)


def add_fault(config: SimulatorConfig, system: Path) -> Path:
    """What the simulator of a system with places for faults reads to have one.

    Raises:
        UsageError: the engine does not have what shall be faulty.
    """
    fault = parse_fault(config.fault, config.engine)
    key = digest(system.name, config.fault)
    return cached("faults", key, lambda folder: faulty_system(system, fault, folder))[0]


def build_firmware(system: Path) -> tuple[Path, bool]:
    """The firmware for a system: (folder, was cached)."""
    headers = sorted((system / HEADERS).iterdir())
    sources = [*firmware_sources(), *litedram_sources(), *headers]
    key = digest(digest_files(sources), c_header(), program_identity(COMPILER))

    def make(folder: Path) -> None:
        compile_firmware(system / HEADERS, folder, _runner(_log("firmware", key)))

    return cached("firmware", key, make)


def _runner(log: Path) -> Callable[[list[str], Path], None]:
    """Runs commands below a guard, with one log."""
    return lambda command, folder: run_guarded(command, folder, log)


def build_program(system: Path, trace: bool) -> tuple[Path, bool]:
    """The simulator's program for a system: (folder, was cached)."""
    from jalsoc.sim.elaborate import GEOMETRY, PUBLIC, SOURCES, VERILOG

    harness = sorted((Path(__file__).parent / "harness").iterdir())
    verilog = [VERILOG, *(system / SOURCES).read_text(encoding="utf-8").split(), PUBLIC]
    inputs = [system / name for name in (*verilog, GEOMETRY)]
    # Code for waveforms is several times as long.
    flags = [*VERILATOR_FLAGS, *(["--trace-fst"] if trace else UNSPLIT)]
    tools = [program_identity(name) for name in ("verilator", "g++", "make")]
    options = (*flags, COMPILER_FLAGS, LINKER_FLAGS, OPTIMISATION)
    key = digest(digest_files([*inputs, *harness]), *options, *tools)

    def make(folder: Path) -> None:
        if trace:
            require_headers("a simulator that writes waveforms", {"zlib.h": "zlib1g-dev"})
        log = _log("simulator", key)
        objects = folder / "objects"
        sources = [str(path) for path in harness if path.suffix == ".cpp"]
        command = ["verilator", *flags, "--top-module", "sim", "--Mdir", str(objects)]
        command += ["-CFLAGS", f"{COMPILER_FLAGS} -I{system}", "-LDFLAGS", LINKER_FLAGS]
        command += [*(str(system / name) for name in verilog), *sources]
        run_guarded(command, folder, log)
        make_command = ["make", f"-j{JOBS}", "-C", str(objects), "-f", f"{BINARY}.mk"]
        run_guarded([*make_command, f"OPT_FAST={OPTIMISATION}"], folder, log)
        (objects / BINARY).rename(folder / BINARY)
        shutil.rmtree(objects)

    return cached("simulator", key, make)

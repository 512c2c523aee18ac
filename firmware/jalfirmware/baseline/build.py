"""Compiles the baseline for a system whose headers have been generated."""

from importlib.util import find_spec
from pathlib import Path

from jalfirmware.baseline.layout import HEADER_NAME, c_header
from jalfirmware.build import SOURCE_FOLDER, Run, compile_program, firmware_sources

FOLDER = Path(__file__).parent

SHARED = tuple(SOURCE_FOLDER / name for name in ("clock.c", "dram.c", "memory.c"))
"""The firmware's files that the baseline needs, too."""

FLOATS = (
    "addsf3",
    "subsf3",
    "mulsf3",
    "divsf3",
    "comparesf2",
    "floatsisf",
    "floatunsisf",
    "fixsfsi",
)
"""Arithmetic of float32 in software: LLVM's takes half of libgcc's time on this CPU."""

OPTIMISATION = ("-O3",)

IMAGE = "baseline.bin"


def float_sources() -> list[Path]:
    """LLVM's compiler-rt, as LiteX brings it."""
    name = "pythondata_software_compiler_rt"
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{name} is not installed", name=name)
    folder = Path(spec.submodule_search_locations[0]) / "data/lib/builtins"
    return [folder / f"{item}.c" for item in FLOATS]


def baseline_sources() -> list[Path]:
    """Everything that the program depends on, besides generated headers and LiteX."""
    ours = [*FOLDER.glob("*.[ch]"), *FOLDER.glob("*.py")]
    return [*firmware_sources(), *ours, *float_sources()]


def compile_baseline(headers: Path, folder: Path, run: Run) -> Path:
    """Compiles and links into ``folder``; returns the ROM's image."""
    (folder / HEADER_NAME).write_text(c_header(), encoding="utf-8")
    sources = [*SHARED, *sorted(FOLDER.glob("*.c"))]
    return compile_program(headers, folder, run, sources, IMAGE, OPTIMISATION, float_sources())

"""Compiles the baseline for a system whose headers have been generated."""

from pathlib import Path

from jalfirmware.baseline.layout import HEADER_NAME, c_header
from jalfirmware.build import SOURCE_FOLDER, Run, compile_program, firmware_sources

FOLDER = Path(__file__).parent

SHARED = tuple(SOURCE_FOLDER / name for name in ("clock.c", "dram.c", "memory.c"))
"""The firmware's files that the baseline needs, too."""

OPTIMISATION = ("-O3",)

IMAGE = "baseline.bin"


def baseline_sources() -> list[Path]:
    """Everything that the program depends on, besides generated headers and LiteX."""
    return [*firmware_sources(), *sorted(FOLDER.glob("*.[ch]")), *sorted(FOLDER.glob("*.py"))]


def compile_baseline(headers: Path, folder: Path, run: Run) -> Path:
    """Compiles and links into ``folder``; returns the ROM's image."""
    (folder / HEADER_NAME).write_text(c_header(), encoding="utf-8")
    sources = [*SHARED, *sorted(FOLDER.glob("*.c"))]
    return compile_program(headers, folder, run, sources, IMAGE, OPTIMISATION)

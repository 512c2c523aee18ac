"""Compiles the firmware for a system whose headers have been generated."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from jalgateware.contract.c_header import HEADER_NAME, c_header

PREFIX = "riscv64-unknown-elf-"

COMPILER = f"{PREFIX}gcc"

SOURCE_FOLDER = Path(__file__).parent / "src"

SHIM_FOLDER = Path(__file__).parent / "shims"

IMAGE = "firmware.bin"

SERV = "CONFIG_CPU_TYPE_SERV"
"""What LiteX defines where the CPU is no VexRiscv."""

WITHOUT_MULTIPLIER = ("CONFIG_CPU_VARIANT_MINIMAL", SERV)
"""What it defines for CPUs that have none."""

ASSEMBLER_MACHINE = ("-march=rv32im_zicsr", "-mabi=ilp32")
"""The CPU's control registers are an extension by name."""

SMALL = ("-Os",)

OPTIONS = (
    "-ffreestanding",
    "-fno-tree-loop-distribute-patterns",
    "-ffunction-sections",
    "-fdata-sections",
    "-g",
)

STRICT = (
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wconversion",
    "-Wshadow",
    "-Wundef",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wvla",
)

LITEDRAM_SOURCES = ("sdram.c", "accessors.c")

FOREIGN_OPTIONS = ("-std=gnu11", "-w", "-DSDRAM_TEST_DISABLE")
"""No warnings; LiteDRAM's memory test reads all of a small memory, ours a few words."""

Run = Callable[[list[str], Path], None]
"""Runs a command in a folder and raises where it fails."""


def _litex() -> Path:
    """LiteX's folder, found without importing LiteX."""
    spec = find_spec("litex")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("litex is not installed", name="litex")
    return Path(spec.submodule_search_locations[0])


def litedram_sources() -> list[Path]:
    """LiteDRAM's part of the firmware, as LiteX brings it."""
    folder = _litex() / "soc/software/liblitedram"
    return [folder / name for name in LITEDRAM_SOURCES]


def firmware_sources() -> list[Path]:
    """Everything that the firmware's image depends on, besides generated headers and LiteX."""
    return [Path(__file__), *sorted(SOURCE_FOLDER.iterdir()), *sorted(SHIM_FOLDER.iterdir())]


def machine(headers: Path) -> tuple[str, ...]:
    """Options for the system's CPU; Debian's libgcc is compiled for both architectures."""
    plain = not _defined(headers).isdisjoint(WITHOUT_MULTIPLIER)
    return (
        f"-march={'rv32i' if plain else 'rv32im'}",
        "-mabi=ilp32",
        f"-D__{cpu_folder(headers)}__",
    )


def cpu_folder(headers: Path) -> str:
    """LiteX's folder of the system's CPU."""
    return "serv" if SERV in _defined(headers) else "vexriscv"


def _defined(headers: Path) -> set[str]:
    """Words of LiteX's description of the system, names of its definitions among them."""
    return set((headers / "soc.h").read_text(encoding="utf-8").split())


def include_options(headers: Path, folder: Path) -> list[str]:
    """Where headers are: ours strict, others' as system headers, without warnings."""
    software = _litex() / "soc/software"
    foreign = [
        headers.parent,
        SHIM_FOLDER,
        software,
        software / "include",
        software / "libbase",
        _litex() / "soc/cores/cpu" / cpu_folder(headers),
    ]
    options = [f"-I{folder}", f"-I{SOURCE_FOLDER}"]
    for path in foreign:
        options += ["-isystem", str(path)]
    return options


def compile_firmware(headers: Path, folder: Path, run: Run) -> Path:
    """Compiles and links into ``folder``; returns the ROM's image.

    ``headers`` is the folder of the generated headers; its name must be ``generated``.
    """
    return compile_program(headers, folder, run, sorted(SOURCE_FOLDER.glob("*.c")), IMAGE, SMALL)


def compile_program(
    headers: Path,
    folder: Path,
    run: Run,
    sources: Sequence[Path],
    image: str,
    optimisation: Sequence[str],
    foreign: Sequence[Path] = (),
) -> Path:
    """Compiles and links a program for the ROM, with LiteDRAM's initialisation; see above.

    ``foreign``: sources that are not ours.
    """
    assert headers.name == "generated", headers
    (folder / HEADER_NAME).write_text(c_header(), encoding="utf-8")
    options = [
        COMPILER,
        *machine(headers),
        *optimisation,
        *OPTIONS,
        *include_options(headers, folder),
    ]
    elf = folder / Path(image).with_suffix(".elf")
    run([*options, *STRICT, "-c", *map(str, sources)], folder)
    run([COMPILER, *ASSEMBLER_MACHINE, "-c", str(SOURCE_FOLDER / "crt0.S")], folder)
    foreign = [*litedram_sources(), *foreign]
    run([*options, *FOREIGN_OPTIONS, "-c", *map(str, foreign)], folder)
    link = [COMPILER, *machine(headers), "-nostdlib", "-Wl,--gc-sections", f"-L{headers}"]
    link += [f"-T{SOURCE_FOLDER / 'linker.ld'}", f"-Wl,-Map={elf.with_suffix('.map')}"]
    objects = sorted(str(path) for path in folder.glob("*.o"))
    run([*link, *objects, "-lgcc", "-o", str(elf)], folder)
    run([f"{PREFIX}objcopy", "-O", "binary", str(elf), image], folder)
    return folder / image

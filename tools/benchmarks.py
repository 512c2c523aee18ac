"""Runs the benchmarks and writes docs/benchmarks.md: ``python -m tools.benchmarks [IMAGE...]``.

Each table stands below the command that prints it. Images are measured in addition to the demo
model. ``--baseline CHECKPOINT TOKENIZER`` adds a section: the engine next to the system's own CPU.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "benchmarks.md"

OPTIONS = (
    "-p 64 -n 32 -d 0,128 --streams 1,4",
    # Where a token's cycles go.
    "-p 0 -n 32 --breakdown",
)
"""Of `jalhost bench --target sim` for each image."""

LARGE = {
    "15m": (
        "-p 0 -n 4 -d 1 --breakdown",
        "-p 0 -n 4 -d 64,1000 --cold-cache",
        "-p 128 -n 0",
        "-p 0 -n 4 --streams 1,4",
        "-p 0 -n 2 -d 1 --gateware dram=sdr16",
        "-p 0 -n 4 -d 1 --gateware dram=ddr3x64",
    ),
    "15m --weights mxfp4 --classifier mxfp4": ("-p 0 -n 4 -d 1",),
    "smollm2-135m": ("-p 0 -n 2 -d 1,2000 --cold-cache --gateware max_dim=576,max_context=2048",),
}
"""Shapes with random weights, as `tools.random_model` takes them, and what is measured on them."""

INTRODUCTION = """# Benchmarks

Written by `make bench`: simulated cycles of the whole system at 100 MHz with 16 lanes, four token
rows, DDR3 SDRAM of 16 bits and its refresh, where nothing else is said. A simulator needs a cycle
for a cycle, so the figures are the same on any computer, up to the moment at which a refresh falls.
Nothing here was measured on a board.

`ppN`: N prompt tokens are read, `tgN`: N tokens are generated, each with `d` tokens in the KV cache
before. DRAM: share of the port's bytes that the tokens needed (padding does not count); lanes:
share of the multipliers' cycles that the matrices needed; tokens/pass: tokens for each time that
the weights are read.
"""


SPECULATION = """## Drafts

Prompts continued greedily with and without drafts, with the same tokens.
"""

BASELINE_DEPTHS = (1, 32)
"""Tokens in the KV cache: the CPU's time grows with them, and the engine's hardly does."""

BASELINE_TOKENS = 1
"""The CPU takes minutes of simulation for each, and does not vary."""

BASELINE_INTRODUCTION = """## The engine and the CPU

The same model, the same simulated system: on the engine, and on the CPU alone, with llama2.c's int8
arithmetic. `python -m jalsoc.baseline` says what makes this fair.
"""

BASELINE_HEAD = """| model | position | CPU, cycles/token | engine, cycles/token | ratio |
|---|---|---:|---:|---:|
"""


def output(command: list[str]) -> str:
    """What a command prints; its messages pass through."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def run(arguments: list[str]) -> str:
    """Output of a command of jalhost."""
    return output([sys.executable, "-c", "from jalhost.cli.main import main; main()", *arguments])


def section(image: Path | None, options: str) -> str:
    """A command and what it prints. The image goes by its name, wherever it lies."""
    arguments = ["bench", "--target", "sim", *shlex.split(options), "-r", "1", "--output", "md"]
    shown = [*arguments, *(["--model", image.name] if image else [])]
    printed = run([*arguments, *(["--model", str(image)] if image else [])])
    return f"```\njalhost {shlex.join(shown)}\n```\n\n{printed}"


def speculation_section(images: Sequence[Path | None]) -> str:
    """Drafts against plain decoding, for the demo model and the images."""
    from jalhost.cli.options import DEMO_MODEL

    paths = [image or DEMO_MODEL for image in images]
    shown = shlex.join(path.name for path in paths)
    printed = output([sys.executable, "-m", "tools.speculation", *map(str, paths)])
    return f"{SPECULATION}\n```\npython -m tools.speculation {shown}\n```\n\n{printed}"


def large_sections(folder: Path) -> Iterator[str]:
    """Models of a shape, made for this, and their tables."""
    for number, (shape, measured) in enumerate(LARGE.items(), 1):
        image = folder / f"random{number}.jal"
        make = ["-m", "tools.random_model", *shlex.split(shape)]
        output([sys.executable, *make, "-o", str(image)])
        yield f"## {shape}\n\n```\npython {shlex.join(make)} -o {image.name}\n```\n"
        yield from (section(image, options) for options in measured)


def baseline_row(checkpoint: Path, tokenizer: Path, depth: int) -> tuple[list[str], str]:
    """The two commands for one depth, and their line of the table."""
    amount = str(BASELINE_TOKENS)
    cpu = ["--tokens", amount, "--depth", str(depth), "--json"]
    engine = ["bench", "--target", "sim", "-p", "0", "-n", amount, "-d", str(depth)]
    engine += ["--output", "json"]
    shown = [
        f"python -m jalsoc.baseline {checkpoint.name} {shlex.join(cpu)}",
        f"jalhost {shlex.join(engine)} --model {checkpoint.name} --tokenizer {tokenizer.name}",
    ]
    slow = json.loads(output([sys.executable, "-m", "jalsoc.baseline", str(checkpoint), *cpu]))
    model = ["--model", str(checkpoint), "--tokenizer", str(tokenizer)]
    (fast,) = json.loads(run([*engine, *model]))
    cycles = slow["cycles_per_token"], fast["cycles_per_token"]
    (position,) = slow["positions"]
    line = f"| {checkpoint.stem} | {position} | {cycles[0]:,.0f} | {cycles[1]:,.0f}"
    return shown, f"{line} | {cycles[0] / cycles[1]:,.0f} |\n"


def baseline_section(checkpoint: Path, tokenizer: Path) -> str:
    """The commands, and the table of what they print."""
    rows = [baseline_row(checkpoint, tokenizer, depth) for depth in BASELINE_DEPTHS]
    commands = "\n".join(line for shown, _ in rows for line in shown)
    table = BASELINE_HEAD + "".join(line for _, line in rows)
    return f"{BASELINE_INTRODUCTION}\n```\n{commands}\n```\n\n{table}"


def main() -> int:
    """Returns 1 if a command failed; the page is then left as it was."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks", description=__doc__)
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument(
        "--baseline", nargs=2, type=Path, metavar=("CHECKPOINT", "TOKENIZER"), action="append"
    )
    arguments = parser.parse_args()
    images: list[Path | None] = [None, *arguments.images]
    try:
        parts = [section(image, options) for image in images for options in OPTIONS]
        parts.append(speculation_section(images))
        with tempfile.TemporaryDirectory() as folder:
            parts += large_sections(Path(folder))
        parts += [baseline_section(*pair) for pair in arguments.baseline or ()]
    except subprocess.CalledProcessError as error:
        print(f"error: a command ended with exit code {error.returncode}", file=sys.stderr)
        return 1
    PAGE.write_text("\n".join([INTRODUCTION, *parts]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

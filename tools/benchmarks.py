"""Runs the benchmarks and writes docs/benchmarks.md: ``python -m tools.benchmarks [IMAGE...]``.

Each table stands below the command that prints it. Images are measured in addition to the demo
model.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "benchmarks.md"

OPTIONS = ("--target", "sim", "-p", "64", "-n", "32", "-d", "0,128", "--output", "md")
DETAILS = ("--target", "sim", "-p", "0", "-n", "32", "--breakdown", "--output", "md")
"""Where a token's cycles go."""

INTRODUCTION = """# Benchmarks

Written by `make bench`: simulated cycles of the whole system at 100 MHz with 16 lanes, DDR3 SDRAM
of 16 bits and its refresh. A simulator needs a cycle for a cycle, so the figures are the same on
any computer, up to the moment at which a refresh falls. Nothing here was measured on a board.

`ppN`: N prompt tokens are read, `tgN`: N tokens are generated, each with `d` tokens in the KV cache
before. DRAM: share of the port's bytes that the tokens needed (padding does not count); lanes:
share of the multipliers' cycles that the matrices needed; tokens/pass: tokens for each time that
the weights are read.
"""


def run(arguments: list[str]) -> str:
    """Output of a command of jalhost; its messages pass through."""
    command = [sys.executable, "-c", "from jalhost.cli.main import main; main()", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def section(image: Path | None, options: tuple[str, ...]) -> str:
    """A command and what it prints. The image goes by its name, wherever it lies."""
    arguments = ["bench", *options]
    shown = [*arguments, *(["--model", image.name] if image else [])]
    output = run([*arguments, *(["--model", str(image)] if image else [])])
    return f"```\njalhost {shlex.join(shown)}\n```\n\n{output}"


def main() -> int:
    """Returns 1 if a command failed; the page is then left as it was."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks", description=__doc__)
    parser.add_argument("images", nargs="*", type=Path)
    images: list[Path | None] = [None, *parser.parse_args().images]
    try:
        parts = [section(image, options) for image in images for options in (OPTIONS, DETAILS)]
    except subprocess.CalledProcessError as error:
        print(f"error: jalhost ended with exit code {error.returncode}", file=sys.stderr)
        return 1
    PAGE.write_text("\n".join([INTRODUCTION, *parts]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

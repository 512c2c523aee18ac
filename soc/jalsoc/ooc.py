"""Area and clock of the engine or of single units on an ECP5: ``python -m jalsoc.ooc``.

*Out of context*: each unit is placed and routed alone on an otherwise empty LFE5U-85F (speed
grade 6 unless ``--speed`` says another), between shift registers instead of pins. The figures are
those of the unit without these registers. ``engine`` has one token row and takes MXINT8;
``--unit standard`` is the engine that emulator and simulator have, and takes the tools half an
hour or more.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jalgateware.contract.config import STANDARD, EngineConfig
from jalhost.errors import JalError
from jalsoc.ooc_tools import PLACERS, SPEEDS, Usage, place_and_route

ENGINE_MHZ = 75.0
"""The whole engine's bar; its units must be faster, as their neighbours will slow them down."""

ENGINE_LUT_SHARE = 0.40

UNIT_MHZ = 90.0
"""The bar of units, and of the standard engine: there the CPU is what limits the system."""

ENGINES = {"engine": EngineConfig(), "standard": STANDARD}

TOP = "ooc"


def build_folder() -> Path:
    """Where builds go. Not below /tmp: the tools from pip see a private, empty /tmp."""
    from platformdirs import user_cache_path

    return user_cache_path("jalhost") / "ooc"


def write_verilog(name: str, config: EngineConfig, folder: Path) -> tuple[Path, int, int]:
    """Writes the wrapped unit's Verilog; returns path and the wrapper's input and output bits."""
    from litex.gen.fhdl.verilog import convert

    from jalsoc.ooc_wrapper import Wrapper, build_unit

    wrapper = Wrapper(*build_unit(name, config))
    folder.mkdir(parents=True, exist_ok=True)
    result = convert(wrapper, ios=wrapper.ios(), name=TOP)
    stem = f"{name.replace(':', '-')}-{config.fingerprint()[:8]}"
    path = folder / f"{stem}.v"
    path.write_text(result.main_source, encoding="utf-8")
    for name_in_folder, content in result.data_files.items():
        (folder / name_in_folder).write_text(content, encoding="utf-8")
    return path, wrapper.input_bits, wrapper.output_bits


def measure(
    name: str, config: EngineConfig, seed: int, placer: str, speed: int, folder: Path
) -> Usage:
    """Area and clock of a unit, its wrapper not counted."""
    verilog, input_bits, output_bits = write_verilog(name, config, folder / name.replace(":", "-"))
    usage = place_and_route(verilog, TOP, seed, placer, speed)
    return dataclasses.replace(
        usage,
        luts=usage.luts - output_bits,
        flip_flops=usage.flip_flops - input_bits - 2 * output_bits,
    )


def failures(name: str, usage: Usage) -> list[str]:
    """The bars that a unit or the engine misses, as sentences."""
    bar = ENGINE_MHZ if name == "engine" else UNIT_MHZ
    found = []
    if usage.fmax_mhz < bar:
        found.append(f"{name}: {usage.fmax_mhz:.1f} MHz is below {bar:.0f} MHz")
    if name == "engine" and usage.lut_share > ENGINE_LUT_SHARE:
        found.append(
            f"{name}: {usage.lut_share:.1%} of the LUTs is more than {ENGINE_LUT_SHARE:.0%}"
        )
    if usage.latches:
        found.append(f"{name}: {usage.latches} latches inferred")
    if usage.undriven:
        found.append(f"{name}: signals without driver or with several")
    return found


def render(name: str, usage: Usage) -> str:
    """One line of the table."""
    return (
        f"{name:14} {usage.luts:6} {usage.flip_flops:6} {usage.multipliers:4} "
        f"{usage.block_rams:5} {usage.fmax_mhz:7.1f} {usage.lut_share:7.1%} {usage.latches:7}"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line; the engine when nothing is named."""
    parser = argparse.ArgumentParser(prog="python -m jalsoc.ooc", description=__doc__)
    parser.add_argument("--unit", nargs="+", default=[], metavar="NAME", help="units to measure")
    parser.add_argument("--engine", action="store_true", help="measure the whole engine (default)")
    parser.add_argument("--lanes", type=int, default=16, help="bytes in an engine word (16)")
    parser.add_argument("--config", default="{}", help="fields of EngineConfig as JSON")
    parser.add_argument("--seed", type=int, default=1, help="seed of the placer (1)")
    parser.add_argument("--speed", type=int, choices=SPEEDS, default=6, help="speed grade (6)")
    parser.add_argument("--placer", choices=PLACERS, help="heap, or spread for the standard engine")
    parser.add_argument("--path", action="store_true", help="print the slowest path as well")
    options = parser.parse_args(arguments)
    options.names = options.unit + ["engine"] * (options.engine or not options.unit)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the process's exit code, 1 when a bar is missed."""
    options = parse(arguments)
    missed: list[str] = []
    try:
        changes = {"lanes": options.lanes} | json.loads(options.config)
        print(f"{'unit':14} {'LUT':>6} {'FF':>6} {'MULT':>4} {'BRAM':>5} {'MHz':>7}", end=" ")
        print(f"{'of 85F':>7} {'latches':>7}", flush=True)
        for name in options.names:
            config = dataclasses.replace(ENGINES.get(name, EngineConfig()), **changes)
            placer = options.placer or ("spread" if name == "standard" else "heap")
            usage = measure(name, config, options.seed, placer, options.speed, build_folder())
            print(render(name, usage), flush=True)
            if options.path:
                print("\n".join(usage.critical_path))
            missed += failures(name, usage)
    except JalError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (ValueError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in missed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

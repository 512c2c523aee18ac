"""Cycles per token of the system's CPU alone: ``python -m jalsoc.baseline CHECKPOINT``.

See :mod:`jalsoc.baseline` for what is compared.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from jalhost.errors import DeviceError, JalError
from jalhost.models.llama2c import read_checkpoint
from jalhost.models.tokenizer import BOS
from jalsoc.baseline.quantised import QuantisedModel, continue_greedily
from jalsoc.baseline.run import Measurement, measure
from jalsoc.sim.build import build
from jalsoc.sim.config import SimulatorConfig

GROUP = 64
"""Columns that share a scale, as in llama2.c's exports."""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    default = SimulatorConfig()
    parser = argparse.ArgumentParser(prog="python -m jalsoc.baseline", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="llama2.c checkpoint (float32)")
    parser.add_argument("--tokens", type=int, default=3, help="to generate")
    parser.add_argument("--depth", type=int, default=0, help="positions in the KV cache before")
    parser.add_argument("--group", type=int, default=GROUP, help="columns that share a scale")
    parser.add_argument("--dram", default=default.dram)
    parser.add_argument("--dram-mib", type=int, default=default.dram_mib)
    parser.add_argument("--json", action="store_true", help="print an object")
    result = parser.parse_args(arguments)
    if result.group < 4 or result.group % 4:
        parser.error("--group is a multiple of 4")
    return result


def run(arguments: argparse.Namespace) -> Measurement:
    """Measures, and checks the tokens against NumPy's.

    Raises:
        JalError: the CPU did something else, or nothing could be measured.
    """

    def report(position: int, cycle: int) -> None:
        print(f"position {position} done at cycle {cycle:,}", file=sys.stderr)

    model = QuantisedModel(read_checkpoint(arguments.checkpoint), arguments.group)
    built = build(SimulatorConfig(dram=arguments.dram, dram_mib=arguments.dram_mib))
    prompt = (BOS,)
    result = measure(built, model, prompt, arguments.tokens, arguments.depth, report)
    expected = continue_greedily(model, prompt, arguments.tokens, arguments.depth)
    if result.tokens != expected:
        raise DeviceError(f"the CPU generated {result.tokens}, NumPy {expected}")
    return result


def as_dict(arguments: argparse.Namespace, result: Measurement) -> dict[str, Any]:
    """For JSON."""
    return {
        "model": arguments.checkpoint.stem,
        "group": arguments.group,
        "n_depth": arguments.depth,
        "token_ids": result.tokens,
        "positions": result.positions,
        "cycles": result.cycles,
        "cycles_per_token": result.cycles_per_token,
    }


def main() -> int:
    """Prints the figures; returns the exit status."""
    arguments = parse(sys.argv[1:])
    try:
        result = run(arguments)
    except JalError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        print(json.dumps(as_dict(arguments, result)))
        return 0
    print(f"tokens            {' '.join(map(str, result.tokens))}")
    print(f"positions         {result.positions[0]} to {result.positions[-1]}")
    print(f"cycles            {' '.join(f'{cycles:,}' for cycles in result.cycles)}")
    print(f"cycles per token  {result.cycles_per_token:,.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

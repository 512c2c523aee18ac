"""From a configuration to a bundle."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from jalboards import vivado
from jalboards.board import Flow
from jalboards.build import Stages, area_counted, build_layout, build_system
from jalboards.bundle import firmware_member, write
from jalboards.config import BuildConfig
from jalboards.timing import utilisation
from jalboards.tools import BITSTREAM
from jalsoc.ooc_tools import critical_path
from jalsoc.sim.build import Progress


def make_bundle(
    config: BuildConfig, path: Path, progress: Progress, allow_timing_failure: bool = False
) -> dict[str, Any]:
    """Builds whatever is not in the cache, and writes the bundle.

    Returns:
        What was built: path, SHA-256, clocks, utilisation.

    Raises:
        EnvironmentProblem: a tool is missing; the hint has the command that installs it.
        BuildError: a tool failed, the FPGA is too small, or a clock is too slow; nothing is
            written then.
        UsageError: the bundle cannot be written.
    """
    stages = Stages(config, progress)
    if config.facts.flow is Flow.VIVADO:
        return _make_project(config, path, stages)
    layout = build_layout(config, stages, allow_timing_failure)
    found, used = layout.chosen.clocks, utilisation(layout.report)
    files = {BITSTREAM: layout.bitstream} | firmware_member(layout.firmware)
    tries = [{"seed": item.seed, "outcome": item.outcome} for item in layout.tries]
    timing = {"critical_path": critical_path(layout.report), "tries": tries}
    final = replace(config, seed=layout.chosen.seed)
    digest = stages.run(
        "bundle", lambda: (write(path, final, layout.system, found, used, files, timing), False)
    )
    return {
        "path": str(path),
        "ethernet": config.ethernet,
        "sha256": digest,
        "seed": final.seed,
        "tries": tries,
        "timing_met": layout.chosen.problem is None,
        "clocks": {clock.name: [clock.achieved_mhz, clock.constraint_mhz] for clock in found},
        "utilisation": used,
    }


def _make_project(config: BuildConfig, path: Path, stages: Stages) -> dict[str, Any]:
    """A bundle with a project for Vivado."""
    verilog, firmware = build_system(config, stages)
    counted = stages.run("yosys", lambda: area_counted(config, verilog, stages))
    statistics = (counted / vivado.STATISTICS).read_text(encoding="utf-8")
    used = vivado.area(statistics, config.facts.part)
    files = vivado.project(verilog) | firmware_member(firmware)
    digest = stages.run("bundle", lambda: (write(path, config, verilog, (), used, files), False))
    return {
        "path": str(path),
        "ethernet": config.ethernet,
        "sha256": digest,
        "seed": None,
        "tries": [],
        "timing_met": None,
        "clocks": {},
        "utilisation": used,
    }

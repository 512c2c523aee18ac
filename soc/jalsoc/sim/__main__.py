"""Simulators for other processes: ``python -m jalsoc.sim run`` or ``build``.

Standard output speaks JSON, one object per line; see ``docs/simulator.md``. ``run`` becomes the
harness itself once everything is built, so that no process stands between it and its owner.
"""

import argparse
import json
import os
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jalgateware.contract.config import STANDARD
from jalhost.errors import INTERRUPTED, JalError, UsageError
from jalsoc.cpu import CPUS
from jalsoc.dram import DRAM_KINDS, dram_chip, dram_kind
from jalsoc.sim.build import SimulatorBuild, build
from jalsoc.sim.config import MIB, SimulatorConfig
from jalsoc.sim.faults import FORMS
from jalsoc.sim.links import LINKS
from jalsoc.sim.process import SimulatorOptions, harness_command
from jalsoc.sim.system_faults import forms, is_system_fault


def emit(event: str, **fields: Any) -> None:
    """Writes an event."""
    print(json.dumps({"event": event} | fields), flush=True)


def report_progress(step: str, state: str, seconds: float, cached: bool) -> None:
    """Tells how building goes on."""
    emit("build", step=step, state=state, seconds=round(seconds, 3), cached=cached)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    default = SimulatorConfig()
    parser = argparse.ArgumentParser(prog="python -m jalsoc.sim", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    system = argparse.ArgumentParser(add_help=False)
    system.add_argument(
        "--engine",
        default="{}",
        help="fields of EngineConfig as JSON; others are as the DRAM wants them, or the defaults",
    )
    system.add_argument("--dram", default=default.dram, help=", ".join(DRAM_KINDS))
    system.add_argument("--dram-mib", type=int, default=default.dram_mib)
    system.add_argument("--clock-hz", type=int, default=default.clock_hz)
    system.add_argument("--cpu", default=default.cpu, help=", ".join(CPUS))
    system.add_argument(
        "--link", default=default.link, help=f"besides UARTBone: {', '.join(LINKS)}"
    )
    system.add_argument("--sensors", action="store_true", help="with a sensor bus")
    system.add_argument("--scope", action="store_true", help="with LiteScope's analyzer")
    system.add_argument("--fault", default="", help=f"what is broken: {FORMS}; {forms()}")
    system.add_argument("--trace-file", type=Path, help="writes waveforms (FST)")
    commands.add_parser("describe", parents=[system], help="only say what would be built")
    commands.add_parser("build", parents=[system], help="only build")
    run = commands.add_parser("run", parents=[system], help="build and run")
    run.add_argument("--preload", type=Path, help="image as it lies in DRAM")
    run.add_argument("--pty", action="store_true", help="also offer a pseudo terminal")
    run.add_argument("--port", type=int, default=0, help="TCP port; 0 picks one")
    run.add_argument("--udp-port", type=int, default=0, help="of --link eth; 0 picks one")
    run.add_argument("--cycles-per-byte", type=int, default=0, help="pace of the serial line")
    run.add_argument("--idle-exit", type=float, default=0.0, help="seconds without a client")
    run.add_argument("--max-cycles", type=int, default=0)
    run.add_argument("--trace-start", type=int, default=0)
    run.add_argument("--trace-cycles", type=int, default=1_000_000)
    run.add_argument("--attached", action="store_true", help="end when standard input closes")
    return parser.parse_args(arguments)


def configuration(arguments: argparse.Namespace) -> SimulatorConfig:
    """The system that the command line asks for.

    Raises:
        UsageError: there is no such system.
    """
    try:
        fitting = dram_kind(arguments.dram).engine
        engine = replace(STANDARD, **(fitting | json.loads(arguments.engine)))
    except (ValueError, TypeError) as error:
        raise UsageError(f"--engine: {error}", "fields of EngineConfig as JSON") from error
    config = SimulatorConfig(
        engine=engine,
        dram=arguments.dram,
        dram_mib=arguments.dram_mib,
        clock_hz=arguments.clock_hz,
        link=arguments.link,
        cpu=arguments.cpu,
        scope=arguments.scope,
        sensors=arguments.sensors,
        fault="" if is_system_fault(arguments.fault) else arguments.fault,
    )
    if config.dram_mib != SimulatorConfig.dram_mib:
        # Importing LiteDRAM takes a while, and any DRAM has chips of the default size.
        dram_chip(dram_kind(config.dram), config.dram_mib * MIB, config.clock_hz)
    return config


def become_harness(built: SimulatorBuild, arguments: argparse.Namespace) -> None:
    """Replaces this process by the simulator.

    Raises:
        UsageError: the file to preload cannot be read.
    """
    preload: Path | None = arguments.preload
    if preload is not None and not os.access(preload, os.R_OK):
        raise UsageError(f"cannot read {preload}")
    options = SimulatorOptions(
        preload=preload,
        pty=arguments.pty,
        cycles_per_byte=arguments.cycles_per_byte,
        idle_exit_s=arguments.idle_exit,
        max_cycles=arguments.max_cycles,
        trace_file=arguments.trace_file,
        trace_start=arguments.trace_start,
        trace_cycles=arguments.trace_cycles,
        port=arguments.port,
        udp_port=arguments.udp_port,
        attached=arguments.attached,
        fault=arguments.fault if is_system_fault(arguments.fault) else "",
    )
    command = harness_command(built, options)
    os.chdir(built.system)
    os.execv(command[0], command)


def main() -> int:
    """Runs the command; returns the exit status."""
    arguments = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        config = configuration(arguments)
        if arguments.command == "describe":
            emit("system", **asdict(config))
            return 0
        built = build(config, report_progress, arguments.trace_file is not None)
        if arguments.command == "run":
            become_harness(built, arguments)
        emit("built", binary=str(built.binary), csr_json=str(built.csr_json))
    except JalError as error:
        emit("error", kind=type(error).__name__, what=error.what, hint=error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        emit("stopped", reason="signal", cycles=0, seconds=0.0)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())

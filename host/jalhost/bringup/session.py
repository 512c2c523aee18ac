"""A whole bring-up: opens the target, runs its rounds, and makes the report."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from jalhost import progress
from jalhost.bringup.access import check_target, open_access
from jalhost.bringup.bench import Bench
from jalhost.bringup.build import build_of_bundle
from jalhost.bringup.report import Report, RoundReport
from jalhost.bringup.runner import Listener, choose_stages, run_round
from jalhost.bringup.sensors import ReadSensors
from jalhost.bringup.sequence import FUNCTIONS
from jalhost.bringup.stages import Stage
from jalhost.bundle import open_bundle
from jalhost.engine.gateware import Gateware, parse_gateware
from jalhost.engine.target import Provenance
from jalhost.engine.targets import target_board
from jalhost.errors import JalError
from jalhost.models.image import Image


@dataclass(frozen=True)
class Request:
    """What to look at. ``stages``: these alone; ``until``: all up to this one."""

    target: str
    stages: tuple[str, ...] = ()
    until: str | None = None
    repeat: int = 1
    gateware: str | None = None
    fault: str = ""
    bundle: Path | None = None
    cable: str | None = None
    cable_serial: str | None = None


class RoundListener(Listener, Protocol):
    """Hears of rounds besides."""

    def round_started(self, number: int, of: int) -> None:
        """A round begins."""


def bring_up(
    request: Request,
    model: Callable[[], Image],
    report: progress.Report,
    listener: RoundListener,
    read_sensors: ReadSensors | None = None,
) -> Report:
    """Runs all rounds; each opens the target anew.

    Args:
        request: what to look at.
        model: returns that of the stages ``token`` and ``tokens``.
        report: takes lines of progress.
        listener: hears how it goes.
        read_sensors: reads the device's sensors.

    Raises:
        UsageError: the request makes no sense.
        LinkError: a farm does not give its board.
        BundleError: the bundle cannot be used.
        ModelError: the model cannot be used.
        BuildError: the simulator cannot be built.
    """
    stages = choose_stages(request.stages, request.until)
    bundle = open_bundle(request.bundle) if request.bundle else None
    gateware = parse_gateware(request.gateware) if request.gateware else Gateware()
    build = build_of_bundle(bundle) if bundle else None
    fault = request.fault or str(gateware.system.get("fault", ""))
    check_target(request.target, gateware, request.fault)
    image = model()
    started, start = datetime.now(UTC), time.monotonic()
    rounds, provenance = [], None
    with target_board(request.target, report) as board:
        bench = Bench(
            target=request.target,
            access=open_access(board.address, report, build, gateware, request.fault),
            image=image,
            report=report,
            bundle=bundle,
            cable=request.cable or board.cable,
            cable_serial=request.cable_serial or board.cable_serial,
            read_sensors=read_sensors,
            fault=fault,
        )
        for number in range(1, request.repeat + 1):
            listener.round_started(number, request.repeat)
            with closing(bench):
                bench.prepare()
                rounds.append(run_round(number, bench, stages, FUNCTIONS, listener))
                provenance = provenance or _provenance(bench, rounds[-1])
    broken = next((item.broken for item in rounds if item.broken), None)
    return Report(
        jalhost=version("jalhost"),
        target=request.target,
        provenance=provenance,
        bundle=str(request.bundle) if request.bundle else None,
        fault=fault or None,
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - start, 3),
        passed=broken is None,
        broken=broken,
        rounds=rounds,
    )


def _provenance(bench: Bench, entry: RoundReport) -> Provenance | None:
    """None where no stage has met the device, or it does not say whether it is one."""
    met = [item.evidence for item in entry.stages if item.stage not in _JTAG]
    if not any(met) or entry.broken is Stage.LINK:
        return Provenance.SIMULATED if bench.access.simulated else None
    try:
        return Provenance.SIMULATED if bench.simulated else Provenance.MEASURED
    except JalError:
        return None


_JTAG = (Stage.CABLE, Stage.IDCODE, Stage.CONFIGURATION)

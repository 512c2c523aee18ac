"""Runs stages in turn, and turns whatever happens in one into its verdict."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from jalhost.bringup.bench import Bench
from jalhost.bringup.report import PowerSample, RoundReport, StageReport, Verdict
from jalhost.bringup.stages import (
    NEEDS,
    TITLES,
    Evidence,
    Stage,
    StageFailure,
    StageFunction,
    StageSkip,
)
from jalhost.errors import DeviceError, JalError, UsageError

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Hears how it goes."""

    def started(self, stage: Stage) -> None:
        """A stage begins."""

    def ended(self, report: StageReport) -> None:
        """A stage is over."""


def choose_stages(only: Sequence[str], until: str | None) -> list[Stage]:
    """The stages to run: those named, or all up to one.

    Raises:
        UsageError: there is no such stage, or both are asked for.
    """
    if only and until:
        raise UsageError("--stage and --until exclude each other")
    for name in (*only, *([until] if until else [])):
        if name not in list(Stage):
            raise UsageError(f"there is no stage {name!r}", f"stages: {', '.join(Stage)}")
    if only:
        return [stage for stage in Stage if stage in only]
    stages = list(Stage)
    return stages[: stages.index(Stage(until)) + 1] if until else stages


def run_round(
    number: int,
    bench: Bench,
    stages: Sequence[Stage],
    functions: Mapping[Stage, StageFunction],
    listener: Listener,
) -> RoundReport:
    """Runs stages in order; those that need one that failed are skipped."""
    reports: list[StageReport] = []
    power: list[PowerSample] = []
    start = time.monotonic()
    failed: set[Stage] = set()
    for stage in stages:
        listener.started(stage)
        missing = [need for need in NEEDS.get(stage, ()) if need in failed]
        if missing:
            report = StageReport(
                stage=stage,
                title=TITLES[stage],
                verdict=Verdict.SKIP,
                summary=f"needs {missing[0]}, which failed",
                seconds=0.0,
            )
            # What needs this one needs that one, too.
            failed.add(stage)
        else:
            report = run_stage(stage, bench, functions[stage])
            if report.verdict is Verdict.FAIL:
                failed.add(stage)
        reports.append(report)
        listener.ended(report)
        if (drawn := bench.watts()) is not None:
            power.append(PowerSample(seconds=round(time.monotonic() - start, 3), watts=drawn))
    broken = next((item.layer for item in reports if item.layer), None)
    return RoundReport(number=number, broken=broken, stages=reports, power=power)


def run_stage(stage: Stage, bench: Bench, function: StageFunction) -> StageReport:
    """Runs one stage."""
    evidence: Evidence = {}
    start = time.monotonic()
    boots = bench.boots
    failure: StageFailure | None = None
    try:
        summary, verdict = function(bench, evidence), Verdict.PASS
        bench.check_boots(boots)
    except StageSkip as skip:
        summary, verdict = str(skip), Verdict.SKIP
    except StageFailure as error:
        failure = error
    except JalError as error:
        _log.debug("stage %s", stage, exc_info=True)
        failure = _explain(stage, bench, boots, error)
    if failure:
        summary, verdict = failure.what, Verdict.FAIL
    return StageReport(
        stage=stage,
        title=TITLES[stage],
        verdict=verdict,
        summary=summary,
        seconds=round(time.monotonic() - start, 3),
        evidence=evidence,
        causes=list(failure.causes) if failure else [],
        next_command=failure.next_command if failure else None,
        layer=(failure.layer or stage) if failure else None,
    )


def _explain(stage: Stage, bench: Bench, boots: int | None, error: JalError) -> StageFailure:
    """What an error means that a stage did not expect: first of all, does the CPU still run?"""
    try:
        bench.check_boots(boots)
    except StageFailure as failure:
        return failure
    causes = (error.hint,) if error.hint else (_unexplained(error),)
    return StageFailure(error.what, causes, bench.command(stage, "--debug"))


def _unexplained(error: JalError) -> str:
    if isinstance(error, DeviceError):
        return "the device answers, but not as it should: see an earlier stage, or its console"
    return "the link broke in the middle"

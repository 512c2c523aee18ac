"""Runs stages in turn, and turns whatever happens in one into its verdict."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from jalhost.bringup.bench import Bench
from jalhost.bringup.report import RoundReport, StageReport, Verdict
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
    failed: set[Stage] = set()
    for stage in stages:
        listener.started(stage)
        missing = [need for need in NEEDS.get(stage, ()) if need in failed]
        if missing:
            report = _report(stage, Verdict.SKIP, f"needs {missing[0]}, which failed", 0.0)
            # What needs this one needs that one, too.
            failed.add(stage)
        else:
            report = run_stage(stage, bench, functions[stage])
            if report.verdict is Verdict.FAIL:
                failed.add(stage)
        reports.append(report)
        listener.ended(report)
    broken = next((item.stage for item in reports if item.verdict is Verdict.FAIL), None)
    return RoundReport(number=number, broken=broken, stages=reports)


def run_stage(stage: Stage, bench: Bench, function: StageFunction) -> StageReport:
    """Runs one stage."""
    evidence: Evidence = {}
    start = time.monotonic()
    causes: tuple[str, ...] = ()
    next_command = None
    boots = bench.boots
    try:
        summary, verdict = function(bench, evidence), Verdict.PASS
        bench.check_boots(boots)
    except StageSkip as skip:
        summary, verdict = str(skip), Verdict.SKIP
    except StageFailure as failure:
        summary, verdict = failure.what, Verdict.FAIL
        causes, next_command = failure.causes, failure.next_command
    except JalError as error:
        _log.debug("stage %s", stage, exc_info=True)
        summary, verdict = error.what, Verdict.FAIL
        causes = (error.hint,) if error.hint else (_unexplained(error),)
        next_command = bench.command(stage, "--debug")
    seconds = time.monotonic() - start
    return _report(stage, verdict, summary, seconds, evidence, causes, next_command)


def _unexplained(error: JalError) -> str:
    if isinstance(error, DeviceError):
        return "the device answers, but not as it should: see an earlier stage, or its console"
    return "the link broke in the middle"


def _report(
    stage: Stage,
    verdict: Verdict,
    summary: str,
    seconds: float,
    evidence: Evidence | None = None,
    causes: tuple[str, ...] = (),
    next_command: str | None = None,
) -> StageReport:
    return StageReport(
        stage=stage,
        title=TITLES[stage],
        verdict=verdict,
        summary=summary,
        seconds=round(seconds, 3),
        evidence=evidence or {},
        causes=list(causes),
        next_command=next_command,
    )

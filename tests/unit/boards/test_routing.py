"""When a placement is given up: by nextpnr's log, and alike on all machines."""

from itertools import accumulate
from pathlib import Path

import pytest

from jalboards import routing
from jalboards.routing import HopelessError, Watch, hopeless
from jalhost.errors import BuildError
from jaltest.fake_tools import router_log

GOOD = router_log(10_000, [0.9, 0.8, 0.7, 0.6, *12 * [0.5], 1.0])

SLOW_SPOT = router_log(10_000, [0.9, 0.8, 0.1, 0.9, 0.8])
"""A thousand iterations for a hundred arcs, and then on."""

CROWDED = router_log(10_000, [0.9, 0.8, 0.5, *20 * [0.25]])

BACKWARDS = router_log(10_000, [0.9, 0.8, *4 * [-0.1]])


@pytest.mark.parametrize(
    "log", ["", "Info: Placed 0 cells", router_log(10_000, []), GOOD, SLOW_SPOT]
)
def test_what_gets_on_goes_on(log: str) -> None:
    assert hopeless(log) is None


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (CROWDED, "after 5,000 iterations 7,300 of 10,000 wires are left, and 0.25 fewer with"),
        (BACKWARDS, "after 4,000 iterations 8,500 of 10,000 wires are left, and 0.00 fewer with"),
    ],
)
def test_what_needs_too_many_iterations_is_given_up(log: str, reason: str) -> None:
    assert reason in (hopeless(log) or "")


def test_the_verdict_does_not_depend_on_when_one_looks() -> None:
    """From some line on it is the same."""
    logs = accumulate(CROWDED.splitlines(keepends=True))
    verdicts = [hopeless(log) for log in logs]
    first = next(number for number, verdict in enumerate(verdicts) if verdict)
    assert set(verdicts[:first]) == {None}
    assert len(set(verdicts[first:])) == 1


def test_a_watch_reads_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(GOOD, encoding="utf-8")
    watch = Watch(log, "ecpix5", 3)
    watch()
    log.write_text(CROWDED, encoding="utf-8")
    with pytest.raises(HopelessError, match=r"the wires of ecpix5 find no way with seed 3: aft"):
        watch()


def test_time_is_the_last_resort(tmp_path: Path) -> None:
    """It is an error, as slower machines would otherwise build something else."""
    log, now = tmp_path / "log", [1000.0]
    log.write_text(GOOD, encoding="utf-8")
    watch = Watch(log, "ecpix5", 3, lambda: now[0])
    now[0] += routing.LIMIT_S
    watch()
    now[0] += 1
    with pytest.raises(BuildError, match=r"seed 3 in 4 hours .--seed 4 goes on") as caught:
        watch()
    assert not isinstance(caught.value, HopelessError)

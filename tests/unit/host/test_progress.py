"""How far something is: in lines, on a terminal and elsewhere."""

import io
import sys
from itertools import pairwise

import pytest

from jalhost.cli import options
from jalhost.progress import Meter, Progress, duration
from jaltest.uart import simulated_time


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (7, "0:07"), (750, "12:30"), (3723, "1:02:03")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_rate_and_time_left() -> None:
    with simulated_time() as clock:
        meter = Meter(3_000_000)
        assert meter.progress(1000) == "  0% sent"
        clock.sleep(10)
        line = meter.progress(1_000_000)
    assert line == " 33% sent, 100 kB/s, 0:20 left"
    assert line.share == pytest.approx(1 / 3)


def test_without_a_terminal_there_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with simulated_time() as clock:
        for percent in range(100):
            options.say(Progress(f"{percent}%", percent / 100))
            clock.sleep(0.3)
        options.say("done")
    *lines, last = capsys.readouterr().err.split()
    assert last == "done"
    shown = [int(line.rstrip("%")) for line in lines]
    assert 4 <= len(shown) <= 6
    assert all(0.3 * (b - a) >= options.PLAIN_PROGRESS_S for a, b in pairwise(shown))


def test_on_a_terminal_one_line_replaces_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    options.say(Progress("25% sent, 300 kB/s", 0.25))
    options.say(Progress("50% sent, 300 kB/s", 0.5))
    options.say("ready")
    shown = terminal.getvalue()
    assert "50% sent, 300 kB/s" in shown
    assert shown.endswith("ready\n")
    assert "\x1b[?25h" in shown, "the cursor is back"

"""Long tests: time, log, resuming, and what goes wrong meanwhile."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from jalhost.engine.emulator import Emulator
from jalhost.engine.target import Request, Sampled
from jalhost.errors import DeviceError, LinkError, UsageError
from jalhost.models.image_file import save_image
from jalhost.verify.soak import MOST_FAILURES, Plan, Soak, failure, parse_duration
from jalhost.verify.soak_log import SoakLog, Totals
from jaltest.texts import JALHOST
from jaltest.tiny import tiny_image

IMAGE = tiny_image()


class Clock:
    """A second for each look."""

    def __init__(self) -> None:
        self._seconds = count()

    def __call__(self) -> float:
        return float(next(self._seconds))


class Faulty(Emulator):
    """Fails in some runs, and gives a wrong token in others."""

    def __init__(self, failing: tuple[int, ...] = (), wrong: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.failing, self.wrong, self.runs = failing, wrong, 0

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        number, self.runs = self.runs, self.runs + 1
        if number in self.failing:
            raise DeviceError("the engine hangs")
        samples: Iterator[Sampled] = super().run(request)
        if number in self.wrong:
            first = next(samples)
            yield Sampled(first.token ^ 1, first.seconds)
        yield from samples


def soak(target: Emulator, path: Path | None, seconds: float, resume: bool = False) -> Soak:
    test = Soak(target, IMAGE, SoakLog(path, resume), lambda _: None, clock=Clock())
    test.reason = test.run(Plan(seconds, 4))  # type: ignore[attr-defined] # for the test
    return test


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_durations() -> None:
    assert parse_duration("90") == parse_duration("90s") == parse_duration("1m30s") == 90
    assert parse_duration("1h30m") == 5400
    assert parse_duration("2d") == 172_800
    assert parse_duration("1.5m") == 90
    for text in ("", "0", "10 m", "m", "5x", "-5s", "1e3"):
        with pytest.raises(UsageError):
            parse_duration(text)


def test_rounds_until_the_time_is_up(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    test = soak(Emulator(), log, 30)
    found = lines(log)
    assert [line["event"] for line in found[:2]] == ["start", "round"]
    assert found[0]["provenance"] == "emulated"
    assert found[-1]["event"] == "end"
    assert found[-1]["reason"] == "time"
    rounds = [line for line in found if line["event"] == "round"]
    assert len(rounds) == test.totals.rounds == found[-1]["rounds"]
    assert [line["round"] for line in rounds] == list(range(len(rounds)))
    assert test.totals.tokens == 4 * len(rounds)
    assert 30 <= test.totals.elapsed_s < 40
    assert failure(test.totals) is None


def test_resuming_goes_on_where_it_ended(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    first = soak(Emulator(), log, 20).totals
    with log.open("a") as file:
        file.write('{"event": "round", "tok')  # the power went
    second = soak(Emulator(), log, 40, resume=True)
    found = lines(log)
    assert [line["event"] for line in found].count("resume") == 1
    assert second.totals.rounds > first.rounds
    rounds = [line for line in found if line["event"] == "round"]
    assert [line["round"] for line in rounds] == list(range(len(rounds)))
    elapsed = [line["elapsed_s"] for line in rounds]
    assert elapsed == sorted(elapsed)
    assert second.totals.tokens == sum(line["tokens"] for line in rounds)


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with pytest.raises(UsageError, match="cannot read"):
        SoakLog(log, resume=True)
    for text in ("", "text\n", "[1]\n", '{"event": "round"}\n', '{"event": "start"}\n'):
        log.write_text(text)
        with pytest.raises(UsageError, match="no log of jalhost soak"):
            SoakLog(log, resume=True)
        assert log.read_text() == text
    with pytest.raises(UsageError, match="is there already"):
        SoakLog(log, resume=False)
    log.unlink()
    soak(Emulator(), log, 5)
    log.write_text(log.read_text().replace('"tiny"', '"other"'))
    before = log.read_text()
    with pytest.raises(UsageError, match="of the model other"):
        soak(Emulator(), log, 20, resume=True)
    assert log.read_text() == before


def test_wrong_texts_and_failures_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    test = soak(Faulty(failing=(1,), wrong=(2,)), log, 40)
    totals = test.totals
    assert (totals.failed_rounds, totals.wrong_tokens) == (1, 1)
    rounds = [line for line in lines(log) if line["event"] == "round"]
    assert rounds[1]["error"] == "the engine hangs"
    assert rounds[2]["wrong_tokens"] == 1
    error = failure(totals)
    assert isinstance(error, DeviceError)
    assert "1 wrong texts" in error.what


def test_a_target_that_keeps_failing_ends_it(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    test = soak(Faulty(failing=tuple(range(1, 100))), log, 1000)
    assert lines(log)[-1]["reason"] == "failed"
    assert test.totals.failed_rounds == MOST_FAILURES


def test_damage_by_the_link_is_an_error_of_its_own() -> None:
    error = failure(Totals(rounds=3, link_readings=48, link_damaged=2))
    assert isinstance(error, LinkError)
    assert failure(Totals(rounds=3, link_readings=48)) is None


def test_temperature() -> None:
    readings = iter([41.0, 45.5, 43.0])
    test = Soak(
        Emulator(),
        IMAGE,
        SoakLog(None, resume=False),
        lambda _: None,
        sensors=lambda: {"temperature": next(readings, 40.0), "vccint": 1.0},
        clock=Clock(),
    )
    test.run(Plan(20, 2))
    assert test.totals.temperature_max_c == 45.5


def test_ctrl_c_ends_with_a_last_line(tmp_path: Path) -> None:
    save_image(IMAGE, tmp_path / "x.jal")
    log = tmp_path / "log.jsonl"
    command = [*JALHOST, "soak", "--time", "1h", "--target", "emu", "--json", "-n", "4"]
    process = subprocess.Popen(
        [*command, "--model", str(tmp_path / "x.jal"), "--log", str(log)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ,
    )
    while not log.exists() or log.read_text().count("\n") < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    last = lines(log)[-1]
    assert (last["event"], last["reason"]) == ("end", "interrupted")
    assert json.loads(output) == {
        key: value for key, value in last.items() if key not in ("event", "time")
    }

"""`jalhost power`, and `--meter` in other commands: output, JSON, and one line where it fails."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jalhost.cli.main import main
from jalhost.errors import INTERRUPTED
from jalhost.models.image_file import save_image
from jalhost.power.report import PowerReport, PowerResult
from jaltest.processes import wait_until_gone
from jaltest.sensors import INSTRUMENT, RESOURCE
from jaltest.texts import JALHOST
from jaltest.tiny import tiny_image

TWO_WATTS = "command:echo 2"


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    code: int
    out: str
    err: str


Jalhost = Callable[..., Run]


@pytest.fixture
def jalhost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Jalhost]:
    """The command line in this process."""

    def run(*arguments: str) -> Run:
        monkeypatch.setattr(sys, "argv", ["jalhost", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        code = end.value.code or 0
        assert isinstance(code, int)
        out, err = capsys.readouterr()
        return Run(code, out, err)

    handler = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "x.jal"
    save_image(tiny_image(), path)
    return str(path)


def assert_fails(run: Run, code: int, *parts: str) -> None:
    assert run.code == code, run
    assert run.out == ""
    lines = [line for line in run.err.splitlines() if not line.startswith("measuring")]
    assert len(lines) == 1, run.err
    assert lines[0].startswith("jalhost: error: ")
    for part in parts:
        assert part in lines[0]


def test_a_meter_alone(jalhost: Jalhost) -> None:
    run = jalhost("power", "--meter", TWO_WATTS, "--time", "50ms")
    assert run.code == 0, run
    assert run.out.startswith("[2 W mean (2 W to 2 W), ")
    assert "; metered: command echo 2, " in run.out


def test_json_is_as_the_schema_has_it(jalhost: Jalhost) -> None:
    run = jalhost("power", "--meter", TWO_WATTS, "--time", "50ms", "--json")
    result = PowerResult.model_validate_json(run.out)
    assert set(json.loads(run.out)) == set(PowerResult.model_fields)
    assert set(json.loads(run.out)["power"]) == set(PowerReport.model_fields)
    assert result.target is None
    assert result.power
    assert result.power.mean_w == 2.0
    assert result.power.energy_j == pytest.approx(2 * result.power.seconds)
    assert result.sensors == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_instrument(jalhost: Jalhost, tmp_path: Path) -> None:
    pytest.importorskip("pyvisa_sim")
    path = tmp_path / "meter.yaml"
    path.write_text(INSTRUMENT)
    meter = f"scpi:{RESOURCE},visa={path}@sim,interval=0.01"
    run = jalhost("power", "--meter", meter, "--time", "50ms", "--json")
    report = PowerResult.model_validate_json(run.out).power
    assert report
    assert report.mean_w == pytest.approx(1.25)
    assert report.samples >= 3


def test_a_target_without_sensors(jalhost: Jalhost) -> None:
    run = jalhost("power", "--target", "emu")
    assert (run.code, run.out) == (0, "")
    assert run.err == "emu has no sensors that are known\n"


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        ([], 2, ("there is nothing to measure", "name --meter, --target, or both")),
        (["--meter", "volts"], 2, ("there is no meter 'volts'", "estimate")),
        (["--meter", "estimate"], 2, ("nothing runs that could be estimated",)),
        (["--meter", TWO_WATTS, "--time", "0"], 2, ("--time takes a time like 10s",)),
        (["--meter", "ina226:0x40,shunt=1"], 2, ("read through a board", "--gateware sensors=1")),
        (["--target", "emu", "--meter", "rails"], 2, ("read through a board",)),
        (["--meter", "csv:/no/such/file"], 4, ("cannot read /no/such/file",)),
        (["--meter", "tasmota:127.0.0.1:1"], 4, ("tasmota 127.0.0.1:1 cannot be reached",)),
        (["--meter", "command:echo 5 V"], 5, ("V is no unit of power",)),
        (["--meter", "scpi:bogus"], 2, ("'bogus' is no VISA resource",)),
    ],
)
def test_one_line_where_it_fails(
    jalhost: Jalhost, arguments: list[str], code: int, parts: tuple[str, ...]
) -> None:
    assert_fails(jalhost("power", *arguments), code, *parts)


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    script, pids = tmp_path / "meter", tmp_path / "pids"
    script.write_text(f"#!/bin/sh\necho $$ >> {pids}\necho 1\n")
    script.chmod(0o755)
    command = [*JALHOST, "power", "--meter", f"command:{script}", "--time", "60s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while not pids.is_file():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (INTERRUPTED, b"")
    assert err == b"jalhost: interrupted\n"
    for pid in pids.read_text().split():
        wait_until_gone(int(pid))


def generate(jalhost: Jalhost, model: str, *arguments: str) -> Run:
    base = ("generate", "the one", "--target", "emu", "--model", model, "--max-tokens", "8")
    return jalhost(*base, *arguments)


def test_generating_with_a_meter(jalhost: Jalhost, model: str) -> None:
    run = generate(jalhost, model, "--meter", TWO_WATTS)
    assert run.code == 0, run
    assert run.out.startswith("the one")
    figures, power = run.err.splitlines()[-2:]
    assert "8 tokens (length)" in figures
    assert power.startswith("[2 W mean")
    assert "J/token; metered: command echo 2, " in power


def test_generating_with_a_meter_as_json(jalhost: Jalhost, model: str) -> None:
    run = generate(jalhost, model, "--meter", TWO_WATTS, "--idle-baseline", "10ms", "--json")
    report = PowerReport.model_validate(json.loads(run.out)["power"])
    assert report.tokens == 8
    assert report.energy_j == pytest.approx(2 * report.seconds)
    # What is drawn when nothing runs is all of it.
    assert report.idle_w == 2.0
    assert report.j_per_token == pytest.approx(0.0, abs=1e-9)
    assert "measuring for 0.01 s what is drawn while nothing runs" in run.err


def test_generating_without_a_meter_says_nothing_of_power(jalhost: Jalhost, model: str) -> None:
    assert "power" not in json.loads(generate(jalhost, model, "--json").out)


def test_a_meter_that_fails_in_the_middle_keeps_text_and_figures(
    jalhost: Jalhost, model: str, tmp_path: Path
) -> None:
    script = tmp_path / "once"
    script.write_text(f"#!/bin/sh\n[ -e {tmp_path}/was ] && exit 1\ntouch {tmp_path}/was\necho 1\n")
    script.chmod(0o755)
    run = generate(jalhost, model, "--meter", f"command:{script}")
    assert run.code == 4, run
    assert run.out.startswith("the one")
    figures, error = run.err.splitlines()[-2:]
    assert "8 tokens (length)" in figures
    assert error.startswith(f"jalhost: error: command {script} failed with 1")


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["--idle-baseline", "1s"], 2, ("there is no meter", "add --meter")),
        (["--meter", "estimate", "--idle-baseline", "1s"], 2, ("there is no meter",)),
        (["--meter", TWO_WATTS, "--idle-baseline", "x"], 2, ("--idle-baseline takes a time",)),
        (["--meter", "estimate"], 2, ("the emulator counts nothing", "--target sim")),
        (["--meter", "command:false"], 4, ("failed with 1",)),
    ],
)
def test_meters_that_generating_cannot_use(
    jalhost: Jalhost, model: str, arguments: list[str], code: int, parts: tuple[str, ...]
) -> None:
    assert_fails(generate(jalhost, model, *arguments), code, *parts)


def bench(jalhost: Jalhost, model: str, *arguments: str) -> Run:
    base = ("bench", "--target", "emu", "--model", model, "-p", "0", "-n", "4", "-r", "2")
    return jalhost(*base, "--meter", TWO_WATTS, *arguments)


def test_benchmarks_with_a_meter(jalhost: Jalhost, model: str) -> None:
    (record,) = json.loads(bench(jalhost, model, "-o", "json").out)
    report = PowerReport.model_validate(record["power"])
    assert report.tokens == 4
    assert report.j_per_token == pytest.approx(2 / record["avg_ts"])
    assert report.energy_j == pytest.approx(4 * 2 / record["avg_ts"])


def test_benchmarks_as_a_table(jalhost: Jalhost, model: str) -> None:
    header, _, row = bench(jalhost, model, "-o", "md").out.splitlines()
    assert header.endswith("| W | J/token | power |")
    cells = [cell.strip() for cell in row.strip("| ").split("|")]
    assert cells[-3] == "2 W"
    assert cells[-2].endswith("J")
    assert cells[-1].startswith("metered: command echo 2")

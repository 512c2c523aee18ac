"""Meters by name: what names mean, plugs, programs and files, and what can go wrong with each."""

import re
import socket
from pathlib import Path

import pytest

from jalhost.errors import DeviceError, JalError, LinkError, UsageError
from jalhost.power.files import CommandMeter, CsvMeter
from jalhost.power.meter import Meter, Source
from jalhost.power.spec import KINDS, parse_meter
from jalhost.power.units import parse_power, parse_time
from jaltest.models import REPOSITORY
from jaltest.sensors import plug


def opened(spec: str) -> Meter:
    return parse_meter(spec).open()


def one_line(error: "pytest.ExceptionInfo[JalError]") -> str:
    text = str(error.value)
    assert "\n" not in text
    assert error.value.hint
    return text


@pytest.mark.parametrize(
    ("text", "place", "options"),
    [
        ("ina226:0x40,shunt=0.01", "0x40", {"shunt": 0.01}),
        ("ina219:69,shunt=5e-3,interval=0.5", "69", {"shunt": 0.005, "interval": 0.5}),
        ("pmbus:52,page=3,power=pout", "52", {"page": 3, "power": "pout"}),
        ("rails", "", {}),
        ("rails,interval=2", "", {"interval": 2.0}),
        ("scpi:TCPIP::10.0.0.1::INSTR", "TCPIP::10.0.0.1::INSTR", {}),
        ("scpi:X::1,query=MEAS:POW? CH1", "X::1", {"query": "MEAS:POW? CH1"}),
        ("shelly:plug.local:80,switch=1", "plug.local:80", {"switch": 1}),
        ("csv:/a/b.csv,column=P,unit=mW", "/a/b.csv", {"column": "P", "unit": "mW"}),
        ("command:read --what a,b=c", "read --what a,b=c", {}),
    ],
)
def test_names(text: str, place: str, options: dict[str, object]) -> None:
    spec = parse_meter(text)
    assert (spec.place, spec.options) == (place, options)
    assert spec.on_board == text.startswith(("ina", "pmbus", "rails"))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "there is no meter ''"),
        ("volts:3", "there is no meter 'volts:3'"),
        ("ina226", "write ina226:ADDRESS"),
        ("ina226:", "write ina226:ADDRESS"),
        ("rails:0x40", "write rails"),
        ("estimate:x", "there is no meter"),
        ("command:", "write command:PROGRAM ARGUMENTS"),
        ("ina226:0x40,shunt=0", "shunt=0: it must be above 0"),
        ("ina226:0x40,shunt=x", "shunt=x"),
        ("ina226:0x40,shunt", "takes no 'shunt'"),
        ("ina226:0x40,page=1", "takes no 'page=1'"),
        ("ina226:0x40,shunt=1,shunt=2", "each once"),
        ("pmbus:52,m=0", "it must not be 0"),
        ("pmbus:52,power=all", "choose from vi, pout, pin"),
        ("csv:x,unit=V", "units are W"),
        ("shelly:a,switch=-1", "it is a number from 0"),
    ],
)
def test_names_that_make_no_sense(text: str, part: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_meter(text)
    assert part in " ".join(str(error.value).split())
    assert "\n" not in str(error.value)


def test_the_page_has_all_kinds_and_keys() -> None:
    page = (REPOSITORY / "docs" / "power.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)[^|]*\| ([^|]*)\|", page, flags=re.MULTILINE))
    for name, kind in KINDS.items():
        assert set(re.findall(r"`(\w+)=", rows[name])) == set(kind.keys), name


@pytest.mark.parametrize(
    ("text", "unit", "watts"),
    [
        ("1.5", "W", 1.5),
        ("1500", "mW", 1.5),
        (" 1.5E+00 W ", "mW", 1.5),
        ("12mW", "W", 0.012),
        ("-0.5", "W", -0.5),
        (".5", "W", 0.5),
        ("250 µW", "W", 250e-6),
    ],
)
def test_powers(text: str, unit: str, watts: float) -> None:
    assert parse_power(text, unit, "x") == pytest.approx(watts)


@pytest.mark.parametrize("text", ["", "nan", "W", "1 2", "1.5 V", "1,5", "9.9E37", "1e999", "0x10"])
def test_answers_that_are_no_power(text: str) -> None:
    with pytest.raises(DeviceError, match=r"^x says"):
        parse_power(text, "W", "x")


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("500ms", 0.5), ("2min", 120), ("3", 3)]
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time("--time", text) == seconds


@pytest.mark.parametrize("text", ["", "s", "0", "-1s", "10 parsecs"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--time takes a time like 10s"):
        parse_time("--time", text)


# Plugs.

SHELLY_1 = {"/shelly": '{"type": "SHPLG-S", "mac": "1"}'}
SHELLY_2 = {"/shelly": '{"id": "x", "gen": 2}'}
TASMOTA = "/cm?cmnd=Status%208"


@pytest.mark.parametrize(
    ("kind", "keys", "answers", "watts"),
    [
        ("shelly", "", SHELLY_1 | {"/meter/0": '{"power": 4.32, "is_valid": true}'}, 4.32),
        ("shelly", ",switch=1", SHELLY_1 | {"/meter/1": '{"power": 1, "is_valid": true}'}, 1),
        ("shelly", "", SHELLY_2 | {"/rpc/Switch.GetStatus?id=0": '{"apower": 8.5}'}, 8.5),
        ("tasmota", "", {TASMOTA: '{"StatusSNS": {"ENERGY": {"Power": 7}}}'}, 7),
        ("tasmota", "", {TASMOTA: '{"StatusSNS": {"ENERGY": {"Power": [7, 1.5]}}}'}, 8.5),
    ],
)
def test_plugs(kind: str, keys: str, answers: dict[str, str | int], watts: float) -> None:
    with plug(answers) as host:
        meter = opened(f"{kind}:{host}{keys}")
        assert meter.read_w() == watts
        assert (meter.source, meter.description) == (Source.METERED, f"{kind} {host}")


@pytest.mark.parametrize(
    ("kind", "answers", "part"),
    [
        ("shelly", {}, "answers /shelly with status 404"),
        ("shelly", {"/shelly": "<html>"}, "answers /shelly with status 200 and no JSON object"),
        ("shelly", {"/shelly": 401}, "asks for a password"),
        ("shelly", SHELLY_1 | {"/meter/0": '{"power": 1, "is_valid": false}'}, "no valid reading"),
        ("shelly", SHELLY_1 | {"/meter/0": "{}"}, "has no number power"),
        ("shelly", SHELLY_2 | {"/rpc/Switch.GetStatus?id=0": "{}"}, "has no number apower"),
        ("tasmota", {TASMOTA: '{"StatusSNS": {"Time": "x"}}'}, "no number StatusSNS.ENERGY.Power"),
        ("tasmota", {TASMOTA: '{"StatusSNS": {"ENERGY": {"Power": []}}}'}, "gives no power"),
        ("tasmota", {TASMOTA: "[]"}, "no JSON object"),
    ],
)
def test_plugs_that_give_no_power(kind: str, answers: dict[str, str | int], part: str) -> None:
    with plug(answers) as host, pytest.raises(DeviceError) as error:
        opened(f"{kind}:{host}").read_w()
    assert part in one_line(error)


def test_no_plug_there() -> None:
    with plug({}) as host:
        pass
    with pytest.raises(LinkError) as error:
        opened(f"tasmota:{host}").read_w()
    assert f"tasmota {host} cannot be reached: Connection refused" in one_line(error)


def test_a_plug_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LinkError) as error:
            opened(f"tasmota:127.0.0.1:{port},timeout=0.05").read_w()
    assert "no answer in time" in one_line(error)


@pytest.mark.parametrize("host", ["http://plug", "plug/x", "a b", "a@b"])
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(UsageError, match="is no host"):
        opened(f"tasmota:{host}")


# Programs.


@pytest.mark.parametrize(
    ("command", "watts"),
    [("echo 1.5", 1.5), ("echo '250 mW'", 0.25), ("printf '2 W\\n'", 2.0)],
)
def test_programs(command: str, watts: float) -> None:
    assert opened(f"command:{command}").read_w() == watts


@pytest.mark.parametrize(
    ("command", "kind", "part"),
    [
        ("/no/such/program", UsageError, "cannot be run: No such file"),
        ("'", UsageError, "No closing quotation"),
        ("sh -c 'echo it broke >&2; exit 3'", LinkError, "failed with 3: it broke"),
        ("false", LinkError, "failed with 1"),
        ("true", DeviceError, "says '', which is no power"),
        ("echo 5 V", DeviceError, "V is no unit of power"),
        ("printf '1\\n2\\n'", DeviceError, "says '1 2', which is no power"),
    ],
)
def test_programs_that_fail(command: str, kind: type[JalError], part: str) -> None:
    with pytest.raises(kind) as error:
        opened(f"command:{command}").read_w()
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_programs_that_do_not_end() -> None:
    with pytest.raises(LinkError, match=r"did not end within 0\.05 s"):
        CommandMeter(["sleep", "60"], 0.05).read_w()


# Files.


class Log:
    """A file that grows, and a clock."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, 0.0

    def meter(self, column: str = "", unit: str = "W", stale_s: float = 10.0) -> CsvMeter:
        return CsvMeter(self.path, column, unit, stale_s, 0.5, lambda: self.now)

    def write(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "power.csv")


def test_the_last_complete_line_counts(log: Log) -> None:
    log.write("time,voltage,power\n0,5,1.5\n1,5,1.75\n2,5,9")
    meter = log.meter()
    assert meter.read_w() == 1.75
    log.write("9\n")
    assert meter.read_w() == 99.0


@pytest.mark.parametrize(
    ("text", "column", "watts"),
    [
        ("t,V,Watts\n0,5,2\n", "", 2.0),
        ("t,P,V\n0,2,5\n", "P", 2.0),
        ("t,P,V\n0,2,5\n", "2", 2.0),
        ("0,5,2\n1,5,3\n", "", 3.0),
        ('"a, b",power\n"x, y",2\n', "", 2.0),
    ],
)
def test_columns(log: Log, text: str, column: str, watts: float) -> None:
    log.write(text)
    assert log.meter(column).read_w() == watts


def test_units_of_files(log: Log) -> None:
    log.write("power\n250\n")
    assert log.meter(unit="mW").read_w() == 0.25


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("", "", "has no reading yet"),
        ("power\n", "", "has no reading yet"),
        ("power\n1\n", "volts", "has no column 'volts'"),
        ("1,2\n", "P", "its columns: none: give a number"),
        ("power\n1\n", "3", "has 1 columns, not 3"),
        ("power\nhigh\n", "", "says 'high', which is no power"),
    ],
)
def test_files_without_power(log: Log, text: str, column: str, part: str) -> None:
    log.write(text)
    with pytest.raises(JalError) as error:
        log.meter(column).read_w()
    assert part in one_line(error)


def test_no_file(log: Log) -> None:
    with pytest.raises(LinkError, match=r"cannot read .*: No such file"):
        log.meter().read_w()


def test_a_file_that_does_not_grow_any_more(log: Log) -> None:
    log.write("power\n1\n")
    meter, patient = log.meter(), log.meter(stale_s=0)
    for log.now in (0.0, 9.0):
        assert meter.read_w() == 1.0
    log.write("1\n")
    log.now = 18.0
    assert meter.read_w() == 1.0
    log.now = 29.0
    with pytest.raises(LinkError, match="has had no new line for 10 s"):
        meter.read_w()
    assert patient.read_w() == 1.0


def test_long_files_are_read_at_their_end(log: Log) -> None:
    log.write("t,power,volts\n" + "".join(f"{i},{i}.5,5\n" for i in range(20_000)))
    assert log.meter().read_w() == 19_999.5

"""``jalhost bringup`` as users meet it: verdicts, exit codes, files, and its documentation."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from jalhost.bringup import session
from jalhost.bringup.build import Build
from jalhost.bringup.html import html_page
from jalhost.bringup.junit import junit_xml
from jalhost.bringup.report import PowerSample, Report, RoundReport, StageReport, Verdict
from jalhost.bringup.stages import NEEDS, TITLES, Stage
from jaltest.bringup import GEOMETRY, BoardUnderTest, FakeAccess
from jaltest.bundles import bundle
from jaltest.desk import Desk, Run
from jaltest.device import CLOCK_HZ, FINGERPRINT
from jaltest.loader import (
    CONFIGURED,
    LFE5U_85,
    NO_SUCH_OPTION,
    ULX3S,
    XC7A35,
    Answer,
    detected,
    scan,
    status,
)
from jaltest.models import REPOSITORY

PAGE = (REPOSITORY / "docs" / "bringup.md").read_text(encoding="utf-8")

ARTIX_EYES = "  best: m0, b01 delays: 12+-05\n  best: m1, b02 delays: 16+-06\n"

Call = Callable[..., Run]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Runs `jalhost bringup` on a stand-in."""

    def run(device: BoardUnderTest, *arguments: str) -> Run:
        build = Build(FINGERPRINT, CLOCK_HZ, {}, None, GEOMETRY)
        access = FakeAccess(device, build, simulated=FakeAccess.simulated)
        monkeypatch.setattr(session, "open_access", lambda *_: access)
        desk = Desk(tmp_path, monkeypatch=monkeypatch, capture=capsys)
        return desk.run("bringup", "--target", "sim", *arguments)

    return run


def test_a_failure_has_its_causes_and_the_next_command(call: Call) -> None:
    run = call(BoardUnderTest(stuck=0x0020_0020), "--until", "dram-address")
    assert run.returncode == 5
    lines = run.stdout.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("dram-data "))
    assert re.match(r"dram-data +fail +\d+\.\d s  data line D5 reads 1 always", lines[place])
    assert lines[place + 1].strip().startswith("perhaps: the line is shorted")
    assert lines[place + 3].strip() == "next: jalhost bringup --target sim --stage levelling"
    assert lines[-1] == "broken: dram-data"
    assert any(re.match(r"dram-address +skip .* needs dram-data, which failed", i) for i in lines)


def test_a_good_device_exits_with_0(call: Call) -> None:
    run = call(BoardUnderTest(), "--stage", "identity", "--stage", "link", "--repeat", "2")
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    assert lines[0] == "round 1 of 2"
    assert [line.split()[0] for line in lines[1:3]] == ["link", "identity"]
    assert re.fullmatch(r"nothing is broken \(\d+ s, figures are simulated\)", lines[-1])


def test_rounds_are_counted(call: Call) -> None:
    run = call(BoardUnderTest(stuck=1), "--stage", "dram-data", "--repeat", "3")
    assert run.stdout.splitlines()[-1] == "broken: dram-data in 3 of 3 rounds"


def test_a_link_that_damages_bytes_is_a_link_error(call: Call) -> None:
    class Damaging(BoardUnderTest):
        def load(self, address: int) -> int:
            return super().load(address) ^ (0x100 if address == 0xF000_0804 else 0)

    run = call(Damaging(), "--until", "identity")
    assert run.returncode == 4
    assert "3 wrong bytes in 3 words" in run.stdout
    assert run.stdout.splitlines()[-1] == "broken: link"


def test_figures_say_what_they_are(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for simulated, provenance in ((False, "measured"), (True, "simulated")):
        monkeypatch.setattr(FakeAccess, "simulated", False)
        run = call(BoardUnderTest(simulated=simulated), "--stage", "identity", "--json")
        assert json.loads(run.stdout)["provenance"] == provenance


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--stage", "dram"), "there is no stage 'dram'"),
        (("--stage", "link", "--until", "link"), "exclude each other"),
    ],
)
def test_stages_that_do_not_exist_are_refused(
    call: Call, arguments: tuple[str, ...], text: str
) -> None:
    run = call(BoardUnderTest(), *arguments)
    assert run.returncode == 2
    assert text in run.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--target", "emu"), "the emulator has no layers"),
        (("--target", "uart:/dev/x", "--fault", "link"), "--fault is for simulators"),
        (("--target", "nowhere"), "there is no target 'nowhere'"),
        (("--target", "uart", "--bundle", "/nowhere.jalb"), "cannot read /nowhere.jalb"),
    ],
)
def test_targets_without_layers_are_refused(
    loader: Desk, arguments: tuple[str, ...], text: str
) -> None:
    run = loader.run("bringup", *arguments)
    assert run.returncode == (8 if "--bundle" in arguments else 2)
    assert text in run.stderr


def test_json_is_the_documented_report(call: Call) -> None:
    run = call(BoardUnderTest(levelling=ARTIX_EYES), "--until", "dram-address", "--json")
    report = Report.model_validate_json(run.stdout)
    assert report.passed
    assert json.loads(run.stdout)["rounds"][0]["stages"][3]["stage"] == "link"
    eyes: Any = next(s for s in report.rounds[0].stages if s.stage is Stage.LEVELLING).evidence
    assert [eye["width"] for eye in eyes["eyes"]] == [11, 13]
    # What the page lists is what there is.
    for model in (Report, RoundReport, StageReport, PowerSample):
        assert listed(model.__name__) == set(model.model_fields)
    seen = {name for stage in report.rounds[0].stages for name in stage.evidence}
    assert seen <= set(re.findall(r"`(\w+)`", PAGE))


def listed(name: str) -> set[str]:
    """Keys in the page's table below a heading."""
    section = PAGE.partition(f"### {name}\n")[2].partition("\n#")[0]
    cells = re.findall(r"^\| (`.*?`) \|", section, flags=re.MULTILINE)
    return {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}


def test_the_page_has_all_stages() -> None:
    section = PAGE.partition("## The stages\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", section, flags=re.MULTILINE) == list(Stage)
    assert set(TITLES) == set(Stage)
    order = list(Stage)
    for stage, needs in NEEDS.items():
        assert all(order.index(need) < order.index(stage) for need in needs)


def test_the_page_has_all_faults() -> None:
    from jalsoc.sim.system_faults import KINDS

    section = PAGE.partition("## Faults to try it with\n")[2].partition("\n## ")[0]
    names = re.findall(r"^\| `([\w-]+)", section, flags=re.MULTILINE)
    assert set(names) == {*KINDS, "lane", "table"}


def a_report(summary: str = "well") -> Report:
    stages = [
        StageReport(stage=Stage.LEVELLING, title="", verdict=Verdict.PASS, summary=summary,
                    seconds=0.1, evidence={"eyes": [
                        {"lane": 0, "bitslip": 1, "centre": 12, "margin": 5, "line": None,
                         "write_delay": None, "width": 11},
                        {"lane": 1, "bitslip": 0, "centre": None, "margin": None, "line": None,
                         "write_delay": None, "width": 0}]}),
        StageReport(stage=Stage.DRAM_BANDWIDTH, title="", verdict=Verdict.PASS, summary="fast",
                    seconds=1.0, evidence={"bytes_per_s": 1.5e9, "peak_bytes_per_s": 1.6e9}),
        StageReport(stage=Stage.ENGINE, title="", verdict=Verdict.FAIL, summary="lane 3",
                    seconds=2.0, causes=["timing"], next_command="jalhost bringup",
                    layer=Stage.ENGINE),
        StageReport(stage=Stage.TOKEN, title="", verdict=Verdict.SKIP, summary="needs engine",
                    seconds=0.0),
    ]  # fmt: skip
    power = [PowerSample(seconds=0.5, watts=2.0), PowerSample(seconds=2.0, watts=2.5)]
    entry = RoundReport(number=1, broken=Stage.ENGINE, stages=stages, power=power)
    return Report(jalhost="1", target="uart:<x>", provenance="measured", bundle=None, fault=None,
                  started="2000-01-01T00:00:00+00:00", seconds=3.0, passed=False,
                  broken=Stage.ENGINE, rounds=[entry])  # fmt: skip


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_one_file_with_pictures() -> None:
    text = html_page(a_report())
    page = Page(text)
    assert not page.open
    assert page.tags.count("svg") == 4  # eyes, bandwidth, power, times
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not {"src", "href"} & page.attributes
    assert "http" not in text
    for part in ("Broken: engine.", "11 taps, bitslip 1", "1,500 MB/s", "Power over time", "2.5 W"):
        assert part in text


def test_html_escapes_what_devices_say() -> None:
    assert "<b>bold" not in html_page(a_report("<b>bold & <script>"))


def test_junit_has_a_case_for_each_stage() -> None:
    suites = ElementTree.fromstring(junit_xml(a_report("control \x1b[31m characters")))
    (suite,) = suites
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == ["4", "1", "1"]
    assert [case.get("name") for case in suite] == [
        "levelling",
        "dram-bandwidth",
        "engine",
        "token",
    ]
    failure = suite[2].find("failure")
    assert failure is not None
    assert failure.get("message") == "lane 3"
    assert failure.text == "perhaps: timing\nnext: jalhost bringup"
    assert suite[3].find("skipped") is not None


def test_files_are_written(call: Call, tmp_path: Path) -> None:
    page, junit = tmp_path / "x.html", tmp_path / "x.xml"
    files = ("--html", str(page), "--junit", str(junit))
    run = call(BoardUnderTest(levelling=ARTIX_EYES), "--until", "levelling", *files)
    assert run.returncode == 0, run
    assert "lane 1" in page.read_text(encoding="utf-8")
    assert ElementTree.parse(junit).getroot()[0].get("tests") == "8"


@pytest.mark.parametrize(
    ("name", "text"), [("none/x.html", "its folder does not exist"), (".", "it is a folder")]
)
def test_a_file_that_cannot_be_written_is_told_before_the_work(
    call: Call, tmp_path: Path, name: str, text: str
) -> None:
    run = call(BoardUnderTest(), "--stage", "link", "--html", str(tmp_path / name))
    assert run.returncode == 2
    assert text in run.stderr
    assert not run.stdout


BOARD = ("bringup", "--target", "uart:/dev/null", "--until", "configuration", "--bundle")


def test_cable_and_fpga_are_found(loader: Desk, tmp_path: Path) -> None:
    run = loader.run(*BOARD, str(bundle(tmp_path)))
    assert run.returncode == 0, run
    lines = [line.split(None, 4) for line in run.stdout.splitlines()[:3]]
    assert [line[:2] for line in lines] == [
        ["cable", "pass"],
        ["idcode", "pass"],
        ["configuration", "skip"],
    ]
    assert lines[0][4] == "ft231X (0403:6015 D00123)"
    assert lines[1][4] == "0x41113043, LFE5U-85F"
    assert lines[2][4].startswith("openFPGALoader reads the status of Xilinx FPGAs alone")
    assert not [call for call in loader.calls if "--read-register" in call]


ARTIX = {
    "board": "arty-a7",
    "part": "xc7a35ticsg324-1L",
    "idcode": "0x0362d093",
    "flash": {"openfpgaloader_board": "arty", "cable": None, "usb": ["0403:6010"]},
}

ANSWERS = {
    "done": (Answer(status(CONFIGURED)), "pass", "DONE is high (STAT 0x401079fc)"),
    "empty": (Answer(status(0x4000190C)), "fail", "the FPGA is not configured: DONE is low"),
    "no clock": (
        Answer(status(CONFIGURED & ~0x10)),
        "fail",
        "the FPGA is not configured: DONE is high, but its start has not ended",
    ),
    "crc": (
        Answer(status(0x40001909)),
        "fail",
        "the FPGA has refused a bitstream: what it was sent",
    ),
    "another": (Answer(status(0x5000890C)), "fail", "was for another FPGA (STAT 0x5000890c)"),
    "nothing": (Answer("empty\n"), "fail", "nothing answers on JTAG"),
    "old": (NO_SUCH_OPTION, "skip", "openFPGALoader v1.1.1 cannot read the status: versions above"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_fpga_that_tells_its_status_is_asked(loader: Desk, tmp_path: Path, answer: str) -> None:
    said, verdict, text = ANSWERS[answer]
    chain = Answer(detected((0x4BA00477, "arm", "cortex", "dap"), XC7A35))
    loader.set({"--detect": chain, "--read-register": said})
    run = loader.run(*BOARD, str(bundle(tmp_path, **ARTIX)), "--json")
    stage = json.loads(run.stdout)["rounds"][0]["stages"][2]
    assert stage["verdict"] == verdict, stage
    assert text in stage["summary"]
    assert run.returncode == (5 if verdict == "fail" else 0)
    asked = next(call for call in loader.calls if "--read-register" in call)
    assert asked == ["--board", "arty", "--index-chain", "1", "--read-register", "STAT"]
    if "STAT" in text:
        assert stage["evidence"]["status"] in stage["summary"]
    if verdict == "fail":
        flash = answer != "nothing"
        assert stage["next_command"].startswith("jalhost flash " if flash else "openFPGALoader ")


def test_a_cable_without_permission_gets_its_udev_rule(loader: Desk, tmp_path: Path) -> None:
    denied = Answer(
        scan(),
        "Error: can't open device with vid:vid = 0x0403:0x6015. "
        "Error code -3 Access denied (insufficient permissions)\n",
    )
    loader.set({"--scan-usb": denied})
    run = loader.run(*BOARD, str(bundle(tmp_path)))
    assert run.returncode == 4
    assert (
        'SUBSYSTEM=="usb|hidraw", ATTRS{idVendor}=="0403", ATTRS{idProduct}=="6015", '
        'MODE="0660", GROUP="plugdev", TAG+="uaccess"'
    ) in run.stdout
    assert "next: sudo udevadm control --reload && sudo udevadm trigger" in run.stdout
    assert run.stdout.splitlines()[-1] == "broken: cable"


def test_another_fpga_is_told(loader: Desk, tmp_path: Path) -> None:
    loader.set({"--scan-usb": Answer(scan(ULX3S)), "--detect": Answer(detected(LFE5U_85))})
    run = loader.run(*BOARD, str(bundle(tmp_path, idcode="0x41111043")))
    assert run.returncode == 5
    assert "0x41113043" in run.stdout
    assert run.stdout.splitlines()[-1] == "broken: idcode"


def test_no_cable_is_told(loader: Desk, tmp_path: Path) -> None:
    loader.set({"--scan-usb": Answer(scan())})
    run = loader.run(*BOARD, str(bundle(tmp_path)))
    assert run.returncode == 4
    assert "no cable found: ft231X" in run.stdout
    assert "next: lsusb" in run.stdout

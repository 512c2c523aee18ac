"""``jalhost bringup`` on the simulated system: it passes, and each fault is found by its layer."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from jalgateware.contract.config import EngineConfig
from jalhost.bringup.access import probing_link
from jalhost.bringup.bench import Bench
from jalhost.bringup.build import Build, build_of_files
from jalhost.bringup.report import Report, RoundReport, Verdict
from jalhost.bringup.runner import run_round
from jalhost.bringup.sequence import FUNCTIONS
from jalhost.bringup.stages import Stage
from jalhost.identity import Identity
from jalhost.links.link import Link
from jalhost.links.open import open_uart
from jalhost.models.image_file import save_image
from jaltest.bringup import Silent
from jaltest.texts import JALHOST
from jaltest.tiny import tiny_image

pytestmark = [pytest.mark.sim, pytest.mark.slow]

PATIENCE_S = 60.0

FAULTY = EngineConfig(
    tokens=2,
    max_dim=64,
    max_hidden=96,
    max_heads=4,
    max_kv_heads=2,
    max_group=2,
    max_head_dim=16,
    max_context=64,
    attention_slots=1,
    read_ports=2,
)
"""The engine of test_verify.py: faults in an engine are a build of their own, which both share."""


@dataclass
class HarnessAccess:
    """The way to a simulator that was built before."""

    simulator: Any
    simulated: bool = True
    boot_timeout_s: float = PATIENCE_S
    patience_s: float = PATIENCE_S

    @property
    def build(self) -> Build:
        ready = self.simulator.ready
        files = (Path(ready[name]) for name in ("csr_json", "soc_json"))
        return build_of_files(int(ready["fingerprint"], 16), *files)

    @property
    def sensors(self) -> tuple[str, ...]:
        return tuple(self.simulator.ready.get("sensors", ()))

    def open(self, probing: bool = False) -> Link:
        host, port = self.simulator.tcp_address
        if probing:
            return probing_link(f"uart:tcp://{host}:{port}", lambda: self.time()[1])
        return open_uart(f"tcp://{host}:{port}", PATIENCE_S)

    def time(self) -> tuple[int, float]:
        cycles, seconds = self.simulator.time()
        return cycles, seconds

    def settle(self, link: Link, identity: Identity) -> None:
        """As it is."""

    def close(self) -> None:
        self.simulator.stop()


Run = Callable[..., RoundReport]


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs stages on a build with a fault."""
    from jalsoc.sim.process import Simulator, SimulatorOptions

    benches: list[Bench] = []

    def start(build: Any, stages: list[Stage], fault: str = "") -> RoundReport:
        simulator = Simulator(build, None, SimulatorOptions(fault=fault))
        simulator.start()
        benches.append(Bench("sim", HarnessAccess(simulator), tiny_image(), lambda _: None))
        return run_round(1, benches[-1], stages, FUNCTIONS, Silent())

    yield start
    for bench in benches:
        bench.close()


def until(last: Stage, *without: Stage) -> list[Stage]:
    """Stages from the link on."""
    stages = list(Stage)
    chosen = stages[stages.index(Stage.LINK) : stages.index(last) + 1]
    return [stage for stage in chosen if stage not in without]


SLOW = (Stage.CLOCKS, Stage.DRAM_RANDOM)


@pytest.mark.parametrize(
    ("fault", "layer", "text", "stages"),
    [
        ("link=100", Stage.LINK, "the link damages what it carries", until(Stage.IDENTITY)),
        ("csr-hash", Stage.IDENTITY, "another build", until(Stage.IDENTITY)),
        ("clock=0.8", Stage.CLOCKS, "4/5 of it", until(Stage.CLOCKS)),
        ("watchdog", Stage.FIRMWARE, "its watchdog reset it", until(Stage.CLOCKS)),
        ("calibration", Stage.LEVELLING, "DRAM is not calibrated", until(Stage.DRAM_DATA, *SLOW)),
        ("dram-data=5", Stage.DRAM_DATA, "data line D5 reads 1", until(Stage.DRAM_ADDRESS, *SLOW)),
        ("dram-data=12:0", Stage.DRAM_DATA, "D12 reads 0", until(Stage.DRAM_DATA, *SLOW)),
        ("dram-lane=0", Stage.DRAM_DATA, "byte lane 0 (D0 to D7)", until(Stage.DRAM_MARCH, *SLOW)),
        ("dram-address=7", Stage.DRAM_ADDRESS, "row line A7", until(Stage.DRAM_MARCH, *SLOW)),
        ("refresh-off=8", Stage.DRAM_RETENTION, "DRAM forgets", until(Stage.DRAM_RETENTION, *SLOW)),
        ("sensor", Stage.SENSORS, "die temperature does not answer", [Stage.SENSORS]),
    ],
)  # fmt: skip
def test_a_fault_around_the_engine_is_found(
    simulator_build: object, run: Run, fault: str, layer: Stage, text: str, stages: list[Stage]
) -> None:
    report = run(simulator_build, stages, fault)
    assert report.broken == layer, report
    failed = next(stage for stage in report.stages if stage.verdict is Verdict.FAIL)
    assert text in failed.summary
    assert failed.causes
    assert failed.next_command


@pytest.fixture(scope="module")
def faulty_build() -> Callable[[str], object]:
    """A simulator with a fault in its engine."""
    from jalsoc.sim.build import build
    from jalsoc.sim.config import SimulatorConfig

    return lambda fault: build(SimulatorConfig(engine=FAULTY, fault=fault))


@pytest.mark.parametrize(
    ("fault", "unit"),
    [
        ("lane:1.6:7=1", "lane 6 of token row 1"),
        ("lane:0.3:5=0", "lane 3 of token row 0"),
        ("table:sigmoid:40:14", "SwiGLU (sigmoid)"),
        ("table:exp2:100:15", "attention (scores, softmax, value sums)"),
    ],
)
def test_a_fault_in_the_engine_names_its_unit(
    faulty_build: Callable[[str], object], run: Run, fault: str, unit: str
) -> None:
    report = run(faulty_build(fault), [Stage.FIRMWARE, Stage.ENGINE])
    assert report.broken is Stage.ENGINE, report
    assert report.stages[-1].summary.startswith(f"{unit}: case ")


@pytest.mark.long
def test_a_system_with_a_slow_cpu_passes(run: Run) -> None:
    """The Tang Nano's, whose CPU takes 27 times as long to start, and between signs of life."""
    from jalboards.boards.tang_nano_20k import BOARD
    from jalsoc.sim.build import build
    from jalsoc.sim.config import SimulatorConfig

    system = SimulatorConfig(BOARD.engine, dram="sdr16", clock_hz=BOARD.clock_hz, cpu=BOARD.cpu)
    report = run(build(system), until(Stage.TOKENS, Stage.CLOCKS))
    assert report.broken is None, report
    assert {stage.stage for stage in report.stages if stage.verdict is Verdict.PASS} >= {
        Stage.FIRMWARE, Stage.DRAM_RANDOM, Stage.DRAM_MARCH, Stage.ENGINE, Stage.TOKENS
    }  # fmt: skip


def test_a_good_system_passes(simulator_build: object, tmp_path: Path) -> None:
    page, junit = tmp_path / "x.html", tmp_path / "x.xml"
    model = tmp_path / "tiny.jal"  # the demo model takes as long as everything else
    save_image(tiny_image(), model)
    command = [*JALHOST, "bringup", "--target", "sim", "--json", "--model", str(model)]
    files = ["--html", str(page), "--junit", str(junit)]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = Report.model_validate_json(done.stdout)
    assert json.loads(done.stdout).keys() == Report.model_fields.keys()
    assert report.passed
    verdicts = {stage.stage: stage.verdict for stage in report.rounds[0].stages}
    skipped = {name for name, verdict in verdicts.items() if verdict is Verdict.SKIP}
    jtag = {Stage.CABLE, Stage.IDCODE, Stage.CONFIGURATION}
    assert skipped == jtag | {Stage.LEVELLING, Stage.SENSORS}
    evidence = {stage.stage: stage.evidence for stage in report.rounds[0].stages}
    share: Any = evidence[Stage.DRAM_BANDWIDTH]["share"]
    assert 0.9 < share <= 1
    assert evidence[Stage.TOKENS]["tokens"] == evidence[Stage.TOKENS]["golden_tokens"]
    cases: Any = evidence[Stage.ENGINE]["cases"]
    assert set(cases.values()) == {"pass"}
    assert "<svg" in page.read_text(encoding="utf-8")
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.get("failures"), suite.get("tests")) == ("0", str(len(Stage)))

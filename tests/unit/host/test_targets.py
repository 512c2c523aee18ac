"""Boards and simulators as targets, played by stand-ins behind real ports and processes."""

import json
import os
import re
import signal
import subprocess
import sys
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from jalgateware.contract.memory_map import IMAGE_OFFSET
from jalgateware.golden.sampler import Sampling
from jalhost.engine import simulator_process
from jalhost.engine.generation import Generation
from jalhost.engine.simulator import Simulator
from jalhost.engine.simulator_process import dram_mib
from jalhost.engine.target import Provenance, Request, Target
from jalhost.engine.targets import choose_target, open_target
from jalhost.environment import BOARDS, Purpose, Requirement
from jalhost.errors import BuildError, DeviceError, EnvironmentProblem, LinkError, UsageError
from jalhost.models.image_file import save_image
from jaltest.bridge import serve
from jaltest.device import CLOCK_HZ, CYCLES_PER_PASS, FINGERPRINT, FakeDevice
from jaltest.models import REPOSITORY
from jaltest.tiny import tiny_image

IMAGE = tiny_image()
FAKE_SIMULATOR = (sys.executable, str(REPOSITORY / "tests" / "jaltest" / "fake_simulator.py"))
TESTS_PATH = os.pathsep.join([str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")])
"""Where the stand-in finds its modules."""

MISSING = Purpose("nothing", (Requirement("no-such-program", "no-such-package"),), (), "sim")
READY = Purpose("everything", (), (), "")


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts the stand-in in place of the simulator."""
    monkeypatch.setattr(simulator_process, "COMMAND", FAKE_SIMULATOR)
    monkeypatch.setattr(simulator_process, "REPORT_AFTER_S", 0.05)
    monkeypatch.setattr("jalhost.engine.targets.SIMULATION", READY)
    monkeypatch.setenv("PYTHONPATH", TESTS_PATH)


@pytest.fixture
def board() -> Iterator[tuple[FakeDevice, str]]:
    """A stand-in for a board, and its serial port."""
    master, slave = os.openpty()
    tty.setraw(slave)
    fake = FakeDevice()
    serve(fake, lambda: os.read(master, 4096), lambda data: os.write(master, data))
    yield fake, os.ttyname(slave)
    os.close(slave)
    os.close(master)


def generate(target: Target, seed: int = 0, temperature: float = 0.0) -> Generation:
    generation = Generation(target, IMAGE, "the one", 25, temperature, seed)
    for _ in generation:
        pass
    return generation


def expected(seed: int = 0, temperature: float = 0.0) -> list[int]:
    with open_target("emu", print) as target:
        target.load(IMAGE)
        return generate(target, seed, temperature).summary().token_ids


def test_board_gives_the_emulators_tokens(board: tuple[FakeDevice, str]) -> None:
    _, port = board
    reports: list[str] = []
    with open_target(f"uart:{port}", reports.append) as target:
        target.load(IMAGE)
        for seed, temperature in ((0, 0.0), (3, 0.8)):
            summary = generate(target, seed, temperature).summary()
            assert summary.token_ids == expected(seed, temperature)
    assert summary.target.provenance is Provenance.MEASURED
    assert summary.target.name == f"uart:{port}"
    assert summary.target.clock_hz == CLOCK_HZ
    assert summary.cycles_per_token == CYCLES_PER_PASS
    assert summary.ttft_s == pytest.approx(
        len(summary.prompt_token_ids) * CYCLES_PER_PASS / CLOCK_HZ
    )
    assert summary.dram_utilisation
    assert reports[0].startswith("sending ")


def test_simulator_at_a_port_says_that_it_is_one(board: tuple[FakeDevice, str]) -> None:
    fake, port = board
    fake.simulated = True
    fake.boot()
    with open_target(f"uart:{port}", print) as target:
        assert target.info.provenance is Provenance.SIMULATED


def test_board_of_another_build_is_refused(board: tuple[FakeDevice, str], tmp_path: Path) -> None:
    _, port = board
    soc = tmp_path / "soc.json"
    soc.write_text(json.dumps({"fingerprint": f"{FINGERPRINT + 1:016x}"}))
    with (
        pytest.raises(DeviceError, match="is another build"),
        open_target(f"uart:{port}", print, soc),
    ):
        pass
    # The port was given back.
    soc.write_text(json.dumps({"fingerprint": f"{FINGERPRINT:016x}"}))
    with open_target(f"uart:{port}", print, soc) as target:
        assert target.info.clock_hz


def test_busy_board_is_named(board: tuple[FakeDevice, str]) -> None:
    _, port = board
    with (
        open_target(f"uart:{port}", print),
        pytest.raises(LinkError, match="is busy"),
        open_target(f"uart:{port}", print),
    ):
        pass


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("name", ["sim", "sim:uart", "sim:eth"])
def test_simulator_gives_the_emulators_tokens(name: str) -> None:
    reports: list[str] = []
    with open_target(name, reports.append) as target:
        assert target.info.provenance is Provenance.SIMULATED
        target.load(IMAGE)
        summaries = [generate(target, seed, 0.8).summary() for seed in (1, 2)]
    assert [item.token_ids for item in summaries] == [expected(1, 0.8), expected(2, 0.8)]
    assert summaries[0].target.name == name
    assert summaries[0].target.clock_hz == CLOCK_HZ
    sent = [line for line in reports if line.startswith("sending")]
    # Of the steps, those that take a while are reported.
    assert "building the simulator, which is then kept: simulator ..." in reports
    # Over a link the image is sent; else it lies in DRAM from the start.
    assert len(sent) == (name != "sim")


@pytest.mark.usefixtures("simulator")
def test_simulator_of_other_gateware() -> None:
    """What is not given is as the simulated DRAM wants it: the stand-in's wants 32 lanes."""
    for gateware, lanes in (("dram=ddr3x16,max_dim=64", 32), ("lanes=64", 64)):
        with open_target("sim", print, gateware=gateware) as target:
            assert target.info.gateware == gateware
            target.load(IMAGE)
            assert target.info.lanes == lanes
            assert target.info.gateware == gateware
            assert generate(target).summary().token_ids == expected()
    with (
        pytest.raises(UsageError, match=r"there is no DRAM 'rope' \(choose another\)"),
        open_target("sim", print, gateware="dram=rope"),
    ):
        pass


@pytest.mark.usefixtures("simulator")
def test_simulator_takes_another_image() -> None:
    other = tiny_image(seed=5)
    with open_target("sim", print) as target, open_target("emu", print) as emulator:
        texts = []
        for image in (IMAGE, other):
            for engine in (target, emulator):
                engine.load(image)
                request = Request(((1, 260),), 12, Sampling())
                texts.append([item.token for item in engine.run(request)])
    assert texts[0] == texts[1] != texts[2] == texts[3]


@pytest.mark.usefixtures("simulator")
def test_runs_may_start_at_a_position() -> None:
    """Where nothing was read before, the stand-in's cache is empty, like the emulator's."""
    context = IMAGE.plan.architecture.context
    request = Request(((5, 260),), 12, Sampling(), position=context - 5)
    with open_target("sim", print) as target, open_target("emu", print) as emulator:
        texts = []
        for engine in (target, emulator):
            engine.load(IMAGE)
            texts.append([item.token for item in engine.run(request)])
    assert texts[0] == texts[1]
    # The sample behind the prompt, and one for each position that is left.
    assert len(texts[0]) == 4


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("broken", r"verilator failed \(see the log; the log is in /x.log\)"),
        ("silent", "the simulator did not start: it went wrong"),
    ],
)
def test_simulator_that_does_not_start(
    fault: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JALTEST_SIMULATOR", fault)
    with open_target("sim", print) as target, pytest.raises(BuildError, match=message):
        target.load(IMAGE)


def simulator_of(target: Target) -> int:
    """Process id of a target's simulator."""
    assert isinstance(target, Simulator)
    assert target.process
    return target.process.pid


@pytest.mark.usefixtures("simulator")
def test_simulator_killed_in_the_middle() -> None:
    with open_target("sim", print) as target:
        target.load(IMAGE)
        events = iter(Generation(target, IMAGE, "the one", 50))
        next(events)
        os.kill(simulator_of(target), signal.SIGKILL)
        with pytest.raises(
            DeviceError, match=r"simulator ended in the middle \(killed by signal 9"
        ):
            list(events)


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("fault", ["", "stubborn"])
def test_no_simulator_outlives_its_target(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JALTEST_SIMULATOR", fault)
    monkeypatch.setattr(simulator_process, "QUIT_TIMEOUT_S", 0.5)
    with open_target("sim", print) as target:
        target.load(IMAGE)
        pid = simulator_of(target)
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("fault", "mark"), [("slow", '"ready"'), ("building", "simulator ...")])
def test_interrupted_command_leaves_no_simulator(
    tmp_path: Path, number: int, fault: str, mark: str
) -> None:
    save_image(IMAGE, tmp_path / "x.jal")
    script = f"""
from jalhost.engine import simulator_process, targets
simulator_process.COMMAND = {FAKE_SIMULATOR!r}
targets.require_simulation = lambda: None
from jalhost.cli.main import main
main()
"""
    arguments = ["generate", "the one", "--target=sim", f"--model={tmp_path / 'x.jal'}", "--debug"]
    environment = {"PYTHONPATH": TESTS_PATH, "JALTEST_SIMULATOR": fault}
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    ) as process:
        assert process.stderr
        before = ""
        for line in process.stderr:
            before += line
            if mark in line:
                break
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    match = re.search(r"process (\d+) is", before)
    assert match
    with pytest.raises(ProcessLookupError):
        os.kill(int(match[1]), 0)


def test_simulated_dram_fits_the_image() -> None:
    assert dram_mib(IMAGE_OFFSET + 5) == 32
    assert dram_mib(32 << 20) == 32
    assert dram_mib((32 << 20) + 1) == 64
    assert dram_mib(200 << 20) == 256


def test_default_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jalhost.engine.targets.SIMULATION", READY)
    assert choose_target()[0] == "sim"
    monkeypatch.setattr("jalhost.engine.targets.SIMULATION", MISSING)
    name, reason = choose_target()
    assert name == "emu"
    assert "needs no-such-program" in reason


def test_simulation_without_its_tools_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jalhost.engine.targets.SIMULATION", MISSING)
    message = r"needs no-such-program \(sudo apt-get install -y no-such-package\)"
    with pytest.raises(EnvironmentProblem, match=message), open_target("sim", print):
        pass


def test_unknown_target_is_refused() -> None:
    with pytest.raises(UsageError, match="no target 'sim:isa'"), open_target("sim:isa", print):
        pass


def test_missing_modules_are_installed_by_pip() -> None:
    purpose = Purpose("x", (), (Requirement("no_such_module", "", module=True),), "sim")
    assert [item.name for item in purpose.missing()] == ["no_such_module"]
    (command,) = purpose.fixes()
    assert "-m pip install" in command
    assert "[sim]" in command
    assert not BOARDS.missing()

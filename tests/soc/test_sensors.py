"""The sensor bus in the simulated system, from the model's registers to the command line."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from jalgateware.contract import sensors
from jalgateware.contract.sensors import BusRegister
from jalhost.power.report import PowerReport, PowerResult
from jalsoc.sim.sensors import Fault, bus_steps, shunt_steps
from jaltest.little import LIMITS, LITTLE
from jaltest.system import System
from jaltest.texts import JALHOST

pytestmark = [pytest.mark.sim, pytest.mark.slow]

METER = "ina226:0x40,shunt=0.01"

GATEWARE = ",".join(
    ["sensors=1", "tokens=1", "mxfp4=false", *(f"{name}={value}" for name, value in LIMITS.items())]
)
"""What the build below has, as the command line names it."""


@pytest.fixture(scope="module")
def build() -> object:
    """The smallest system, with sensors."""
    from jalsoc.sim.build import build as build_simulator
    from jalsoc.sim.config import SimulatorConfig

    return build_simulator(SimulatorConfig(LITTLE, sensors=True))


@pytest.fixture
def system(build: object) -> Iterator[System]:
    system = System(build)
    yield system
    system.close()


def jalhost(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*JALHOST, *arguments], capture_output=True, text=True, check=False, timeout=300
    )


def power(system: System, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`jalhost power` on a simulated system that runs already."""
    host, port = system.simulator.tcp_address
    return jalhost("power", "--target", f"uart:tcp://{host}:{port}", *arguments)


def set_model(system: System, **registers: int) -> None:
    """Sets registers of the model, and gives the link back."""
    for name, value in registers.items():
        system.set_register(f"ina226_{name}", value)
    system.mailbox.link.close()
    del system.__dict__["mailbox"]


def measured(run: "subprocess.CompletedProcess[str]") -> tuple[PowerReport, list[Any]]:
    assert run.returncode == 0, run.stderr
    result = PowerResult.model_validate_json(run.stdout)
    assert result.power
    return result.power, result.sensors


def test_registers_lie_where_the_contract_has_them(system: System) -> None:
    names = {item: f"sensor_bus_{item.name.lower()}" for item in BusRegister}
    found = {item: system.registers[name] for item, name in names.items()}
    assert found == {item: sensors.BUS_ADDRESS + item for item in BusRegister}


@pytest.mark.usefixtures("build")
def test_what_the_model_says_is_printed() -> None:
    run = jalhost(
        *("power", "--target", "sim", "--gateware", GATEWARE),
        *("--meter", METER, "--time", "100ms", "--json"),
    )
    report, readings = measured(run)
    assert report.mean_w == pytest.approx(sensors.SIMULATED_BUS_V * sensors.SIMULATED_CURRENT_A)
    assert (report.source, report.simulated) == ("rail", True)
    assert report.meter == "ina226 at 0x40"
    assert [(item.value, item.unit) for item in readings] == [
        (sensors.SIMULATED_BUS_V, "V"),
        (pytest.approx(sensors.SIMULATED_CURRENT_A), "A"),
    ]


def test_other_values_are_printed_too(system: System) -> None:
    set_model(system, shunt=shunt_steps(-1.5), bus=bus_steps(4.5))
    report, readings = measured(power(system, "--meter", METER, "--time", "50ms", "--json"))
    assert report.mean_w == pytest.approx(-1.5 * 4.5)
    assert [item.fine for item in readings] == [False, True]
    text = power(system, "--meter", "rails", "--time", "50ms").stdout
    assert "4.5 V (4.75 to 5.25): OUT OF LIMITS" in text
    assert "; rail of a simulated board: rails board, " in text


@pytest.mark.parametrize(
    ("fault", "parts"),
    [
        (Fault.SILENT, ("nobody answers at address 0x40 on the sensor bus of",)),
        (Fault.SDA_LOW, ("the sensor bus of", "is stuck: SDA held low", "power the board off")),
        (Fault.SCL_LOW, ("the sensor bus of", "is stuck: SCL held low")),
    ],
)
def test_faults_of_the_bus_are_one_line(
    system: System, fault: Fault, parts: tuple[str, ...]
) -> None:
    set_model(system, fault=fault)
    run = power(system, "--meter", METER, "--time", "50ms")
    assert (run.returncode, run.stdout) == (5, "")
    assert run.stderr.count("\n") == 1, run.stderr
    for part in ("jalhost: error: ", *parts):
        assert part in run.stderr
    # It is the model that failed, not the bus: what is set right works again.
    set_model(system, fault=Fault.NONE)
    report, _ = measured(power(system, "--meter", METER, "--time", "50ms", "--json"))
    assert report.mean_w == pytest.approx(1.25)


@pytest.mark.usefixtures("simulator_build")
def test_gateware_without_sensors_says_so_and_estimates() -> None:
    base = ("--target", "sim", "--meter")
    run = jalhost("power", *base, METER)
    assert run.returncode == 5
    assert "has no sensor bus" in run.stderr
    run = jalhost("generate", "the one", *base, "estimate", "--max-tokens", "4", "--json")
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout)
    report = PowerReport.model_validate(figures["power"])
    assert (report.source, report.samples, report.simulated) == ("estimated", 0, True)
    assert report.parts_j
    assert report.seconds >= figures["ttft_s"]
    assert report.j_per_token == pytest.approx(sum(report.parts_j.values()) / 4)

"""The estimate and its table, and figures as lines and JSON."""

import re
from dataclasses import replace

import pytest
from pydantic import BaseModel

from jalgateware.contract.power import COEFFICIENTS, coefficient
from jalhost.engine.emulator import Emulator
from jalhost.engine.target import Provenance, TargetInfo
from jalhost.errors import UsageError
from jalhost.power import estimate as estimates
from jalhost.power.estimate import estimate
from jalhost.power.meter import Source
from jalhost.power.report import PowerReport, PowerResult, SensorReport, power_line, si
from jalhost.power.session import open_power
from jaltest.models import REPOSITORY

PAGE = (REPOSITORY / "docs" / "power.md").read_text(encoding="utf-8")

INFO = TargetInfo("sim", Provenance.SIMULATED, 100_000_000, 16, 16, 4)

COUNTERS = {"cycles": 1_000_000, "dram_words": 900_000, "kv_words": 100_000}


def test_each_coefficient_names_its_source() -> None:
    assert len({item.symbol for item in COEFFICIENTS}) == len(COEFFICIENTS)
    assert all(item.value > 0 and item.meaning and len(item.source) > 20 for item in COEFFICIENTS)


def test_what_a_byte_a_chip_and_a_product_cost() -> None:
    # By hand: 230 mA x 1.5 V / 2.667 GB/s; (110 - 61.47) mA x 1.5 V x 51 ns / 2048 B on top.
    assert estimates.dram_byte_j() == pytest.approx(129.4e-12 + 1.81e-12, rel=0.01)
    assert estimates.dram_standby_w() == pytest.approx(0.090)
    assert estimates.dram_refresh_w() == pytest.approx(0.270 * 111 / 7800)
    assert estimates.product_j() == pytest.approx(4.2e-12)
    assert estimates.buffer_byte_j() == pytest.approx(35e-12)


def test_an_estimate_by_its_parts() -> None:
    found = estimate(COUNTERS, INFO)
    assert found.seconds == 0.01
    moved, products = 900_000 * 16, 800_000 * 16 * 4 + 100_000 * 16
    assert found.parts_j == pytest.approx(
        {
            "dram_standby": 0.01 * estimates.dram_standby_w(),
            "dram_refresh": 0.01 * estimates.dram_refresh_w(),
            "dram_reads": moved * estimates.dram_byte_j(),
            "fpga_static": 0.01 * 0.212 * 1.1,
            "fpga_buffers": moved * estimates.buffer_byte_j(),
            "fpga_products": products * estimates.product_j(),
        }
    )
    assert found.energy_j == pytest.approx(sum(found.parts_j.values()))
    assert found.mean_w == pytest.approx(found.energy_j / 0.01)
    # Some hundred milliwatts: what such an FPGA and its memory can draw at all.
    assert 0.3 < found.mean_w < 3


def test_wider_ports_have_more_chips() -> None:
    one, four = (
        estimate(COUNTERS, replace(INFO, port_bytes=port)).parts_j["dram_standby"]
        for port in (8, 64)
    )
    assert four == pytest.approx(4 * one)


def test_the_emulator_counts_nothing() -> None:
    counts = pytest.raises(UsageError, match="the emulator counts nothing")
    with counts, open_power("estimate", Emulator()):
        pytest.fail("there is nothing to estimate")


class Counting(Emulator):
    """A target that has counted."""

    @property
    def info(self) -> TargetInfo:
        return INFO

    def counters(self) -> dict[str, int]:  # type: ignore[override]  # it has hardware
        return COUNTERS


def estimated(tokens: int, seconds: float | None = None) -> PowerReport:
    with open_power("estimate", Counting()) as power:
        with power.run():
            pass
        return power.report(tokens, seconds)


def test_estimates_are_called_so() -> None:
    report = estimated(100)
    assert report.source is Source.ESTIMATED
    assert report.samples == 0
    assert report.j_per_token == pytest.approx(estimate(COUNTERS, INFO).energy_j / 100)
    assert power_line(report).endswith("; estimated from counted activity, not measured]")


def test_estimates_of_a_part_of_the_time() -> None:
    whole, half = estimated(100), estimated(50, 0.005)
    assert half.j_per_token == pytest.approx(whole.j_per_token)
    assert half.mean_w == pytest.approx(whole.mean_w)
    assert half.parts_j
    assert sum(half.parts_j.values()) == pytest.approx(half.energy_j)


def test_estimates_have_no_idle_baseline() -> None:
    refuses = pytest.raises(UsageError, match="no idle baseline")
    with refuses, open_power("estimate", Counting(), 1.0):
        pytest.fail("it was accepted")


REPORT = PowerReport(
    source=Source.METERED,
    meter="scpi X",
    simulated=False,
    samples=101,
    seconds=10.0,
    mean_w=1.25,
    min_w=1.2,
    max_w=1.3,
    energy_j=12.5,
    idle_w=None,
    net_energy_j=None,
    tokens=60,
    j_per_token=0.2083333,
    parts_j=None,
)


def test_lines() -> None:
    assert power_line(REPORT) == (
        "[1.25 W mean (1.2 W to 1.3 W), 12.5 J in 10 s, 208.3 mJ/token;"
        " metered: scpi X, 101 samples]"
    )
    idle = REPORT.model_copy(update={"idle_w": 1.0, "net_energy_j": 2.5, "j_per_token": 0.04166})
    assert "12.5 J in 10 s, 2.5 J above 1 W idle, 41.66 mJ/token" in power_line(idle)
    rail = REPORT.model_copy(update={"source": Source.RAIL, "simulated": True, "samples": 1})
    assert "rail of a simulated board: scpi X, 1 sample]" in power_line(rail)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 W"), (1.23456, "1.235 W"), (0.0012, "1.2 mW"), (3.3e-7, "330 nW"), (-0.5, "-500 mW")],
)
def test_prefixes(value: float, text: str) -> None:
    assert si(value, "W") == text


# What the page says.


def block(name: str) -> str:
    match = re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", PAGE, re.DOTALL)
    assert match
    return match[1]


def table(model: type[BaseModel]) -> str:
    rows = [f"| `{name}` | {field.description} |" for name, field in model.model_fields.items()]
    return "\n".join(["| key | what it is |", "|---|---|", *rows]) + "\n"


def coefficients() -> str:
    head = ["| symbol | value | what | source |", "|---|---|---|---|"]
    rows = [
        f"| {item.symbol} | {item.value:g} {item.unit} | {item.meaning} | {item.source} |"
        for item in COEFFICIENTS
    ]
    return "\n".join([*head, *rows]).replace("  ", " ") + "\n"


def test_the_page_has_all_keys_and_coefficients() -> None:
    assert block("power") == table(PowerReport)
    assert block("sensors") == table(SensorReport)
    assert block("coefficients") == coefficients()
    keys = PAGE.partition("## JSON")[2].partition("Of `power`")[0]
    assert re.findall(r"^\| `(\w+)`", keys, re.MULTILINE) == list(PowerResult.model_fields)


def test_coefficients_are_found_by_their_symbols() -> None:
    assert coefficient("gap") == 14.0


def test_estimates_of_given_counters() -> None:
    twice = {name: 2 * count for name, count in COUNTERS.items()}
    with open_power("estimate", Counting()) as power:
        report = power.report(100, counters=twice)
    assert report.seconds == 0.02
    assert report.energy_j == pytest.approx(2 * estimate(COUNTERS, INFO).energy_j)

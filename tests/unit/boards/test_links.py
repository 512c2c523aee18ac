"""Ethernet and PCIe of boards: off or on, wired as litex_boards has it, and told to the tools."""

import json
import re
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from jalboards.black_box import black_box
from jalboards.board import Flow
from jalboards.catalogue import all_boards, find_board
from jalboards.config import BuildConfig, configure
from jalboards.tools import synthesis_script
from jalgateware.contract import etherbone, pcie
from jalgateware.contract.memory_map import CSR_BANK_BYTES, CSR_ORIGIN
from jalhost.errors import UsageError

# The target of the ULX4M-LD asks for Ethernet's pins, and its platform has none.
WITH_ETHERNET = {
    "ecpix5", "butterstick", "versa-ecp5", "colorlight-i9", "arty-a7", "nexys-video", "genesys2",
    "kc705", "stlv7325",
}  # fmt: skip

WITH_PCIE = {"acorn", "kc705", "stlv7325"}

ADDRESS = "10.0.0.7"

Elaborated = Callable[..., Path]
Little = Callable[..., BuildConfig]


def text(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def bases(folder: Path) -> dict[str, int]:
    """Addresses of CSR banks."""
    found: dict[str, int] = json.loads(text(folder, "csr.json"))["csr_bases"]
    return found


def test_boards_say_what_they_have() -> None:
    links = {board.name: board.links for board in all_boards()}
    assert {name for name, has in links.items() if "eth" in has} == WITH_ETHERNET
    assert {name for name, has in links.items() if "pcie" in has} == WITH_PCIE
    assert links["acorn"] == ("pcie", "uart")
    assert links["stlv7325"] == ("uart", "eth", "pcie")


def test_ethernet_is_off_and_pcie_where_it_is_what_the_board_is_for(little: Little) -> None:
    built = {board.name: configure(board, {}).links for board in all_boards()}
    assert built.pop("acorn") == ("uart", "pcie")
    assert set(built.values()) == {("uart",)}
    assert little("acorn", pcie=False).links == ("uart",)
    assert little("stlv7325", pcie=True, ethernet=True).links == ("uart", "eth", "pcie")


@pytest.mark.parametrize(
    ("board", "options", "message"),
    [
        ("acorn", {"ethernet": True}, "acorn has no Ethernet .boards with Ethernet: butterstick, "),
        ("ecpix5", {"pcie": True}, "ecpix5 has no PCIe .boards with PCIe: acorn, kc705, stlv7325"),
        ("ecpix5", {"ip": ADDRESS}, "--ip is the address of Ethernet, which is off"),
        ("ecpix5", {"ethernet": True, "ip": "board.local"}, "--ip: .*'board.local'.*four numbers"),
        ("ecpix5", {"ethernet": True, "ip": "224.0.0.1"}, "224.0.0.1 cannot be a board's"),
    ],
)
def test_what_a_board_has_not_is_refused(
    little: Little, board: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        little(board, **options)


@pytest.mark.parametrize("name", sorted(WITH_ETHERNET))
def test_ethernet_is_in_the_design_and_its_clocks_are_known(
    name: str, elaborated_little: Elaborated
) -> None:
    folder = elaborated_little(name, ethernet=True, ip=ADDRESS)
    megahertz = 25.0 if name == "arty-a7" else 125.0
    if find_board(name).flow is Flow.VIVADO:
        constraints = text(folder, "top.xdc")
        clocks = re.findall(r"create_clock -name (\w+) -period ([\d.]+) \[get_nets", constraints)
        known = {clock: 1000 / float(period) for clock, period in clocks}
        for clock in ("eth_rx_clk", "eth_tx_clk"):
            assert re.search(rf"set_clock_groups .*{clock}.* -asynchronous", constraints)
    else:
        constraints = text(folder, "top.lpf")
        clocks = re.findall(r'FREQUENCY PORT "(\w+)" ([\d.]+) MHz;', constraints)
        known = {clock: float(frequency) for clock, frequency in clocks}
    verilog = text(folder, "top.v")
    for clock in ("eth_rx_clk", "eth_tx_clk"):
        assert known[clock] == megahertz
        assert re.search(rf"wire +{clock};", verilog)
    assert "eth_clocks_rx" in verilog.partition("module top (")[2].partition(");")[0]
    address = int(IPv4Address(ADDRESS))
    # Migen writes constants like this: the own address, and the own number on the Ethernet.
    for value in (address, 0x026A_0000_0000 | address):
        assert f"'d{value};" in verilog
    expected = CSR_ORIGIN + etherbone.CSR_LOCATION * CSR_BANK_BYTES
    assert bases(folder)["etherbone"] == expected


@pytest.mark.parametrize("name", sorted(WITH_PCIE))
def test_pcie_is_in_the_project(name: str, elaborated_little: Elaborated) -> None:
    # Where a board has both, both: they share nothing.
    folder = elaborated_little(name, pcie=True, ethernet="eth" in find_board(name).links)
    project = text(folder, "top.tcl")
    assert "create_ip -vendor xilinx.com -name pcie_7x -module_name pcie_s7" in project
    assert "CONFIG.Bar0_Scale {Megabytes}" in project
    assert "CONFIG.Bar0_Size {1}" in project
    assert pcie.BAR0_BYTES == 1 << 20
    # Vivado takes it as hexadecimal.
    (device,) = re.findall(r"CONFIG.Device_ID {(\d+)}", project)
    assert int(device, 16) in pcie.DEVICE_IDS
    lanes = int(device, 16) & 0xF
    assert f"CONFIG.Maximum_Link_Width {{X{lanes}}}" in project
    constraints = text(folder, "top.xdc")
    for pin in ("tx_p", "tx_n", "rx_p", "rx_n"):
        places = re.findall(rf"set_property LOC (\w+) \[get_ports {{pcie_x4_{pin}", constraints)
        assert len(set(places)) == lanes
    assert "create_clock -name pcie_x4_clk_p -period 10.0 [get_ports pcie_x4_clk_p]" in constraints
    assert re.search(r"set_clock_groups .*sys_clk.*pcie_clk.* -asynchronous", constraints)
    assert re.search(r"^pcie_s7 pcie_s7\(", text(folder, "top.v"), re.M)
    found = bases(folder)
    for bank, location in pcie.LOCATIONS.items():
        assert found[bank] == CSR_ORIGIN + location * CSR_BANK_BYTES


def test_the_acorn_asks_for_its_clock(elaborated_little: Elaborated) -> None:
    folder = elaborated_little("acorn", pcie=True, ethernet=False)
    assert re.search(r"assign pcie_clkreq_n = 1'd0;", text(folder, "top.v"))
    assert "get_ports {pcie_clkreq_n}" in text(folder, "top.xdc")


def test_the_hard_block_is_known_to_what_counts_area(elaborated_little: Elaborated) -> None:
    folder = elaborated_little("acorn", pcie=True, ethernet=False)
    script = synthesis_script(folder, "synth_xilinx -top top", "stat")
    assert "read_verilog -lib pcie_s7_box.v\n" in script
    box = text(folder, "pcie_s7_box.v")
    instance = text(folder, "top.v").partition("pcie_s7 pcie_s7(")[2].partition(");")[0]
    assert set(re.findall(r"\.(\w+) *\(", instance)) == set(re.findall(r"\] (\w+)", box))
    assert "output [127:0] m_axis_rx_tdata" in box
    assert "pcie_s7_box.v" not in text(folder, "top.tcl")


def test_a_scope_is_in_the_design_and_its_signals_are_named(elaborated_little: Elaborated) -> None:
    folder, without = elaborated_little("acorn", scope=True), elaborated_little("acorn")
    verilog = text(folder, "top.v")
    lines = [line.split(",") for line in text(folder, "analyzer.csv").splitlines()]
    signals = {name: int(bits) for kind, _, name, bits in lines if kind == "signal"}
    for name, bits in signals.items():
        width = f"{f'[{bits - 1}:0]' if bits > 1 else ''}"
        assert re.search(rf"wire +{re.escape(width)} *{name};", verilog), name
    # The board's width of DRAM, all ports of the engine, and the clock of the samples.
    assert {"scope_read0_cmd_valid", "scope_read1_data_valid", "scope_write_data_ready"} < {
        *signals
    }
    settings = {name: int(value) for kind, _, name, value in lines if kind == "config"}
    assert settings["samplerate"] == find_board("acorn").clock_hz
    assert settings["data_width"] == sum(signals.values())
    # Registers of all else lie where they lie without it.
    plain = bases(without)
    assert {name: at for name, at in bases(folder).items() if name != "analyzer"} == plain
    assert not (without / "analyzer.csv").exists()


def test_a_black_box_has_ports_as_wide_as_what_is_connected() -> None:
    text = black_box("block", {"i_a": 0, "i_b": 5, "o_c": range(7), "io_d": range(1)})
    assert text.splitlines() == [
        "module block (",
        "    input [0:0] a,",
        "    input [2:0] b,",
        "    output [6:0] c,",
        "    inout [0:0] d",
        ");",
        "endmodule",
    ]

"""Coefficients by which power is estimated from counted activity, and who published each.

What comes out is an estimate and is called one: it tells what a change moves, not what a board
draws. Voltage converters, terminations, clocks, other logic and links are not in it.
"""

from dataclasses import dataclass

DRAM_SOURCE = "Micron, MT41J 1 Gb DDR3 SDRAM x16, -15E, IDD table, as DRAMSim2 has it"
METHOD_SOURCE = "Micron TN-41-01, Calculating Memory System Power for DDR3"
FPGA_SOURCE = "Lattice FPGA-DS-02012, ECP5 family, supply current (standby), LFE5U-85F, typical"
ENERGY_SOURCE = "Horowitz, Computing's energy problem, ISSCC 2014, 45 nm"
GAP_SOURCE = "Kuon and Rose, Measuring the gap between FPGAs and ASICs, IEEE TCAD 2007"


@dataclass(frozen=True)
class Coefficient:
    """A published figure, in the unit that its source has."""

    symbol: str
    value: float
    unit: str
    meaning: str
    source: str


COEFFICIENTS = (
    Coefficient("VDD", 1.5, "V", "supply of a DRAM chip", DRAM_SOURCE),
    Coefficient("IDD0", 110.0, "mA", "row after row opened and closed", DRAM_SOURCE),
    Coefficient("IDD2N", 65.0, "mA", "standby, all rows closed", DRAM_SOURCE),
    Coefficient("IDD3N", 60.0, "mA", "standby, a row open", DRAM_SOURCE),
    Coefficient("IDD4R", 290.0, "mA", "reads without a pause, outputs not loaded", DRAM_SOURCE),
    Coefficient("IDD5", 240.0, "mA", "refresh after refresh", DRAM_SOURCE),
    Coefficient("tRAS", 36.0, "ns", "from opening a row to closing it", DRAM_SOURCE),
    Coefficient("tRC", 51.0, "ns", "from opening a row to opening the next", DRAM_SOURCE),
    Coefficient("tRFC", 111.0, "ns", "a refresh", DRAM_SOURCE),
    Coefficient("tREFI", 7800.0, "ns", "from refresh to refresh", DRAM_SOURCE),
    Coefficient(
        "rate", 2667.0, "MB/s", "of the chip at which IDD4R holds (1333 MT/s)", DRAM_SOURCE
    ),
    Coefficient("row", 2048.0, "B", "read of a row that is open", DRAM_SOURCE),
    Coefficient("ICC", 212.0, "mA", "the FPGA's core, not clocked", FPGA_SOURCE),
    Coefficient("VCC", 1.1, "V", "the FPGA's core", FPGA_SOURCE),
    Coefficient("multiply", 0.2, "pJ", "8 x 8 bits, in an ASIC", ENERGY_SOURCE),
    Coefficient("add", 0.1, "pJ", "32 bits, in an ASIC", ENERGY_SOURCE),
    Coefficient(
        "memory", 1.25, "pJ/B", "8 KiB on chip (10 pJ for 64 bits), in an ASIC", ENERGY_SOURCE
    ),
    Coefficient("gap", 14.0, "", "dynamic energy in an FPGA to that in an ASIC", GAP_SOURCE),
)
"""All of them. How they go together is :func:`jalhost.power.estimate.estimate`, for memories after
TN-41-01."""

BUFFER_ACCESSES = 2
"""A byte from DRAM is written to a buffer on the chip, and read from it."""

CHIP_PORT_BYTES = 16
"""What a DRAM chip of 16 bits gives in a cycle of the system at 1:4: tells how many there are."""


def coefficient(symbol: str) -> float:
    """The value, in the table's unit."""
    return next(item.value for item in COEFFICIENTS if item.symbol == symbol)

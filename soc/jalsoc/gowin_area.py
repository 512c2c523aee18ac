"""How many LUTs of a Gowin FPGA a netlist occupies, beyond those that it names.

In these FPGAs, as nextpnr knows them, a flip-flop takes its value from the LUT in front of it and
from nowhere else. Each flip-flop that no LUT or adder of its own feeds (a stage of a delay, what
leaves a block RAM or a multiplier, a register on a bus) takes the LUT as a wire. nextpnr counts
LUTs and flip-flops apart and meets this when it places.
"""

from dataclasses import dataclass

from jalsoc.netlist_wires import Netlist, Wires

FLIP_FLOPS = {f"DFF{kind}" for kind in ("", "E", "R", "RE", "S", "SE", "C", "CE", "P", "PE")}

ADDER, RAM = "ALU", "RAM16SDP4"

RAM_LUTS = 8
"""nextpnr places nothing beside a distributed RAM, which fills a tile of eight LUTs."""


@dataclass(frozen=True)
class Area:
    """LUTs of a netlist by what they are for: logic, adders, RAM, and flip-flops alone."""

    logic: int
    adders: int
    ram: int
    flip_flops: int

    @property
    def total(self) -> int:
        """The least that a layout can do with."""
        return self.logic + self.adders + self.ram + self.flip_flops


def luts(netlist: Netlist, top: str) -> Area:
    """LUTs of the module ``top`` of a flattened netlist of Gowin's cells.

    Raises:
        KeyError: there is no such module.
    """
    wires = Wires(netlist["modules"][top])
    kinds = [cell["type"] for cell in wires.cells.values()]
    # A LUT can feed one flip-flop; others that take the same value need another one.
    feeding: set[str] = set()
    alone = 0
    for cell in wires.cells.values():
        if cell["type"] not in FLIP_FLOPS:
            continue
        bit = cell["connections"]["D"][0]
        name = wires.driver.get(bit, "")
        source = wires.cells.get(name)
        feeds = source is not None and (
            source["type"].startswith("LUT")
            or (source["type"] == ADDER and bit in source["connections"]["SUM"])
        )
        if feeds and name not in feeding:
            feeding.add(name)
        else:
            alone += 1
    logic = sum(kind.startswith("LUT") for kind in kinds)
    return Area(logic, kinds.count(ADDER), RAM_LUTS * kinds.count(RAM), alone)

"""Moves pipeline registers into the ECP5's block RAMs, in a netlist that yosys has written.

yosys leaves the register at a DP16KD's output unused, and an output takes 4 to 6 ns to come from
the RAM itself. Here flip-flops that alone take what a port reads become that register: the same
circuit, in other cells.

Parameters and ports: Lattice, *ECP5 Memory Usage Guide* (FPGA-TN-02204), DP16KD. nextpnr times
either kind of output.
"""

from typing import Any

from jalsoc.dsp_registers import control_of
from jalsoc.netlist_wires import Control, Netlist, Wires

BLOCK_RAM = "DP16KD"

PORT_BITS, WIDEST = 18, 36


def outputs(cell: dict[str, Any]) -> dict[str, str]:
    """Ports of a block RAM that read on their own, and the letters of the outputs they have.

    At full width port B reads all of it, and the upper half comes out of its own outputs.
    """
    width = int(str(cell["parameters"]["DATA_WIDTH_B"]), 2)
    return {"B": "AB"} if width == WIDEST else {"A": "A", "B": "B"}


class _Packer(Wires):
    """One module's block RAMs and the flip-flops behind them."""

    def pack(self, name: str, port: str, letters: str) -> bool:
        """Uses the output register of one port; returns whether it could."""
        cell = self.cells[name]
        nets, parameters = cell["connections"], cell["parameters"]
        if any(parameters.get(f"REGMODE_{letter}", "NOREG") != "NOREG" for letter in letters):
            return False
        # The RAM's own reset would reach its register as well.
        if nets.get(f"RST{port}", ["0"]) != ["0"] or parameters.get(f"CLK{port}MUX") == "INV":
            return False
        wires = [f"DO{letter}{index}" for letter in letters for index in range(PORT_BITS)]
        found = self.takers(nets, wires)
        controls = {control_of(self.cells[flip_flop]) for flip_flop in found.values()}
        control = controls.pop() if len(controls) == 1 else None
        if control is None or control != Control(nets[f"CLK{port}"][0], control.enable):
            return False
        for letter in letters:
            parameters[f"REGMODE_{letter}"] = "OUTREG"
            self.readers.subtract(nets.get(f"OCE{letter}", []))
            nets[f"OCE{letter}"] = [control.enable]
            cell["port_directions"][f"OCE{letter}"] = "input"
            self.readers[control.enable] += 1
        self.absorb(name, found)
        return True


def pack_outputs(netlist: Netlist, top: str) -> tuple[int, int]:
    """Changes the module ``top`` of a flattened netlist of ECP5 cells in place.

    Returns:
        How many ports of block RAMs have a register now, and how many flip-flops that saved.

    Raises:
        KeyError: there is no such module.
    """
    packer = _Packer(netlist["modules"][top])
    memories = [name for name, cell in packer.cells.items() if cell["type"] == BLOCK_RAM]
    ports = sum(
        packer.pack(name, port, letters)
        for name in memories
        for port, letters in outputs(packer.cells[name]).items()
    )
    return ports, packer.removed

"""Moves pipeline registers into Gowin's multipliers, in a netlist that yosys has written.

yosys maps a product to a MULT18X18 or MULT9X9 without the registers inside it. In a Gowin FPGA that
costs twice: a flip-flop takes its value from the LUT in front of it, so one that holds a product
occupies a LUT that does nothing else. Here flip-flops directly in front of and behind a multiplier
become its input and output registers, and a second row behind it the one in its middle: the same
circuit, in other cells.

Parameters and ports: Gowin, *Digital Signal Processing (DSP) User Guide* (UG287). A multiplier has
one clock, one clock enable and one reset for all its registers. nextpnr packs them but has no times
for multipliers: paths that begin or end in one are not in its report.
"""

from collections import defaultdict
from dataclasses import replace
from typing import Any

from jalsoc.netlist_wires import Bit, Control, Lut, Netlist, Packed, Wires

MULTIPLIERS = {"MULT18X18", "MULT9X9"}

FLIP_FLOPS = {"DFF", "DFFE", "DFFR", "DFFRE"}
"""Those that a multiplier's registers can replace: on rising edges, reset to 0 by the clock."""

REGISTERS = {"A": "AREG", "B": "BREG", "DOUT": "OUT_REG"}
"""Parameters of a multiplier that switch on the register of a port."""

GATE = Lut("LUT2", "0010", ("I0", "I1"), "F")
"""I0 and not I1."""


def control_of(cell: dict[str, Any]) -> Control | None:
    """What moves a flip-flop; None for what a register in a multiplier cannot do."""
    nets = cell["connections"]
    if cell["type"] not in FLIP_FLOPS:
        return None
    control = Control(nets["CLK"][0], nets.get("CE", ["1"])[0], nets.get("RESET", ["0"])[0])
    # Which of the two wins inside a multiplier is not documented.
    return None if control.enable != "1" and control.reset != "0" else control


class _Packer(Wires):
    """One module's multipliers and the flip-flops around them."""

    def __init__(self, module: dict[str, Any]) -> None:
        super().__init__(module)
        self.operands = self.products = 0

    def constant(self, bit: Bit) -> str | None:
        """The value of a net that never changes."""
        if isinstance(bit, str):
            return bit
        kind = self.cells[self.driver[bit]]["type"] if bit in self.driver else ""
        return {"GND": "0", "VCC": "1"}.get(kind)

    def operand(self, bits: list[Bit]) -> Control | None:
        """What controls the flip-flops that drive an operand; None if something else does.

        A constant 0 is as good as a flip-flop. A 1 is not: a register does not hold it yet in the
        very first cycle.
        """
        controls = set()
        for bit in bits:
            value = self.constant(bit)
            if value == "0":
                continue
            name = self.driver.get(bit)
            control = control_of(self.cells[name]) if name is not None else None
            if control is None:
                return None
            controls.add(control)
        # yosys makes a reset of a multiplexer with 0; a LUT can do the same in front.
        plain = {replace(control, reset="0") for control in controls}
        if len(controls) > 1 and len(plain) == 1:
            controls = plain
        return controls.pop() if len(controls) == 1 else None

    def product(self, bits: list[Bit]) -> Control | None:
        """What controls the flip-flops that alone take the product; None if others do."""
        controls = set()
        for bit in bits:
            if not self.readers[bit]:
                continue
            name, port = self.reader.get(bit, ("", ""))
            if self.readers[bit] > 1 or port != "D":
                return None
            controls.add(control_of(self.cells[name]))
        return controls.pop() if len(controls) == 1 else None

    def pack(self, name: str) -> None:
        """Uses the registers of one multiplier, as far as its neighbours agree on their control."""
        cell = self.cells[name]
        nets, parameters = cell["connections"], cell["parameters"]
        if any("1" in str(parameters.get(key, "0")) for key in REGISTERS.values()):
            return  # someone has chosen its registers already
        groups: dict[Control, list[str]] = defaultdict(list)
        for port in REGISTERS:
            control = (self.product if port == "DOUT" else self.operand)(nets[port])
            if control:
                groups[control].append(port)
        if not groups:
            return
        control, ports = max(groups.items(), key=lambda group: self._saved(nets, group[1]))
        for port in ports:
            parameters[REGISTERS[port]] = "1"
            if port == "DOUT":
                self._absorb_product(nets)
                if self.product(nets[port]) == control:
                    parameters["PIPE_REG"] = "1"
                    self._absorb_product(nets)
                self.products += 1
            else:
                self._bypass_operand(nets, port, control)
                self.operands += 1
        parameters["MULT_RESET_MODE"] = "SYNC"
        wires = {"CLK": control.clock, "CE": control.enable, "RESET": control.reset}
        for port, bit in wires.items():
            self.readers.subtract(nets[port])
            self.readers[bit] += 1
            nets[port] = [bit]

    def _saved(self, nets: dict[str, list[Bit]], ports: list[str]) -> int:
        """Flip-flops that these registers replace, but for those that others read as well."""
        read = [bit for port in ports for bit in set(nets[port]) if self.constant(bit) is None]
        inputs = [bit for port in "AB" for bit in nets[port]]
        return sum(0 < self.readers[bit] <= max(1, inputs.count(bit)) for bit in read)

    def _bypass_operand(self, nets: dict[str, list[Bit]], port: str, control: Control) -> None:
        """The operand comes from in front of its flip-flops; these stay while others read them."""
        for index, bit in enumerate(nets[port]):
            if self.constant(bit) is not None:
                continue
            name = self.driver[bit]
            connections = self.cells[name]["connections"]
            before, reset = connections["D"][0], connections.get("RESET", ["0"])[0]
            if reset not in ("0", control.reset):
                before = self.lut(f"{name}$gated", GATE, [before, reset])
            nets[port][index] = before
            self.readers[bit] -= 1
            self.readers[before] += 1

    def _absorb_product(self, nets: dict[str, list[Bit]]) -> None:
        """The product's ports drive what the flip-flops drove."""
        for index, bit in enumerate(nets["DOUT"]):
            if self.readers[bit]:
                name, _ = self.reader[bit]
                driven = self.cells[name]["connections"]["Q"][0]
                self.driver[driven] = self.driver[bit]
                nets["DOUT"][index] = driven
                self.remove(name)


def pack_registers(netlist: Netlist, top: str) -> Packed:
    """Changes the module ``top`` of a flattened netlist of Gowin's cells in place.

    Raises:
        KeyError: there is no such module.
    """
    packer = _Packer(netlist["modules"][top])
    packer.readers["x"] = 0
    for name in [name for name, cell in packer.cells.items() if cell["type"] in MULTIPLIERS]:
        packer.pack(name)
    packer.remove_unread(FLIP_FLOPS)
    return Packed(packer.operands, packer.products, packer.removed)

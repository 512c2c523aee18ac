"""Moves pipeline registers into the ECP5's multipliers, in a netlist that yosys has written.

yosys maps a product to a MULT18X18D without using the registers inside it, so that its operands and
its result spend a cycle on the way to flip-flops elsewhere. Here flip-flops directly in front of
and behind a multiplier become its input and output registers: the same circuit, in other cells.

Parameters and ports: Lattice, *ECP5 sysDSP Usage Guide* (FPGA-TN-02205), MULT18X18D. nextpnr packs
and times them.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

from jalsoc.netlist_wires import Bit, Control, Lut, Netlist, Packed, Wires

MULTIPLIER, FLIP_FLOP = "MULT18X18D", "TRELLIS_FF"

OPERAND_BITS = 18

PRODUCT = [f"P{index}" for index in range(36)]

GATE = Lut("LUT4", f"{0x2222:016b}", "ABCD", "Z")
"""A and not B."""


def control_of(cell: dict[str, Any]) -> Control | None:
    """How a flip-flop is controlled; None for what a register in a multiplier cannot do."""
    nets = cell["connections"]
    parameters = {name: str(value).strip() for name, value in cell["parameters"].items()}
    reset, enable = nets.get("LSR", ["0"])[0], nets.get("CE", ["1"])[0]
    if cell["type"] != FLIP_FLOP or parameters.get("REGSET", "RESET") != "RESET":
        return None
    if parameters.get("CLKMUX", "CLK") != "CLK":
        return None
    if enable != "1" and parameters.get("CEMUX", "1") != "CE":
        enable = "1" if parameters.get("CEMUX") == "1" else "x"
    if reset != "0" and (
        parameters.get("LSRMUX", "LSR") != "LSR" or parameters.get("SRMODE") != "LSR_OVER_CE"
    ):
        return None
    # Which of the two wins inside a multiplier is not documented.
    if enable == "x" or (enable != "1" and reset != "0"):
        return None
    return Control(nets["CLK"][0], enable, reset)


class _Packer(Wires):
    """One module's multipliers and the flip-flops around them."""

    def __init__(self, module: dict[str, Any]) -> None:
        super().__init__(module)
        self.packed: Counter[str] = Counter()

    def operand(self, nets: dict[str, list[Bit]], port: str) -> Control | None:
        """What controls the flip-flops that drive one operand; None if something else does.

        Constants are as good as flip-flops that are never reset: when the multiplier's register
        does not hold a 1 yet, in the very first cycle, the other operand's is 0 as well.
        """
        found: dict[str, Control | None] = {}
        constants = set()
        for index in range(OPERAND_BITS):
            bit = nets[f"{port}{index}"][0]
            if isinstance(bit, str):
                constants.add(bit)
                continue
            name = self.driver.get(bit)
            if name is None:  # an input of the module
                return None
            found[name] = control_of(self.cells[name])
        if not found:
            return Control("any")
        control = _agreed(found, mixed=True)
        if control and "1" in constants and control != Control(control.clock):
            return None
        return control

    def operands(self, nets: dict[str, list[Bit]]) -> dict[str, Control]:
        """What controls both operands; nothing unless both can be in registers.

        nextpnr does not know the times of a multiplier with one.
        """
        a, b = (self.operand(nets, port) for port in "AB")
        if not a or not b or a.clock == b.clock == "any":
            return {}
        clock = b.clock if a.clock == "any" else a.clock
        if {a.clock, b.clock} - {clock, "any"}:
            return {}
        return {"A": replace(a, clock=clock), "B": replace(b, clock=clock)}

    def product(self, nets: dict[str, list[Bit]]) -> Control | None:
        """What controls the flip-flops that alone take the product; None if others do."""
        takers = self.takers(nets, PRODUCT)
        return _agreed({name: control_of(self.cells[name]) for name in takers.values()})

    def pack(self, name: str) -> None:
        """Uses the registers of one multiplier, as far as its neighbours allow."""
        cell = self.cells[name]
        nets, parameters = cell["connections"], cell["parameters"]
        if any(value.startswith("CLK") for value in parameters.values() if isinstance(value, str)):
            return  # someone has chosen its registers already
        found, product = self.operands(nets), self.product(nets)
        if product:
            found["P"] = product
        if len({control.clock for control in found.values()}) != 1:
            return
        enables: list[Bit] = []
        resets: list[Bit] = []
        for port, control in found.items():
            for wires, wire in ((enables, control.enable), (resets, control.reset)):
                if wire not in wires:
                    wires.append(wire)
            register = "OUTPUT" if port == "P" else f"INPUT{port}"
            parameters[f"REG_{register}_CLK"] = "CLK0"
            parameters[f"REG_{register}_CE"] = f"CE{enables.index(control.enable)}"
            parameters[f"REG_{register}_RST"] = f"RST{resets.index(control.reset)}"
            self.packed[port] += 1
            if port == "P":
                self.absorb(name, self.takers(nets, PRODUCT))
            else:
                self._bypass_operand(nets, port, control)
            self._connect(cell, "CLK0", control.clock)
        for index, wire in enumerate(enables):
            self._connect(cell, f"CE{index}", wire)
        for index, wire in enumerate(resets):
            self._connect(cell, f"RST{index}", wire)
        parameters |= {"CLK0_DIV": "ENABLED", "GSR": "DISABLED", "RESETMODE": "SYNC"}

    def _connect(self, cell: dict[str, Any], port: str, bit: Bit) -> None:
        if port not in cell["connections"]:
            cell["connections"][port] = [bit]
            cell["port_directions"][port] = "input"
            self.readers[bit] += 1

    def _bypass_operand(self, nets: dict[str, list[Bit]], port: str, control: Control) -> None:
        """The operand comes from in front of its flip-flops; these stay while others read them."""
        for index in range(OPERAND_BITS):
            bit = nets[f"{port}{index}"][0]
            if not isinstance(bit, str):
                flip_flop = self.cells[self.driver[bit]]
                before = flip_flop["connections"]["DI"][0]
                reset = _reset_of(flip_flop)
                if reset not in ("0", control.reset):
                    before = self.lut(f"{self.driver[bit]}$gated", GATE, [before, reset])
                nets[f"{port}{index}"] = [before]
                self.readers[bit] -= 1
                self.readers[before] += 1


def _reset_of(cell: dict[str, Any]) -> Bit:
    control = control_of(cell)
    return control.reset if control else "0"


def _agreed(found: dict[str, Control | None], mixed: bool = False) -> Control | None:
    """What controls all of these flip-flops; None if there are none or they differ.

    ``mixed``: some may have resets where the others have none; yosys makes one of a multiplexer
    with 0.
    """
    controls = {control for control in found.values() if control}
    if not controls or None in found.values():
        return None
    plain = {replace(control, reset="0") for control in controls}
    if mixed and len(plain) == 1 and plain & controls:
        controls = plain
    return controls.pop() if len(controls) == 1 else None


def pack_registers(netlist: Netlist, top: str) -> Packed:
    """Changes the module ``top`` of a flattened netlist of ECP5 cells in place.

    Raises:
        KeyError: there is no such module.
    """
    packer = _Packer(netlist["modules"][top])
    for name in [name for name, cell in packer.cells.items() if cell["type"] == MULTIPLIER]:
        packer.pack(name)
    packer.remove_unread({FLIP_FLOP})
    packed = packer.packed
    return Packed(packed["A"] + packed["B"], packed["P"], packer.removed)

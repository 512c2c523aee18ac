"""Who drives and who reads each net of a module, in a netlist that yosys has written."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Netlist = dict[str, Any]
"""What yosys's ``write_json`` writes."""

Bit = int | str
"""A net's number, or a constant: ``0``, ``1``, ``x``."""


Result = TypeVar("Result")


@dataclass(frozen=True)
class Control:
    """What moves a flip-flop: clock, clock enable, and synchronous reset to 0."""

    clock: Bit
    enable: Bit = "1"
    reset: Bit = "0"


@dataclass(frozen=True)
class Packed:
    """How many registers are used now, and how many flip-flops that saved.

    ``operands``, ``products``: of multipliers; ``memories``: ports of block RAMs.
    """

    operands: int
    products: int
    flip_flops: int
    memories: int = 0


@dataclass(frozen=True)
class Lut:
    """A kind of LUT cell with a fixed table: its type, its parameter INIT, and its ports."""

    kind: str
    init: str
    inputs: Sequence[str]
    output: str


class Wires:
    """One module's cells, and who drives and reads each net; for passes that move flip-flops.

    ``readers``: how many ports read a net, those of the module included; ``reader``: one of them,
    as (cell, port); ``newest``: the largest number of a net; ``removed``: cells taken out.
    """

    def __init__(self, module: dict[str, Any]) -> None:
        self.cells: dict[str, dict[str, Any]] = module["cells"]
        self.driver: dict[Bit, str] = {}
        self.readers: Counter[Bit] = Counter()
        self.reader: dict[Bit, tuple[str, str]] = {}
        self.removed = 0
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                output = cell["port_directions"][port] == "output"
                for bit in bits:
                    if output:
                        self.driver[bit] = name
                    else:
                        self.readers[bit] += 1
                        self.reader[bit] = (name, port)
        for port in module["ports"].values():
            if port["direction"] != "input":
                self.readers.update(port["bits"])
        nets = self.readers.keys() | self.driver.keys()
        self.newest = max((bit for bit in nets if isinstance(bit, int)), default=0)

    def lut(self, name: str, lut: Lut, bits: list[Bit]) -> Bit:
        """The output of the LUT ``name`` of ``bits`` (further inputs are 0), made where missing."""
        if name not in self.cells:
            self.newest += 1
            inputs = dict.fromkeys(lut.inputs, "input")
            values = [*bits, *["0"] * (len(inputs) - len(bits))]
            self.cells[name] = {
                "hide_name": 0,
                "type": lut.kind,
                "parameters": {"INIT": lut.init},
                "attributes": {},
                "port_directions": inputs | {lut.output: "output"},
                "connections": {port: [bit] for port, bit in zip(inputs, values, strict=True)}
                | {lut.output: [self.newest]},
            }
            self.driver[self.newest] = name
            self.readers.update(bits)
        output: Bit = self.cells[name]["connections"][lut.output][0]
        return output

    def takers(self, nets: dict[str, list[Bit]], outputs: Iterable[str]) -> dict[str, str]:
        """The cells that alone take each output that is read, at their port DI.

        Empty where something else takes one, or more than one does.
        """
        found = {}
        for output in outputs:
            bit = nets.get(output, ["x"])[0]
            if bit == "x" or not self.readers[bit]:
                continue
            name, port = self.reader.get(bit, ("", ""))
            if self.readers[bit] > 1 or port != "DI":
                return {}
            found[output] = name
        return found

    def absorb(self, name: str, takers: dict[str, str]) -> None:
        """Outputs of the cell ``name`` drive what flip-flops behind them drove; these go."""
        nets = self.cells[name]["connections"]
        for output, flip_flop in takers.items():
            driven = self.cells[flip_flop]["connections"]["Q"]
            nets[output] = driven
            self.driver[driven[0]] = name
            self.remove(flip_flop)

    def remove(self, name: str) -> None:
        """Takes out a cell that nobody reads any more."""
        cell = self.cells.pop(name)
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                self.readers.subtract(bits)
        self.removed += 1

    def remove_unread(self, types: Collection[str]) -> None:
        """Removes flip-flops of these types that nobody reads any more, and those before them."""
        found = [name for name in self.cells if self._unread(name, types)]
        while found:
            name = found.pop()
            cell = self.cells[name]
            self.remove(name)
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] == "input":
                    drivers = {self.driver.get(bit, "") for bit in bits} - {*found}
                    found += [before for before in drivers if self._unread(before, types)]

    def _unread(self, name: str, types: Collection[str]) -> bool:
        cell = self.cells.get(name)
        if cell is None or cell["type"] not in types:
            return False
        return not self.readers[cell["connections"]["Q"][0]]


def change_file(path: Path, top: str, change: Callable[[Netlist, str], Result]) -> Result:
    """Lets ``change`` at the module ``top`` of a netlist in a file of yosys's JSON.

    Raises:
        KeyError: there is no such module.
    """
    netlist: Netlist = json.loads(path.read_text(encoding="utf-8"))
    result = change(netlist, top)
    path.write_text(json.dumps(netlist), encoding="utf-8")
    return result

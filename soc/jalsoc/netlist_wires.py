"""Who drives and who reads each net of a module, in a netlist that yosys has written."""

from collections import Counter
from collections.abc import Collection
from typing import Any

Netlist = dict[str, Any]
"""What yosys's ``write_json`` writes."""

Bit = int | str
"""A net's number, or a constant: ``0``, ``1``, ``x``."""


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

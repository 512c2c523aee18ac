"""Modules that the maker's tools add to a design, as far as tools must know them that count it."""

from collections.abc import Mapping
from typing import Any

DIRECTIONS = {"i": "input", "o": "output", "io": "inout"}


def black_box(name: str, connections: Mapping[str, Any]) -> str:
    """A module's Verilog without content.

    Args:
        name: of the module.
        connections: as Migen's ``Instance`` takes them: ``i_``, ``o_`` or ``io_`` and the port's
            name, and what is connected.
    """
    ports = []
    for key, value in connections.items():
        direction, _, port = key.partition("_")
        bits = max(1, value.bit_length()) if isinstance(value, int) else len(value)
        ports.append(f"    {DIRECTIONS[direction]} [{bits - 1}:0] {port}")
    return f"module {name} (\n" + ",\n".join(ports) + "\n);\nendmodule\n"

"""Names of a build's registers and memories, from LiteX's ``csr.json``."""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jalgateware.contract import memory_map
from jalhost.errors import BundleError, UsageError

CSR_JSON = "csr.json"
"""How a bundle calls it."""

WORD_BITS = 32

SUGGESTIONS = 3
"""Most names that a message about an unknown one has."""

CSR_REGION_BYTES = 0x1_0000
"""What LiteX gives to registers."""


@dataclass(frozen=True)
class Register:
    """A register: ``words`` words from ``address`` on, the most significant first."""

    name: str
    address: int
    words: int
    writable: bool

    @property
    def bits(self) -> int:
        """Most that a value has; many registers keep fewer of them."""
        return WORD_BITS * self.words

    def value(self, words: Iterable[int]) -> int:
        """The value that its words stand for."""
        value = 0
        for word in words:
            value = value << WORD_BITS | word
        return value

    def split(self, value: int) -> list[int]:
        """The words of a value.

        Raises:
            UsageError: the register takes no writes, or not this value.
        """
        if not self.writable:
            raise UsageError(f"{self.name} is read-only")
        if not 0 <= value < 1 << self.bits:
            raise UsageError(f"{self.name} takes 0 to {(1 << self.bits) - 1:#x}, not {value:#x}")
        shifts = range(WORD_BITS * (self.words - 1), -1, -WORD_BITS)
        return [value >> shift & 0xFFFFFFFF for shift in shifts]


@dataclass(frozen=True)
class Memory:
    """A region of the bus."""

    name: str
    origin: int
    size: int


@dataclass(frozen=True)
class RegisterMap:
    """Registers and memories of a build, by name; ``clock_hz`` of its system."""

    registers: Mapping[str, Register]
    memories: Mapping[str, Memory]
    clock_hz: int | None = None

    def find(self, name: str) -> Register:
        """The register of a name.

        Raises:
            UsageError: there is none; suggests the nearest.
        """
        if name not in self.registers:
            raise suggest("register", name, self.registers, "jalhost csr list shows all")
        return self.registers[name]

    def matching(self, text: str) -> list[Register]:
        """Registers with a text in their names, by address."""
        found = [item for item in self.registers.values() if text in item.name]
        return sorted(found, key=lambda item: item.address)

    def address(self, text: str) -> int:
        """The address that a text names: a number, or ``MEMORY[+OFFSET]``, or a register.

        Raises:
            UsageError: it names nothing; suggests the nearest.
        """
        name, plus, offset = text.partition("+")
        if name[:1].isdigit():
            return parse_number(text)
        places = {memory.name: memory.origin for memory in self.memories.values()}
        places |= {register.name: register.address for register in self.registers.values()}
        if name not in places:
            memories = ", ".join(self.memories)
            raise suggest("memory or register", name, places, f"memories: {memories}")
        return places[name] + (parse_number(offset) if plus else 0)

    def region(self, address: int, size: int) -> Memory:
        """The memory that holds all of a range.

        Raises:
            UsageError: none does, or the range is not one of whole words.
        """
        if address % 4 or size % 4 or size <= 0:
            raise UsageError(
                f"{size:,} bytes from {address:#010x} on are no whole words",
                "address and size are multiples of 4",
            )
        for memory in self.memories.values():
            if memory.origin <= address and address + size <= memory.origin + memory.size:
                return memory
        places = "; ".join(
            f"{item.name} {item.origin:#010x} to {item.origin + item.size - 1:#010x}"
            for item in self.memories.values()
        )
        raise UsageError(
            f"{address:#010x} to {address + size - 1:#010x} is in no memory of this build", places
        )


def parse_number(text: str) -> int:
    """A number in decimal, or with ``0x`` or ``0b``; ``K``, ``M`` and ``G`` are binary multiples.

    Raises:
        UsageError: it is none.
    """
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper(), 0)
    digits = text[:-1] if factor else text
    try:
        return int(digits, 0) * (factor or 1)
    except ValueError:
        raise UsageError(f"{text!r} is no number", "for example 4096, 0x1000 or 4K") from None


def read_map(text: bytes, source: str) -> RegisterMap:
    """Reads ``csr.json``.

    Args:
        text: its content.
        source: where it comes from, for messages.

    Raises:
        BundleError: it is none.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        registers = {
            name: Register(name, int(item["addr"]), int(item["size"]), item["type"] == "rw")
            for name, item in content["csr_registers"].items()
        }
        memories = {
            name: Memory(name, int(item["base"]), int(item["size"]))
            for name, item in content["memories"].items()
        }
        clock_hz = content["constants"]["config_clock_frequency"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{source} has no register map of LiteX's: {error!r}") from error
    return RegisterMap(registers, memories, clock_hz)


def contract_map(dram_bytes: int) -> RegisterMap:
    """What every build has in the same places: its memories, and no names of registers."""
    regions = {
        "rom": memory_map.ROM,
        "sram": memory_map.SRAM,
        "main_ram": memory_map.Region(memory_map.MAIN_RAM_ORIGIN, dram_bytes),
        "mailbox": memory_map.MAILBOX,
        "csr": memory_map.Region(memory_map.CSR_ORIGIN, CSR_REGION_BYTES),
    }
    memories = {name: Memory(name, item.origin, item.size) for name, item in regions.items()}
    return RegisterMap({}, memories)


def suggest(kind: str, name: str, known: Iterable[str], otherwise: str) -> UsageError:
    """The error that says what is not there, and what it may have been meant to be."""
    near = difflib.get_close_matches(name, list(known), SUGGESTIONS, 0.6)
    near = near or [item for item in known if name in item][:SUGGESTIONS]
    hint = f"did you mean {' or '.join(near)}?" if near else otherwise
    return UsageError(f"there is no {kind} {name!r}", hint)

"""A register map for stand-ins of devices, and bundles with it."""

import json
from pathlib import Path
from typing import Any

from jalgateware.contract import memory_map
from jalhost.bundle import write_bundle
from jaltest.bundles import manifest, members
from jaltest.device import FINGERPRINT

SCRATCH = 0xF000_0804

REGISTERS: dict[str, tuple[int, int, str]] = {
    "fingerprint_value": (memory_map.FINGERPRINT_ADDRESS, 2, "ro"),
    "ctrl_scratch": (SCRATCH, 1, "rw"),
    "engine_status": (0xF000_2804, 1, "ro"),
    "engine_streams": (0xF000_2834, 1, "rw"),
    "timer0_uptime_cycles": (0xF000_4000, 2, "rw"),
    "uart_xover_rxtx": (0xF000_1820, 1, "rw"),
    "uart_xover_txfull": (0xF000_1824, 1, "ro"),
    "uart_xover_rxempty": (0xF000_1828, 1, "ro"),
}
"""Address, words and access by name."""


def csr_json(dram_bytes: int = 4 << 20) -> bytes:
    """As LiteX writes it."""
    regions = {
        "rom": memory_map.ROM,
        "sram": memory_map.SRAM,
        "mailbox": memory_map.MAILBOX,
        "main_ram": memory_map.Region(memory_map.MAIN_RAM_ORIGIN, dram_bytes),
        "csr": memory_map.Region(memory_map.CSR_ORIGIN, 0x1_0000),
    }
    content: dict[str, Any] = {
        "csr_bases": {},
        "csr_registers": {
            name: {"addr": address, "size": words, "type": access}
            for name, (address, words, access) in REGISTERS.items()
        },
        "constants": {"config_clock_frequency": 50_000_000},
        "memories": {
            name: {"base": item.origin, "size": item.size, "type": "cached"}
            for name, item in regions.items()
        },
    }
    return json.dumps(content).encode()


def bundle_with_map(path: Path, fingerprint: int = FINGERPRINT, **extra: bytes) -> Path:
    """Writes a bundle with this map; ``extra``: members, with ``_`` for the dot in their names."""
    value = f"{fingerprint:016x}"
    soc = json.dumps({"fingerprint": value}).encode()
    files = members(csr_json=csr_json(), soc_json=soc, **extra)
    write_bundle(path, manifest(fingerprint=value), files)
    return path

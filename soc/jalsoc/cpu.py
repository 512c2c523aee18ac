"""The CPUs that a system can have, each without data cache: what it sees of DRAM is current."""

CPUS = {
    "vexriscv-lite": ("vexriscv", "lite"),
    "vexriscv-minimal": ("vexriscv", "minimal"),
    "serv": ("serv", "standard"),
}
"""LiteX's names, (CPU, variant), by ours.

"lite" has an instruction cache and a multiplier, "minimal" neither. SERV computes a bit in each
cycle; its registers are in block RAM.
"""

DEFAULT_CPU = "vexriscv-lite"

CONSOLE_BYTES = 128
"""Console output that waits for a reader, where nothing else is said."""

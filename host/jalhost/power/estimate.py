"""Energy estimated from the engine's counters: never measured, and never called so."""

from collections.abc import Mapping
from dataclasses import dataclass

from jalgateware.contract.power import BUFFER_ACCESSES, CHIP_PORT_BYTES, coefficient
from jalhost.engine.target import Provenance, TargetInfo
from jalhost.errors import UsageError

MILLI, NANO, PICO = 1e-3, 1e-9, 1e-12


@dataclass(frozen=True)
class Estimate:
    """Joules by cause over the time of a run."""

    seconds: float
    parts_j: Mapping[str, float]

    @property
    def energy_j(self) -> float:
        """All of them."""
        return sum(self.parts_j.values())

    @property
    def mean_w(self) -> float:
        """Over the run."""
        return self.energy_j / self.seconds if self.seconds > 0 else 0.0


def estimate(counters: Mapping[str, int], info: TargetInfo) -> Estimate:
    """Energy of a run, by what the engine counted.

    Each weight is multiplied in all token rows, whether they hold a token or not; each byte of
    keys and values once.

    Args:
        counters: of the run.
        info: of the target that counted; hardware, or its simulation.
    """
    assert info.clock_hz
    assert info.port_bytes
    assert info.lanes
    seconds = counters["cycles"] / info.clock_hz
    chips = max(1, info.port_bytes // CHIP_PORT_BYTES)
    moved = counters["dram_words"] * info.lanes
    cached = counters["kv_words"] * info.lanes
    products = (moved - cached) * info.token_rows + cached
    return Estimate(
        seconds,
        {
            "dram_standby": seconds * chips * dram_standby_w(),
            "dram_refresh": seconds * chips * dram_refresh_w(),
            "dram_reads": moved * dram_byte_j(),
            "fpga_static": seconds * coefficient("ICC") * MILLI * coefficient("VCC"),
            "fpga_buffers": moved * buffer_byte_j(),
            "fpga_products": products * product_j(),
        },
    )


def dram_standby_w() -> float:
    """A chip with a row open: IDD3N x VDD."""
    return coefficient("IDD3N") * MILLI * coefficient("VDD")


def dram_refresh_w() -> float:
    """A chip's refreshes: (IDD5 - IDD3N) x VDD x tRFC / tREFI."""
    more = (coefficient("IDD5") - coefficient("IDD3N")) * MILLI * coefficient("VDD")
    return more * coefficient("tRFC") / coefficient("tREFI")


def dram_byte_j() -> float:
    """A byte read: (IDD4R - IDD3N) x VDD / rate, and its share of opening and closing the row.

    Opening and closing is (IDD0 - (IDD3N x tRAS + IDD2N x (tRC - tRAS)) / tRC) x VDD x tRC.
    """
    volts, cycle_ns = coefficient("VDD"), coefficient("tRC")
    reads_w = (coefficient("IDD4R") - coefficient("IDD3N")) * MILLI * volts
    open_ns = coefficient("tRAS")
    standby = coefficient("IDD3N") * open_ns + coefficient("IDD2N") * (cycle_ns - open_ns)
    row_j = (coefficient("IDD0") - standby / cycle_ns) * MILLI * volts * cycle_ns * NANO
    return reads_w / (coefficient("rate") * 1e6) + row_j / coefficient("row")


def buffer_byte_j() -> float:
    """A byte's way through a buffer in the FPGA."""
    return BUFFER_ACCESSES * coefficient("memory") * coefficient("gap") * PICO


def product_j() -> float:
    """A multiplication and its addition in the FPGA."""
    return (coefficient("multiply") + coefficient("add")) * coefficient("gap") * PICO


def require_counters(info: TargetInfo) -> None:
    """Refuses targets that count nothing.

    Raises:
        UsageError: it is the emulator.
    """
    if info.provenance is Provenance.EMULATED:
        raise UsageError(
            "the emulator counts nothing that power could be estimated from", "use --target sim"
        )

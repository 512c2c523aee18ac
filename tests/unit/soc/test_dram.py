"""Timing of the DRAM chips that systems are built with."""

import pytest
from litedram.modules import MT41K64M16

from jalgateware.contract.config import EngineConfig
from jalhost.errors import UsageError
from jalsoc.dram import DRAM_KINDS, DramKind, dram_chip, speed_grade
from jalsoc.sim.config import SimulatorConfig


@pytest.mark.parametrize(
    ("clock_hz", "grade"),
    [(50e6, "800"), (100e6, "800"), (100.1e6, "1066"), (200e6, "1600"), (250e6, None)],
)
def test_grade_is_that_of_the_rate(clock_hz: float, grade: str | None) -> None:
    assert speed_grade(MT41K64M16, DRAM_KINDS["ddr3x16"], clock_hz) == grade


def test_refresh_takes_as_long_at_full_rate() -> None:
    """160 ns according to LiteDRAM's table; rounded up to the system's cycles."""
    for clock_hz in (100e6, 200e6):
        chip = dram_chip(DRAM_KINDS["ddr3x16"], 32 << 20, clock_hz)
        assert 160 <= chip.timing_settings.tRFC / clock_hz * 1e9 <= 180


def test_chips_of_one_grade_have_their_timing() -> None:
    chip = dram_chip(DRAM_KINDS["sdr16"], 32 << 20, 100e6)
    assert chip.timing_settings.tRFC == 6


@pytest.mark.parametrize(
    ("name", "mib", "chip"),
    [
        ("ddr3x16", 32, "MT41K64M16"),
        ("ddr3x16", 128, "MT41K64M16"),
        ("ddr3x16", 256, "MT41K128M16"),
        ("ddr3x16", 1024, "MT41K512M16"),
        ("ddr3x64", 512, "MT41K64M16"),
        ("sdr16", 32, "AS4C16M16"),
        ("sdr16", 64, "AS4C32M16"),
    ],
)
def test_the_smallest_chip_that_is_large_enough(name: str, mib: int, chip: str) -> None:
    model = dram_chip(DRAM_KINDS[name], mib << 20, 100e6)
    geometry = model.geom_settings
    assert type(model).__name__ == chip
    words = 1 << (geometry.bankbits + geometry.rowbits + geometry.colbits)
    assert words * DRAM_KINDS[name].data_bits // 8 == mib << 20
    # Rows have to be addressed, and A10 closes all banks.
    assert geometry.addressbits >= max(11, geometry.rowbits)


@pytest.mark.parametrize(("name", "mib"), [("sdr16", 128), ("ddr3x16", 48), ("ddr3x16", 2048)])
def test_sizes_that_no_chip_has(name: str, mib: int) -> None:
    with pytest.raises(UsageError, match=f"a DRAM model of {mib << 20} bytes is not possible"):
        dram_chip(DRAM_KINDS[name], mib << 20, 100e6)


@pytest.mark.parametrize("kind", DRAM_KINDS.values(), ids=lambda kind: kind.name)
def test_an_engine_fits_its_dram(kind: DramKind) -> None:
    engine = EngineConfig(**kind.engine)
    assert SimulatorConfig(engine, kind.name).engine.lanes == kind.port_bytes
    # The default engine is the one for the default DRAM.
    if kind.name == SimulatorConfig().dram:
        assert engine == EngineConfig()


def test_fewer_lanes_than_the_port_has_bytes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"8 lanes .*choose at least 16 lanes"):
        SimulatorConfig(EngineConfig(lanes=8))

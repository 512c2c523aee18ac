"""Timing of the DRAM chips that systems are built with."""

import pytest
from litedram.modules import MT41K64M16

from jalsoc.dram import DRAM_KINDS, dram_chip, speed_grade


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

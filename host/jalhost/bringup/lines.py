"""From wrong words to broken lines: what a memory's errors look like says where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jalhost.bringup.build import Geometry

LANE = 8
"""Data lines with a strobe of their own."""


@dataclass
class Observation:
    """How often each bit of words was right and wrong, by its place (0 to 63) in pairs of words.

    ``ones_lost``: was 0 and should be 1; ``zeros_lost``: the other way round.
    """

    ones_lost: dict[int, int] = field(default_factory=dict)
    zeros_lost: dict[int, int] = field(default_factory=dict)
    ones_kept: dict[int, int] = field(default_factory=dict)
    zeros_kept: dict[int, int] = field(default_factory=dict)
    words: int = 0
    wrong_words: int = 0

    def note(self, index: int, expected: int, found: int) -> None:
        """Takes a word at a place (in words)."""
        self.words += 1
        self.wrong_words += expected != found
        for bit in range(32):
            should, came = expected >> bit & 1, found >> bit & 1
            lost, kept = (
                (self.ones_lost, self.ones_kept) if should else (self.zeros_lost, self.zeros_kept)
            )
            counts = kept if should == came else lost
            place = 32 * (index % 2) + bit
            counts[place] = counts.get(place, 0) + 1


@dataclass(frozen=True)
class Finding:
    """What errors say. ``causes``: the likeliest first; ``nothing_works``: no lane does."""

    what: str
    causes: tuple[str, ...] = ()
    nothing_works: bool = False
    lines: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Line:
    lost: tuple[int, int]
    """Zeros and ones that came wrong."""
    kept: tuple[int, int]

    @property
    def wrong(self) -> bool:
        return sum(self.lost) > 0

    @property
    def stuck(self) -> int | None:
        """The value that it always has, where that is so."""
        for value in (0, 1):
            if self.lost[1 - value] and not self.lost[value] and not self.kept[1 - value]:
                return value
        return None


def _fold(counts: Mapping[int, int], line: int, data_bits: int) -> int:
    return sum(count for place, count in counts.items() if place % data_bits == line)


def diagnose(observed: Observation, data_bits: int) -> Finding:
    """What is wrong with data lines, from words that were written and read at one address."""
    lines = [
        _Line(
            (
                _fold(observed.zeros_lost, line, data_bits),
                _fold(observed.ones_lost, line, data_bits),
            ),
            (
                _fold(observed.zeros_kept, line, data_bits),
                _fold(observed.ones_kept, line, data_bits),
            ),
        )
        for line in range(data_bits)
    ]
    wrong = tuple(index for index, line in enumerate(lines) if line.wrong)
    lanes = sorted({index // LANE for index in wrong})
    if not wrong:
        return Finding(f"all {data_bits} data lines follow")
    stuck = [index for index in wrong if lines[index].stuck is not None]
    if len(stuck) == len(wrong) and len(wrong) < LANE:
        shown = ", ".join(f"D{index} reads {lines[index].stuck} always" for index in wrong)
        return Finding(f"data line {shown}", _STUCK, lines=wrong)
    if len(lanes) * LANE == data_bits and len(wrong) > 3 * data_bits // 4:
        return Finding("no byte lane reads back what was written", _NOTHING, True, wrong)
    if len(lanes) == 1 and len(wrong) > LANE // 2:
        first = lanes[0] * LANE
        return Finding(
            f"byte lane {lanes[0]} (D{first} to D{first + LANE - 1}) does not read back what was "
            "written, the others do",
            _LANE,
            lines=wrong,
        )
    shown = ", ".join(f"D{index}" for index in wrong)
    causes = _SHORTED if len(wrong) == 2 else _WEAK
    return Finding(f"data lines {shown} read wrong now and then", causes, lines=wrong)


_STUCK = (
    "the line is shorted to ground or supply, or open: look at its ball and its resistor",
    "the constraint puts it on another pin",
)
_LANE = (
    "the strobe (DQS) or mask (DM) of this lane is broken, or its calibration failed",
    "the lane's chip has no power, or is soldered badly",
)
_NOTHING = (
    "DRAM is not calibrated, or not initialised",
    "its clock, command or address lines do not reach it",
)
_SHORTED = ("the two lines are shorted to each other, or swapped",)
_WEAK = (
    "the lines are at the edge of their eye: calibration, termination, reference voltage",
    "the supply is noisy",
)


def address_line(bit: int, geometry: Geometry | None) -> str:
    """What a bit of byte addresses is at the DRAM (addresses are row, bank, column)."""
    if geometry is None:
        return ""
    columns = (geometry.row_bytes - 1).bit_length()
    banks = (geometry.banks - 1).bit_length()
    bytes_ = (geometry.data_bits // 8 - 1).bit_length()
    if bit < columns:
        return f"column line A{bit - bytes_}"
    if bit < columns + banks:
        return f"bank line BA{bit - columns}"
    return f"row line A{bit - columns - banks}"


def aliases(found: Mapping[int, int | None]) -> list[tuple[int, int]]:
    """Pairs of addresses that are one place: (address, another one that was written later).

    ``found``: by address, the address whose content was there in the end; None: of none of them.
    """
    return [(place, other) for place, other in found.items() if other not in (None, place)]

"""Stage ``levelling``: LiteDRAM's calibration, decoded into an eye for each byte lane.

What the firmware keeps of it are lines of LiteDRAM's ``sdram.c``:

- ``  best: m0, b02 delays: 05+-03``: module (byte lane) 0 reads best with bitslip 2, at delay 5; 3
  taps to either side work, too. ``delays: -``: none works. PHYs with a delay for each data line add
  ``dq_line1`` behind the bitslip.
- ``  m0: |000111000| delay: 03``: write levelling of module 0; ``delay: -``: it found no edge.
"""

import re
from dataclasses import asdict, dataclass

from jalgateware.contract.mailbox import LEVELLING_BYTES, Field, Result
from jalhost.bringup.bench import Bench
from jalhost.bringup.lines import diagnose
from jalhost.bringup.probe import data_bits, probe_data
from jalhost.bringup.stages import Evidence, Stage, StageFailure, StageSkip

_READ = re.compile(
    r"best: m(?P<lane>\d+), b(?P<bitslip>\d+),? ?(?:dq_line(?P<line>\d+))? *"
    r"delays: (?:(?P<centre>\d+)\+-(?P<range>\d+)|-)"
)
_WRITE = re.compile(r"m(?P<lane>\d+)(?: dq\d+)?: \|[01]*\| delay: (?:(?P<delay>\d+)|-)")

PIECE_WORDS = 128


@dataclass(frozen=True)
class Eye:
    """A byte lane's eye, in taps of the PHY's delay.

    ``line``: the data line, where each has a delay of its own. ``centre``: the delay in use, and
    ``margin``: taps to either side that work as well; None where no delay works.
    ``write_delay``: of write levelling, where the PHY does that.
    """

    lane: int
    bitslip: int
    centre: int | None
    margin: int | None
    line: int | None = None
    write_delay: int | None = None

    @property
    def width(self) -> int:
        """Taps that work."""
        return 0 if self.margin is None else 2 * self.margin + 1


def decode(text: str) -> list[Eye]:
    """Eyes in the order of their lanes; the last line that tells of a lane counts."""
    writes = {int(item["lane"]): item["delay"] for item in _WRITE.finditer(text)}
    eyes: dict[tuple[int, int], Eye] = {}
    for item in _READ.finditer(text):
        lane, line = int(item["lane"]), item["line"]
        centre, margin, write = item["centre"], item["range"], writes.get(lane)
        eyes[lane, int(line or 0)] = Eye(
            lane=lane,
            bitslip=int(item["bitslip"]),
            centre=None if centre is None else int(centre),
            margin=None if margin is None else int(margin),
            line=None if line is None else int(line),
            write_delay=None if write is None else int(write),
        )
    return [eyes[key] for key in sorted(eyes)]


def lost_writes(text: str) -> list[int]:
    """Byte lanes whose write levelling found nothing, at its last try."""
    found = {int(item["lane"]): item["delay"] for item in _WRITE.finditer(text)}
    return sorted(lane for lane, delay in found.items() if delay is None)


def read_text(bench: Bench) -> str:
    """What the firmware kept."""
    words: list[int] = []
    for place in range(0, LEVELLING_BYTES, 4 * PIECE_WORDS):
        words += bench.mailbox.read_steady(Field.LEVELLING, PIECE_WORDS, place)
        if words[-1] == 0:
            break
    data = b"".join(word.to_bytes(4, "little") for word in words)
    return data.partition(b"\0")[0].decode("ascii", "replace")


def levelling(bench: Bench, evidence: Evidence) -> str:
    """Decodes the calibration; without one, looks whether DRAM gives anything back at all."""
    text = read_text(bench)
    eyes, lost = decode(text), lost_writes(text)
    failed = bench.mailbox.read_steady(Field.FAULT)[0] == Result.DRAM_FAILED
    if eyes:
        evidence["eyes"] = [asdict(eye) | {"width": eye.width} for eye in eyes]
        return _judge(bench, eyes, lost)
    if failed:
        return _look(bench, evidence)
    if bench.simulated:
        raise StageSkip("the simulator's DRAM has no delays to calibrate")
    raise StageSkip("this DRAM's PHY has nothing to calibrate")


def _judge(bench: Bench, eyes: list[Eye], lost: list[int]) -> str:
    closed = sorted({eye.lane for eye in eyes if eye.centre is None} | set(lost))
    if closed:
        raise StageFailure(
            f"byte lane{'s' * (len(closed) > 1)} {', '.join(map(str, closed))} of "
            f"{len({eye.lane for eye in eyes})} found no delay that works",
            (
                "a data line or strobe of that lane is open, shorted or swapped (all lanes: clock, "
                "command or address lines, or the DRAM has no power)",
                "the DRAM's clock is too fast or too slow for its PHY: see the stage clocks",
            ),
            bench.command(Stage.DRAM_DATA),
        )
    narrow = [eye for eye in eyes if not eye.margin]
    if narrow:
        names = ", ".join(str(eye.lane) for eye in narrow)
        raise StageFailure(
            f"byte lane {names} works at a single delay: there is no margin",
            (
                "termination or drive strength do not fit the board, or its reference voltage",
                "the strobe of that lane is noisy; temperature will close the eye",
            ),
            bench.command(Stage.LEVELLING, "--repeat", "10"),
        )
    worst = min(eyes, key=lambda eye: eye.width)
    lanes = ", ".join(f"{eye.lane}: {eye.centre}+-{eye.margin}" for eye in eyes)
    return f"eyes of lanes {lanes} taps; narrowest {worst.width} taps (lane {worst.lane})"


def _look(bench: Bench, evidence: Evidence) -> str:
    """DRAM came up without calibration, and failed: which of it works?"""
    observed = probe_data(bench.link)
    finding = diagnose(observed, data_bits(bench))
    evidence["dram_fault"] = finding.what
    if finding.nothing_works:
        raise StageFailure(
            "DRAM is not calibrated: all byte lanes read noise",
            (
                "the DRAM's clock, command or address lines do not reach it, or it has no power",
                "the PHY's delays were never set: calibration was skipped or failed",
                "the DRAM on the board is another one than the build's",
            ),
            bench.command(Stage.LEVELLING, "--repeat", "3"),
        )
    if bench.simulated:
        raise StageSkip(f"nothing to calibrate; the firmware says DRAM_FAILED, and {finding.what}")
    raise StageSkip(f"no calibration kept; the firmware says DRAM_FAILED, and {finding.what}")

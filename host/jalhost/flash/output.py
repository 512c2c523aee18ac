"""What openFPGALoader prints, as values. Formats as in versions 0.10 to 1.1.1 (its src/*.cpp)."""

import re
from dataclasses import dataclass

XILINX, GOWIN = 0x093, 0x81B
"""Manufacturers in the low 12 bits of an IDCODE, with the constant 1."""

_PROGRESS = re.compile(r"(?P<what>[^:\[\]]+?) ?: \[=* *\] (?P<percent>\d+\.\d+)%")
_PROBE = re.compile(
    r"(?P<bus>-?\d{3})\s+(?P<device>-?\d{2,3})\s+0x(?P<usb>[\da-f]{4}:0x[\da-f]{4})"
)
_REFUSED = re.compile(
    r"can't open device with vid:vid = 0x(?P<usb>[\da-f]{4}:0x[\da-f]{4})\. "
    r"Error code (?P<code>-?\d+) ?(?P<reason>.*)"
)
_UNKNOWN = re.compile(r"Unknown device with IDCODE: 0x(?P<idcode>[\da-f]{8})")
_IDCODE = re.compile(r"idcode\s+0x(?P<idcode>[\da-f]+)$")
_REGISTER = re.compile(r"^Register raw value: 0x(?P<value>[\da-f]+)$")
_NAME = re.compile(r"(?:model|type)\s+(?P<name>\S.*)$")

# A status of the FPGA that is printed while flash memory is prepared holds "CRC Error" and the like
# as a matter of course, so only these count. Not all of them lead to an exit code.
_FAILURE = re.compile(
    r"^[Ee]rror\b|\bFAIL\b|\bFail$|failed\b|\bfails? to\b|mismatch between|wait: Error"
    r"|problem -?\d+ |write error: |\bdone 0$|libusb error"
)


@dataclass(frozen=True)
class Probe:
    """A cable that was found; ``usb``: vendor and product, ``vvvv:pppp``."""

    usb: str
    kind: str
    serial: str
    product: str


@dataclass(frozen=True)
class Refusal:
    """A cable that cannot be opened; ``code``: of libusb."""

    usb: str
    code: int
    reason: str

    ACCESS = -3

    @property
    def no_permission(self) -> bool:
        """Whether the user lacks the right to open it."""
        return self.code == self.ACCESS


@dataclass(frozen=True)
class ChainDevice:
    """A device that answers on JTAG."""

    idcode: int
    name: str

    def __str__(self) -> str:
        """Name and IDCODE."""
        return f"{self.name} (IDCODE {self.idcode:#010x})"


def parse_scan(lines: list[str]) -> tuple[list[Probe], list[Refusal]]:
    """Probes of ``--scan-usb``, and those that it could not open."""
    probes, refusals = [], []
    header = next((line for line in lines if line.startswith("Bus")), "")
    columns = [header.find(name) for name in ("manufacturer", "serial", "product")]
    for line in lines:
        if match := _REFUSED.search(line):
            usb = match["usb"].replace(":0x", ":")
            refusals.append(Refusal(usb, int(match["code"]), match["reason"].strip()))
        elif match := _PROBE.match(line):
            manufacturer, serial, product = columns
            probes.append(
                Probe(
                    usb=match["usb"].replace(":0x", ":"),
                    kind=line[match.end() : manufacturer].strip(),
                    serial=line[serial:product].strip(),
                    product=line[product:].strip(),
                )
            )
    return probes, refusals


def parse_cables(lines: list[str]) -> dict[str, str]:
    """Cables of ``--list-cables``: vendor and product by name; ``0000:0000``: not on USB."""
    found = (re.match(r"(\S+)\s+0x([\da-f]{4}):(?:0x)?([\da-f]{4})$", line) for line in lines)
    return {match[1]: f"{match[2]}:{match[3]}" for match in found if match}


def parse_boards(lines: list[str]) -> dict[str, str | None]:
    """Boards of ``--list-boards``: the cable of each, None where it has none of its own."""
    boards: dict[str, str | None] = {}
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] != "board":
            boards[words[0]] = None if words[1] == "Undefined" else words[1]
    return boards


def parse_chain(lines: list[str]) -> list[ChainDevice]:
    """Devices of ``--detect`` by their index in the chain, the one it does not know included."""
    devices: list[ChainDevice] = []
    for line in lines:
        if match := _IDCODE.search(line):
            devices.append(ChainDevice(int(match["idcode"], 16), "device"))
        elif devices and (match := _NAME.match(line)):
            devices[-1] = ChainDevice(devices[-1].idcode, match["name"])
        elif match := _UNKNOWN.search(line):
            devices.append(ChainDevice(int(match["idcode"], 16), "unknown device"))
    return devices


def parse_register(lines: list[str]) -> int | None:
    """The value that ``--read-register`` prints; None where it prints none."""
    found = next((match for match in map(_REGISTER.match, lines) if match), None)
    return int(found["value"], 16) if found else None


def same_part(found: int, expected: int) -> bool:
    """Whether IDCODEs are of one part.

    The highest digit is the silicon's version with Xilinx, and openFPGALoader prints these without
    it; with Lattice it tells an LFE5U from an LFE5UM5G.
    """
    mask = 0x0FFFFFFF if expected & 0xFFF == XILINX else 0xFFFFFFFF
    return found & mask == expected & mask


def split_progress(line: str) -> tuple[str, float, str] | None:
    """(what, percent, what was printed behind it) of a progress bar."""
    match = _PROGRESS.match(line)
    return match and (match["what"].strip(), float(match["percent"]), line[match.end() :].strip())


def failures(lines: list[str]) -> list[str]:
    """Lines that say that something went wrong."""
    return [line for line in lines if _FAILURE.search(line)]


def is_done(lines: list[str]) -> bool:
    """Whether something says that it was done."""
    return any(line.upper().endswith("DONE") for line in lines)

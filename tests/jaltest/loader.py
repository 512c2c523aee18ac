"""A stand-in for openFPGALoader that replays what the real one prints.

The texts follow the formats in openFPGALoader's sources (src/main.cpp, libusb_ll.cpp, display.cpp,
progressBar.cpp, lattice.cpp, xilinx.cpp, gowin.cpp, spiFlash.cpp, ftdipp_mpsse.cpp, jtag.cpp) and
what its issues show of real boards (#64, #154, #325, #340, #393, #668); the status is what its
users quote of an Artix 7 that is configured. What needs no cable was compared with version 1.1.1.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = """#!{python} -IS
import json, os, pathlib, signal, sys, time
folder = pathlib.Path({folder!r})
arguments = sys.argv[1:]
calls = folder / "calls"
before = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
with calls.open("a") as file:
    print(json.dumps(arguments), file=file)
key = next(key for key in {keys!r} if key in arguments)
if key.startswith("--write"):
    (folder / "written").write_bytes(pathlib.Path(arguments[-1]).read_bytes())
answers = json.loads((folder / "answers").read_text())[key]
answer = answers[min(sum(key in call for call in before), len(answers) - 1)]
sys.stdout.write(answer["out"])
sys.stdout.flush()
sys.stderr.write(answer["err"])
sys.stderr.flush()
if answer["hang"]:
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(600)
if answer["signal"]:
    os.kill(os.getpid(), answer["signal"])
sys.exit(answer["code"])
"""

KEYS = (
    "--Version",
    "--list-boards",
    "--list-cables",
    "--scan-usb",
    "--detect",
    "--read-register",
    "--write-sram",
    "--write-flash",
)


@dataclass(frozen=True)
class Answer:
    """What a call prints, and how it ends. ``hang``: not at all, until it is told to."""

    out: str = ""
    err: str = ""
    code: int = 0
    signal: int = 0
    hang: bool = False


def bar(what: str, *percents: float) -> str:
    """A progress bar at several times."""
    steps = (f"\r{what}: [{'=' * int(value / 2):<50}] {value:3.2f}%" for value in percents)
    return "".join(steps)


def scan(*probes: tuple[str, str, str, str, str]) -> str:
    """``--scan-usb`` with probes (usb, kind, manufacturer, serial, product)."""
    widths = [
        1 + max([least, *(len(probe[i]) for probe in probes)])
        for i, least in ((1, 10), (2, 12), (3, 6))
    ]

    def row(bus: str, device: str, usb: str, *cells: str) -> str:
        padded = "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False))
        return f"{bus:<4}{device:<7}{usb:<14}{padded}{cells[3]}"

    lines = [
        "empty",
        row("Bus", "device", "vid:pid", "probe_type", "manufacturer", "serial", "product"),
    ]
    for i, (usb, *cells) in enumerate(probes):
        lines.append(row("003", f"{7 + i:03}", f"0x{usb.replace(':', ':0x')}", *cells))
    return "\n".join(lines) + "\n"


def detected(*devices: tuple[int, str, str, str]) -> str:
    """``--detect`` with FPGAs (IDCODE, manufacturer, family, model)."""
    text = "empty\nJtag frequency : requested 6.00MHz   -> real 6.00MHz  \n"
    for i, (idcode, manufacturer, family, model) in enumerate(devices):
        text += f"index {i}:\n\tidcode {idcode:#x}\n\tmanufacturer {manufacturer}\n"
        text += f"\tfamily {family}\n\tmodel  {model}\n\tirlength 8\n"
    return text


ULX3S = ("0403:6015", "ft231X", "FER-RADIONA-EMARD", "D00123", "ULX3S FPGA 85K v3.0.8")
ANOTHER = ("0403:6015", "ft231X", "FER-RADIONA-EMARD", "D00456", "ULX3S FPGA 85K v3.0.8")
ARTY = ("0403:6010", "FTDI2232", "Digilent", "210319B0C238", "Digilent USB Device")

LFE5U_85 = (0x41113043, "lattice", "ECP5", "LFE5U-85")
LFE5U_45 = (0x41112043, "lattice", "ECP5", "LFE5U-45")
LFE5UM_85 = (0x01113043, "lattice", "ECP5", "LFE5UM-85")
XC7A35 = (0x0362D093, "xilinx", "artix a7 35t", "xc7a35")


def status(value: int) -> str:
    """``--read-register STAT`` of a Xilinx FPGA."""
    crc, idcode = ("CRC error" if value & 1 else "No CRC error"), value >> 15 & 1
    text = "empty\nJtag frequency : requested 6.00MHz   -> real 6.00MHz  \n"
    text += f"Register raw value: {value:#x}\n{'CRC Error':<16}{crc}\n"
    text += f"{'EOS':<16}{value >> 4 & 1:#x}\n{'Done':<16}{value >> 14 & 1:#x}\n"
    return text + f"{'ID Error':<16}{'ID error' if idcode else 'No ID error'}\n"


CONFIGURED = 0x401079FC
"""STAT of an FPGA that runs."""

NO_SUCH_OPTION = Answer("", "Error parsing options: Option 'read-register' does not exist\n", 1)
"""An openFPGALoader that cannot read registers."""

BOARDS = """empty
board name                 cable_name         fpga_part
acornCle215                Undefined          xc7a200tsbg484
arty                       digilent           xc7a35tcsg324
tangnano20k                ft2232             Undefined
ulx3s                      ft231X             Undefined
"""

CABLES = """empty
cable name               vid:pid
cmsisdap                 0x0d28:0204
digilent                 0x0403:6010
ft2232                   0x0403:6010
ft231X                   0x0403:6015
ft232                    0x0403:6014
xvc-client               0x0000:0000
"""

JTAG = "Jtag frequency : requested 6000000Hz -> real 3000000Hz\nret 0\n"

SRAM_START = (
    f"empty\nwrite to ram\nJtag probe limited to 3MHz\n{JTAG}Open file: DONE\nParse file: DONE\n"
    "Enable configuration: DONE\nSRAM erase: DONE\n"
)

SRAM = (
    SRAM_START
    + bar("Loading", 0, 10.52, 31.4, 52.26, 73.13, 93.99, 100)
    + "\nDone\nDisable configuration: DONE\n"
)

FLASH_START = (
    f"empty\nwrite to flash\n{JTAG}Open file DONE\nParse file DONE\nEnable configuration: DONE\n"
    "SRAM erase: DONE\nDetected: ISSI IS25LP128F 256 sectors size: 128Mb\n"
)

FLASH_WRITTEN = (
    FLASH_START
    + "00000000 00000000 00000000 00\n"
    + bar("Erasing", 3.7, 51.9, 100)
    + "\nDone"
    + bar("Writing", 20, 60, 100)
    + "\nDone\nVerifying write (May take time)\n"
)

FLASH = FLASH_WRITTEN + bar("Read flash ", 40, 80, 100) + "\nDone\nRefresh: DONE\n"

NOT_FOUND = Answer(
    "empty\n",
    "unable to open ftdi device: -3 (device not found)\n"
    "JTAG init failed with: unable to open ftdi device\n",
    code=1,
)

DEFAULTS = {
    "--Version": Answer("openFPGALoader v1.1.1\n"),
    "--list-boards": Answer(BOARDS),
    "--list-cables": Answer(CABLES),
    "--scan-usb": Answer(scan(ULX3S, ARTY)),
    "--detect": Answer(detected(LFE5U_85)),
    "--read-register": Answer(status(CONFIGURED)),
    "--write-sram": Answer(SRAM),
    "--write-flash": Answer(FLASH),
}


@dataclass
class StandIn:
    """A folder with a program openFPGALoader. ``answers``: one for each call, the last stays."""

    folder: Path
    answers: dict[str, list[Answer]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        program = self.folder / "openFPGALoader"
        text = PROGRAM.format(python=sys.executable, folder=str(self.folder), keys=KEYS)
        program.write_text(text)
        program.chmod(0o755)
        self.set({})

    def set(self, answers: Mapping[str, Answer | list[Answer]]) -> None:
        """Changes what some calls answer."""
        every: dict[str, Any] = {**DEFAULTS, **answers}
        lists = {key: item if isinstance(item, list) else [item] for key, item in every.items()}
        data = {key: [asdict(answer) for answer in item] for key, item in lists.items()}
        (self.folder / "answers").write_text(json.dumps(data))

    @property
    def path(self) -> str:
        """The variable PATH that finds it first."""
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    @property
    def calls(self) -> list[list[str]]:
        """Arguments of each call so far."""
        calls = self.folder / "calls"
        return [json.loads(line) for line in calls.read_text().splitlines()]

    @property
    def written(self) -> bytes | None:
        """What was given to write, if anything."""
        path = self.folder / "written"
        return path.read_bytes() if path.exists() else None

    @property
    def pid(self) -> int | None:
        """Of the process that hangs, when it does."""
        path = self.folder / "pid"
        text = path.read_text() if path.exists() else ""
        return int(text) if text else None

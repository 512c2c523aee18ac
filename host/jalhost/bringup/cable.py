"""Stages ``cable``, ``idcode`` and ``configuration``: what JTAG tells of a board."""

import shlex
from collections.abc import Sequence

from jalhost.bringup.bench import Bench
from jalhost.bringup.stages import Evidence, StageFailure, StageSkip
from jalhost.bundle import Bundle
from jalhost.errors import EnvironmentProblem, JalError
from jalhost.flash.cable import Cable, choose_cable, explain_detect, find_probe
from jalhost.flash.loader import NAME, Loader, find_loader
from jalhost.flash.output import XILINX, ChainDevice, parse_chain, parse_register, same_part

CRC_ERROR, END_OF_STARTUP, DONE, ID_ERROR = (1 << bit for bit in (0, 4, 14, 15))
"""Bits of the register STAT of Xilinx FPGAs (AMD UG470, table 5-28; UltraScale's are the same)."""


def cable(bench: Bench, evidence: Evidence) -> str:
    """Looks for the programming cable, and whether this user may open it."""
    bundle = _bundle(bench)
    try:
        loader = find_loader()
    except EnvironmentProblem as error:
        raise StageSkip(f"{error.what}: install it by {error.hint}") from error
    try:
        found = choose_cable(loader, bundle.manifest.flash, bench.cable, bench.cable_serial)
        probe = find_probe(loader, found)
    except JalError as error:
        command = "lsusb"
        if "permission" in error.what:
            command = "sudo udevadm control --reload && sudo udevadm trigger"
        raise StageFailure(error.what, (error.hint,), command) from error
    evidence |= {"loader": loader.version(), "cable": found.name, "usb": found.usb}
    if probe:
        evidence["serial"] = probe.serial
    bench.loader = loader
    return f"{found.name} ({probe.usb} {probe.serial})" if probe else f"{found.name} (not on USB)"


def idcode(bench: Bench, evidence: Evidence) -> str:
    """Compares the FPGA's IDCODE with the bundle's."""
    bundle, loader = _bundle(bench), _loader(bench)
    _, chain = _detect(bench, bundle, loader)
    expected = int(bundle.manifest.idcode, 16)
    evidence["chain"] = [str(device) for device in chain]
    evidence["expected"] = f"{expected:#010x} {bundle.manifest.part}"
    if not any(same_part(device.idcode, expected) for device in chain):
        raise StageFailure(
            f"the board has {', '.join(map(str, chain))}, the bundle is for "
            f"{bundle.manifest.part} ({expected:#010x})",
            (
                "the bundle is another board's, or another variant's of this board",
                "JTAG reads wrong bits: a long cable, a bad contact",
            ),
            "jalhost boards",
        )
    return f"{expected:#010x}, {bundle.manifest.part}"


def configuration(bench: Bench, evidence: Evidence) -> str:
    """Reads the FPGA's own status, where openFPGALoader can."""
    bundle, loader = _bundle(bench), _loader(bench)
    expected = int(bundle.manifest.idcode, 16)
    if expected & 0xFFF != XILINX:
        raise StageSkip(
            f"{NAME} reads the status of Xilinx FPGAs alone, and writes to see that of an "
            f"{bundle.manifest.part}: whether it is configured, link and identity show"
        )
    found, chain = _detect(bench, bundle, loader)
    places = [i for i, device in enumerate(chain) if same_part(device.idcode, expected)]
    index = ["--index-chain", str(places[0])] if places and len(chain) > 1 else []
    call = [*found.arguments, *index, "--read-register", "STAT"]
    output = loader.run(call)
    status = parse_register(output.lines)
    if status is None and output.says("Error parsing options"):
        raise StageSkip(f"{loader.version()} cannot read the status: versions above 0.12.2 can")
    if status is None:
        error = explain_detect(output, found)
        raise StageFailure(error.what, (error.hint,), _shell(call))
    evidence["status"] = f"{status:#010x}"
    if status & (CRC_ERROR | ID_ERROR):
        what = "for another FPGA" if status & ID_ERROR else "damaged"
        raise StageFailure(
            f"the FPGA has refused a bitstream: what it was sent was {what} (STAT {status:#010x})",
            (
                "flash memory holds another board's bitstream, or half of one",
                "the wires of flash memory or JTAG are too long for its clock",
            ),
            bench.flash_command(),
        )
    if not status & DONE or not status & END_OF_STARTUP:
        what = "DONE is low" if not status & DONE else "DONE is high, but its start has not ended"
        raise StageFailure(
            f"the FPGA is not configured: {what} (STAT {status:#010x})",
            (
                "nothing was loaded since power came on, and flash memory is empty or not selected",
                "the supply dips while it loads",
            ),
            bench.flash_command(),
        )
    return f"DONE is high (STAT {status:#010x})"


def _detect(bench: Bench, bundle: Bundle, loader: Loader) -> tuple[Cable, list[ChainDevice]]:
    """The cable, and what answers on JTAG behind it.

    Raises:
        StageFailure: nothing does.
    """
    found = choose_cable(loader, bundle.manifest.flash, bench.cable, bench.cable_serial)
    call = [*found.arguments, "--detect"]
    output = loader.run(call)
    chain = parse_chain(output.lines)
    if not chain:
        error = explain_detect(output, found)
        raise StageFailure(error.what, (error.hint,), _shell(call))
    return found, chain


def _shell(call: Sequence[str]) -> str:
    """A call of openFPGALoader, as a shell takes it."""
    return shlex.join([NAME, *call])


def _bundle(bench: Bench) -> Bundle:
    if bench.access.simulated:
        raise StageSkip("a simulated board has no cable and no JTAG")
    if bench.bundle is None:
        raise StageSkip("nobody knows the board's cable and FPGA: name its bundle by --bundle")
    return bench.bundle


def _loader(bench: Bench) -> Loader:
    if bench.loader is None:
        try:
            bench.loader = find_loader()
        except EnvironmentProblem as error:
            raise StageSkip(error.what) from error
    return bench.loader

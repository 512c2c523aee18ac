"""Stages ``cable``, ``idcode`` and ``configuration``: what JTAG tells of a board."""

import shlex

from jalhost.bringup.bench import Bench
from jalhost.bringup.stages import Evidence, StageFailure, StageSkip
from jalhost.bundle import Bundle
from jalhost.errors import EnvironmentProblem, JalError
from jalhost.flash.cable import choose_cable, explain_detect, find_probe
from jalhost.flash.loader import Loader, find_loader
from jalhost.flash.output import parse_chain, same_part


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
    found = choose_cable(loader, bundle.manifest.flash, bench.cable, bench.cable_serial)
    output = loader.run([*found.arguments, "--detect"])
    chain = parse_chain(output.lines)
    if not chain:
        error = explain_detect(output, found)
        call = shlex.join(["openFPGALoader", *found.arguments, "--detect"])
        raise StageFailure(error.what, (error.hint,), call)
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
    """Tells whether the FPGA says that it is configured, where a cable can ask it."""
    _bundle(bench)
    _loader(bench)
    raise StageSkip(
        "JTAG tells this only while a bitstream is written (`jalhost flash`); link and identity "
        "show it"
    )


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

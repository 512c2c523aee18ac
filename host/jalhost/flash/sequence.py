"""From a bundle to a running board, stage by stage."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jalhost.bundle import Bundle
from jalhost.errors import DeviceError, JalError, LinkError, UsageError
from jalhost.flash.cable import (
    Cable,
    cable_arguments,
    choose_cable,
    explain_detect,
    find_probe,
)
from jalhost.flash.loader import NAME, Loader, Output
from jalhost.flash.output import GOWIN, ChainDevice, failures, is_done, parse_chain, same_part

if TYPE_CHECKING:  # it would load numpy, which nothing here needs
    from jalhost.identity import Identity


class Stage(StrEnum):
    """What is done, in this order; each ends with a verdict."""

    TOOL = "TOOL"
    CABLE = "CABLE"
    DETECT = "DETECT"
    PART = "PART"
    WRITE = "WRITE"
    VERIFY = "VERIFY"
    READY = "READY"


class Reporter(Protocol):
    """Hears how it goes. A stage that started and did not pass has failed."""

    def started(self, stage: Stage) -> None:
        """A stage begins."""

    def passed(self, stage: Stage, verdict: str) -> None:
        """A stage ended well."""

    def progress(self, what: str, percent: float) -> None:
        """How much of something is done."""


@dataclass(frozen=True)
class Request:
    """What to do. ``permanent``: into flash memory, else until power goes."""

    permanent: bool = False
    cable: str | None = None
    serial: str | None = None


def file_name(bundle: Bundle) -> str:
    """How the bitstream's file is called; openFPGALoader goes by what the name ends with.

    Raises:
        BundleError: there is no bitstream.
    """
    path = Path(bundle.bitstream_name)
    gowin = int(bundle.manifest.idcode, 16) & 0xFFF == GOWIN
    return path.with_suffix(".fs").name if gowin else path.name


def command_lines(bundle: Bundle, request: Request, loader: Loader) -> list[str]:
    """The calls that find out about the board and that write, as a shell takes them.

    Raises:
        BundleError: there is no bitstream.
        UsageError: board and cable are unknown.
    """
    name = file_name(bundle)
    arguments = cable_arguments(bundle.manifest.flash, request.cable, request.serial)
    calls = ([*arguments, "--detect"], [*arguments, *_write_arguments(request, name)])
    return [loader.command_line(call) for call in calls]


def flash(
    bundle: Bundle,
    request: Request,
    find_loader: Callable[[], Loader],
    wait_until_ready: "Callable[[], Identity] | None",
    reporter: Reporter,
) -> None:
    """Writes a bundle's bitstream and waits for the board to be that build.

    Args:
        find_loader: returns openFPGALoader.
        wait_until_ready: returns the board's identity; None: not wanted.

    Raises:
        BundleError: there is no bitstream.
        JalError: a stage failed; until WRITE nothing was written.
    """
    name = bundle.bitstream_name
    reporter.started(Stage.TOOL)
    loader = find_loader()
    reporter.passed(Stage.TOOL, f"{loader.version()} ({loader.program})")

    reporter.started(Stage.CABLE)
    cable = choose_cable(loader, bundle.manifest.flash, request.cable, request.serial)
    probe = find_probe(loader, cable)
    place = f"{probe.usb} {probe.serial} {probe.product}".rstrip() if probe else "not on USB"
    reporter.passed(Stage.CABLE, f"{cable.name} ({place})")

    reporter.started(Stage.DETECT)
    chain = _detect(loader, cable)
    reporter.passed(Stage.DETECT, ", ".join(map(str, chain)))

    reporter.started(Stage.PART)
    index = _check_part(bundle, chain)
    reporter.passed(
        Stage.PART, f"{chain[index].idcode:#010x} is the bundle's {bundle.manifest.part}"
    )

    reporter.started(Stage.WRITE)
    arguments = [*cable.arguments, *(["--index-chain", str(index)] if len(chain) > 1 else [])]
    output = _write(bundle, request, loader, cable, arguments, reporter)
    where = "flash memory" if request.permanent else "SRAM"
    reporter.passed(Stage.WRITE, f"{len(bundle.member(name)):,} bytes into {where}")

    reporter.started(Stage.VERIFY)
    reporter.passed(Stage.VERIFY, _verdict(output, request))

    if wait_until_ready:
        reporter.started(Stage.READY)
        identity = wait_until_ready()
        reporter.passed(
            Stage.READY,
            f"fingerprint {identity.fingerprint:016x}, firmware {identity.firmware}, "
            f"{identity.clock_hz / 1e6:g} MHz",
        )


def _detect(loader: Loader, cable: Cable) -> list[ChainDevice]:
    output = loader.run([*cable.arguments, "--detect"])
    chain = parse_chain(output.lines)
    if not chain:
        raise explain_detect(output, cable)
    return chain


def _check_part(bundle: Bundle, chain: list[ChainDevice]) -> int:
    """The index of the bundle's FPGA in the chain."""
    expected = int(bundle.manifest.idcode, 16)
    places = [i for i, device in enumerate(chain) if same_part(device.idcode, expected)]
    if len(places) == 1:
        return places[0]
    wanted = f"{bundle.manifest.part} (IDCODE {expected:#010x})"
    if places:
        raise UsageError(
            f"there are {len(places)} FPGAs {wanted} on this cable", f"call {NAME} by hand"
        )
    raise DeviceError(
        f"the board has {', '.join(map(str, chain))}, the bundle is for {wanted}",
        "nothing was written; take the bundle of this board",
    )


def _write_arguments(request: Request, path: str) -> list[str]:
    # Reading back exists for flash memory only.
    return ["--write-flash", "--verify", path] if request.permanent else ["--write-sram", path]


def _write(
    bundle: Bundle,
    request: Request,
    loader: Loader,
    cable: Cable,
    arguments: list[str],
    reporter: Reporter,
) -> Output:
    with tempfile.TemporaryDirectory(prefix="jalhost-") as folder:
        path = Path(folder) / file_name(bundle)
        path.write_bytes(bundle.member(bundle.bitstream_name))
        call = [*arguments, *_write_arguments(request, str(path))]
        output = loader.run(call, reporter.progress)
    bad = failures(output.lines)
    if output.code or bad or not is_done(output.lines):
        raise _explain_write(output, bad, loader, cable, request)
    return output


def _explain_write(
    output: Output, bad: list[str], loader: Loader, cable: Cable, request: Request
) -> JalError:
    """Why writing failed. Whether the cable is still there says more than any message."""
    if output.says("mismatch between"):
        return DeviceError(
            "the bitstream is for another FPGA than the bundle says", "build the bundle again"
        )
    if output.says("block protection is set"):
        return DeviceError(
            "the board's flash memory is write-protected",
            f"{NAME} {' '.join(cable.arguments)} --unprotect-flash lifts that",
        )
    last = (bad or output.lines or [f"exit code {output.code}"])[0]
    if place := next((line for line in bad if line.startswith("Verification failed")), None):
        return DeviceError(
            f"the flash memory does not hold what was written: {place}", "flash again"
        )
    try:
        find_probe(loader, cable)
    except LinkError:
        return LinkError(
            f"the cable {cable.name} was lost while it wrote: {last}",
            "plug it in again, and flash again: "
            + ("the flash memory holds half a bitstream" if request.permanent else "nothing runs"),
        )
    return DeviceError(f"writing failed: {last}", "try again; a shorter cable or no hub may help")


def _verdict(output: Output, request: Request) -> str:
    if not request.permanent:
        return "the FPGA says that it is configured; SRAM cannot be read back"
    if output.says("Verifying write"):
        return "read back, and the same"
    return f"{NAME} cannot read this board's flash memory back"

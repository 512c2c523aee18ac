"""Which cable, and why it cannot be used."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from jalhost.bundle_manifest import FlashSettings
from jalhost.errors import EnvironmentProblem, JalError, LinkError, UsageError
from jalhost.flash.loader import NAME, Loader, Output
from jalhost.flash.output import Probe, Refusal

NOT_USB = "0000:0000"
"""What openFPGALoader lists for cables that are elsewhere: on the network, for example."""

RULES = "/etc/udev/rules.d/60-jalhost.rules"
"""Before 73-seat-late.rules, which gives those who sit at the computer what is tagged uaccess."""


@dataclass(frozen=True)
class Cable:
    """A cable to use. ``arguments``: for openFPGALoader; ``usb``: the id that it looks for.

    ``alike``: other cables' names by the ids that the board's own may have.
    """

    name: str
    arguments: tuple[str, ...]
    usb: str
    serial: str | None
    alike: Mapping[str, tuple[str, ...]]


def cable_arguments(settings: FlashSettings, cable: str | None, serial: str | None) -> list[str]:
    """Arguments that choose board and cable.

    Raises:
        UsageError: neither is known.
    """
    board, name = settings.openfpgaloader_board, cable or settings.cable
    if not board and not name:
        raise UsageError(
            f"{NAME} does not know this board", f"name a cable of `{NAME} --list-cables` by --cable"
        )
    arguments = ["--board", board] if board else []
    arguments += ["--cable", name] if name else []
    return arguments + (["--ftdi-serial", serial] if serial else [])


def choose_cable(
    loader: Loader, settings: FlashSettings, cable: str | None, serial: str | None
) -> Cable:
    """The cable by its name, checked against what openFPGALoader knows.

    Raises:
        UsageError: the board has no cable of its own and none is named, or there is no such cable.
        EnvironmentProblem: this openFPGALoader does not know the board.
    """
    arguments = cable_arguments(settings, cable, serial)
    board, name = settings.openfpgaloader_board, cable or settings.cable
    boards, cables = loader.boards(), loader.cables()
    if board and board not in boards:
        raise EnvironmentProblem(
            f"{loader.version()} does not know the board {board}", "install a newer one"
        )
    name = name or boards[board or ""]
    if name is None:
        raise UsageError(
            f"the board {board} has no cable of its own",
            f"name yours of `{NAME} --list-cables` by --cable",
        )
    if name not in cables:
        close = ", ".join(difflib.get_close_matches(name, cables))
        raise UsageError(
            f"{NAME} knows no cable {name!r}",
            f"did you mean {close}?" if close else f"`{NAME} --list-cables` lists them",
        )
    alike = {
        usb: tuple(other for other, its in cables.items() if its == usb)
        for usb in settings.usb
        if usb != cables[name]
    }
    return Cable(name, tuple(arguments), cables[name], serial, alike)


def find_probe(loader: Loader, cable: Cable) -> Probe | None:
    """The one probe on USB that is this cable; None where the cable is not on USB.

    Raises:
        UsageError: there are several.
        LinkError: there is none, or it cannot be opened.
    """
    if cable.usb == NOT_USB:
        return None
    probes, refusals = loader.scan()
    ours = [probe for probe in probes if probe.usb == cable.usb]
    mine = [probe for probe in ours if cable.serial in (None, probe.serial)]
    if len(mine) == 1:
        return mine[0]
    if len(mine) > 1:
        serials = ", ".join(probe.serial or "without a number" for probe in mine)
        raise UsageError(
            f"there are {len(mine)} cables for this board", f"choose by --serial: {serials}"
        )
    if refused := [item for item in refusals if item.usb == cable.usb]:
        raise _refused(refused[0])
    raise missing(cable, probes)


def missing(cable: Cable, probes: Collection[Probe] = ()) -> LinkError:
    """No such cable; ``probes``: those that are there."""
    wanted = f"serial number {cable.serial}" if cable.serial else cable.usb
    for probe in probes:
        if names := cable.alike.get(probe.usb):
            return LinkError(
                f"no cable found: {cable.name} ({wanted})",
                f"there is {probe.usb}, which the board may have: --cable {' or '.join(names)}",
            )
    others = ", ".join(f"{item.kind} {item.usb} {item.serial}".strip() for item in probes)
    there = f"there is {others}" if others else "there is no cable at all"
    return LinkError(
        f"no cable found: {cable.name} ({wanted})",
        f"plug the board in and switch it on; {there}",
    )


def _refused(refusal: Refusal) -> LinkError:
    if refusal.no_permission:
        return no_permission(refusal.usb)
    return LinkError(
        f"the cable {refusal.usb} cannot be opened: {refusal.reason} ({refusal.code})",
        "plug it in again",
    )


def no_permission(usb: str) -> LinkError:
    """The user may not open the cable; the hint has the rule that changes this."""
    return LinkError(
        f"no permission to use the cable {usb}",
        f"put this line into {RULES}: {udev_rule(usb)} - then run: sudo udevadm control --reload "
        "&& sudo udevadm trigger, and plug the cable in again",
    )


def udev_rule(usb: str) -> str:
    """The rule that gives users a cable; hidraw is how CMSIS-DAP probes are opened."""
    vendor, product = usb.split(":")
    return (
        f'SUBSYSTEM=="usb|hidraw", ATTRS{{idVendor}}=="{vendor}", ATTRS{{idProduct}}=="{product}", '
        'MODE="0660", GROUP="plugdev", TAG+="uaccess"'
    )


def explain_detect(output: Output, cable: Cable) -> JalError:
    """Why nothing was detected, from what openFPGALoader said."""
    if output.says("device not found"):
        return missing(cable)
    if output.says("unable to claim"):
        return LinkError(
            f"another program uses the cable {cable.name}",
            "end it: OpenOCD, another openFPGALoader, a virtual machine",
        )
    if output.says("usb_open() failed") or output.says("Access denied"):
        return no_permission(cable.usb)
    if output.says("was not enabled at compile time"):
        return EnvironmentProblem(
            f"this {NAME} was built without support for the cable {cable.name}",
            "use your distribution's: sudo apt-get install -y openfpgaloader",
        )
    if output.says("FTDI serial param"):
        return UsageError(f"--serial is for FTDI cables, which {cable.name} is not")
    last = f": {output.lines[-1]}" if output.code and output.lines else ""
    return LinkError(
        f"nothing answers on JTAG{last}", "is the board switched on, and JTAG connected?"
    )

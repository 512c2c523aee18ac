"""BAR 0 of a real PCIe device, through Linux's sysfs: no driver of ours in the kernel.

The files are documented in the kernel's ``Documentation/PCI/sysfs-pci.rst``.
"""

import errno
import mmap
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jalgateware.contract.memory_map import CSR_ORIGIN, FINGERPRINT_ADDRESS
from jalgateware.contract.pcie import BAR0_BYTES, CSR_WINDOW, DEVICE_IDS, VENDOR_ID
from jalhost.errors import LinkError
from jalhost.links.bar0 import WORD_BYTES, Bar0Link
from jalhost.links.pcie_driver import DEV, CharacterDevice, DriverLink, driver_files
from jalhost.links.pcie_driver import NAME as DRIVER
from jalhost.progress import Report

SYSFS = Path("/sys/bus/pci")

ALL_ONES = 0xFFFF_FFFF
"""What a read returns that no device answers."""

COMMAND_OFFSET, MEMORY_SPACE = 4, 2
"""In configuration space: the command register, and its bit that lets BARs answer."""

_ADDRESS = re.compile(r"(?:([0-9a-f]{4,}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", re.IGNORECASE)

_RESCAN = "sudo jalhost pcie rescan looks for it again"


def _ignore(_: str) -> None:
    """Takes lines that nobody needs."""


@dataclass(frozen=True)
class PciDevice:
    """A device as sysfs shows it; ``address`` is domain:bus:device.function."""

    address: str
    vendor: int
    device: int
    folder: Path

    @property
    def ids(self) -> str:
        """As lspci prints them."""
        return f"{self.vendor:04x}:{self.device:04x}"

    @property
    def is_ours(self) -> bool:
        """Whether it says that it is LitePCIe on such an FPGA; other gateware may say so, too."""
        return self.vendor == VENDOR_ID and self.device in DEVICE_IDS

    @property
    def memory_enabled(self) -> bool:
        """Whether its BARs answer."""
        try:
            config = (self.folder / "config").read_bytes()
        except OSError:
            return False
        return len(config) > COMMAND_OFFSET and bool(config[COMMAND_OFFSET] & MEMORY_SPACE)

    @property
    def driver(self) -> str:
        """The kernel driver that has it, if one does."""
        link = self.folder / "driver"
        return link.resolve().name if link.is_symlink() else ""

    @property
    def link(self) -> str:
        """Speed and width of its link, as far as the kernel knows them."""
        names = ("current_link_speed", "current_link_width")
        speed, width = (_text(self.folder / name) for name in names)
        return f"{speed} x{width}" if speed and width else ""

    @property
    def bar0_bytes(self) -> int:
        """Size of BAR 0; 0 where it has no address."""
        first = _text(self.folder / "resource").split("\n", maxsplit=1)[0].split()
        start, end = (int(value, 16) for value in (first[:2] or ["0", "0"]))
        return end - start + 1 if end else 0


def find_devices(sysfs: Path = SYSFS) -> list[PciDevice]:
    """All devices on the bus, in order of their addresses."""
    return [
        PciDevice(
            folder.name,
            int(_text(folder / "vendor") or "0", 16),
            int(_text(folder / "device") or "0", 16),
            folder,
        )
        for folder in sorted((sysfs / "devices").glob("*"))
    ]


def our_devices(sysfs: Path = SYSFS) -> list[PciDevice]:
    """Those that say that they are ours."""
    return [device for device in find_devices(sysfs) if device.is_ours]


def choose_device(address: str = "", sysfs: Path = SYSFS) -> PciDevice:
    """The device at an address (the domain may be left out); without one, the only one of ours.

    Raises:
        LinkError: there is none, or more than one, or another.
    """
    devices = find_devices(sysfs)
    known = ", ".join(f"{VENDOR_ID:04x}:{device:04x}" for device in DEVICE_IDS)
    if not address:
        ours = our_devices(sysfs)
        if not ours:
            raise LinkError(
                f"there is no PCIe device {known}",
                f"the FPGA must be configured when the computer looks for it; {_RESCAN}",
            )
        if len(ours) > 1:
            names = ", ".join(device.address for device in ours)
            raise LinkError(
                f"there are {len(ours)} PCIe devices: {names}",
                f"name one, for example pcie:{ours[0].address}",
            )
        return ours[0]
    full = full_address(address)
    found = next((device for device in devices if device.address == full), None)
    if found is None:
        raise LinkError(f"there is no PCIe device at {full}", _RESCAN)
    if not found.is_ours:
        raise LinkError(f"the PCIe device at {full} is {found.ids}, none of {known}")
    return found


def full_address(address: str) -> str:
    """A device's address with its domain, which is 0 where none is named.

    Raises:
        LinkError: it is none.
    """
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise LinkError(f"{address!r} is no PCIe address", "for example 03:00.0 or 0000:03:00.0")
    return f"{match[1] or '0000'}:{match[2]}".lower()


class MappedBar:
    """BAR 0 of a device, mapped into this process.

    Raises:
        LinkError: it cannot be; the hint says what to do.
    """

    def __init__(self, device: PciDevice) -> None:
        self.description = device.address
        self._device = device
        _check(device)
        path = device.folder / "resource0"
        try:
            file = os.open(path, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
        except OSError as error:
            raise _explain(path, error) from error
        try:
            self._map = mmap.mmap(file, BAR0_BYTES)
        except (OSError, ValueError) as error:
            raise LinkError(
                f"cannot map {path}: {error}",
                "does the kernel forbid it? With Secure Boot it does (lockdown)",
            ) from error
        finally:
            os.close(file)
        self._bytes = memoryview(self._map)
        # Item by item, each is one access of 32 bits; a slice might be copied byte by byte.
        self._words = self._bytes.cast("I")

    def read(self, offset: int, words: int) -> list[int]:
        """Reads consecutive words.

        Raises:
            LinkError: the link is down.
        """
        first = offset // WORD_BYTES
        values = [self._words[first + i] for i in range(words)]
        if ALL_ONES in values:
            self._check_link()
        return values

    def write(self, offset: int, values: Sequence[int]) -> None:
        """Writes consecutive words; the processor sends them in order."""
        first = offset // WORD_BYTES
        for i, value in enumerate(values):
            self._words[first + i] = value

    def close(self) -> None:
        """Ends the mapping."""
        self._words.release()
        self._bytes.release()
        self._map.close()

    def _check_link(self) -> None:
        """Tells a register of all ones from a device that does not answer.

        Raises:
            LinkError: it is the latter.
        """
        place = (FINGERPRINT_ADDRESS - CSR_ORIGIN + CSR_WINDOW.origin) // WORD_BYTES
        if self._words[place] == ALL_ONES and self._words[place + 1] == ALL_ONES:
            raise LinkError(
                f"the PCIe link to {self.description} is down: all reads return ones",
                f"was the FPGA configured anew, or lost its power? {_RESCAN}",
            )


def open_pcie(
    address: str = "", sysfs: Path = SYSFS, dev: Path = DEV, report: Report = _ignore
) -> Bar0Link:
    """Opens the device at an address, or the only one, with DMA where LitePCIe's driver is loaded.

    ``report``: takes whether there is DMA.

    Raises:
        LinkError: it cannot be opened; the hint says what to do.
    """
    device = choose_device(address, sysfs)
    try:
        file = _driver_file(device, sysfs, dev)
        link = DriverLink(CharacterDevice(file))
    except LinkError as error:
        report(f"{device.address} without DMA, through BAR 0 alone: {error}")
        return Bar0Link(MappedBar(device))
    report(f"{device.address} with DMA, by {file}")
    return link


def _driver_file(device: PciDevice, sysfs: Path, dev: Path) -> Path:
    """What LitePCIe's driver made for a device.

    Raises:
        LinkError: the driver is not loaded; or it has several devices, which nothing tells apart.
    """
    if device.driver != DRIVER:
        raise LinkError(f"the driver {DRIVER} is not loaded", "docs/pcie.md has how to build it")
    files = driver_files(dev)
    if len(files) != 1 or sum(item.driver == DRIVER for item in our_devices(sysfs)) != 1:
        names = ", ".join(map(str, files)) or "none"
        raise LinkError(f"which of the driver's files is its own is unclear: {names}")
    return files[0]


def rescan(address: str = "", sysfs: Path = SYSFS) -> list[str]:
    """Has the kernel forget devices of ours (or the one at an address) and look for new ones.

    Their BARs answer then, which nobody else sees to where there is no driver.

    Returns the addresses of what there is of ours then.

    Raises:
        LinkError: only root may; or there is no device at the address.
    """
    gone = [choose_device(address, sysfs)] if address else our_devices(sysfs)
    for device in gone:
        _trigger(device.folder / "remove")
    _trigger(sysfs / "rescan")
    found = our_devices(sysfs)
    for device in found:
        if not device.memory_enabled:
            _trigger(device.folder / "enable")
    return [device.address for device in found]


def revive(address: str = "", sysfs: Path = SYSFS) -> None:
    """Has the kernel look for a device that was configured anew; other boards are left alone.

    Raises:
        LinkError: only root may; or there are several boards, and none is named.
    """
    ours = our_devices(sysfs)
    if not address and len(ours) > 1:
        choose_device(address, sysfs)
    if not address or full_address(address) in [device.address for device in ours]:
        rescan(address, sysfs)
    else:
        _trigger(sysfs / "rescan")


def _trigger(path: Path) -> None:
    try:
        path.write_text("1", encoding="ascii")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise LinkError(
                "only root may rescan the PCIe bus", "sudo jalhost pcie rescan"
            ) from error
        raise LinkError(f"cannot write to {path}: {error.strerror}") from error


def _check(device: PciDevice) -> None:
    """Refuses a device whose BAR 0 would not answer."""
    size = device.bar0_bytes
    if not size:
        raise LinkError(f"BAR 0 of {device.address} has no address", _RESCAN)
    if size != BAR0_BYTES:
        raise LinkError(
            f"BAR 0 of {device.address} has {size:,} bytes, jalhost's has {BAR0_BYTES:,}",
            "is this another gateware?",
        )
    if not device.memory_enabled:
        raise LinkError(
            f"memory space of {device.address} is disabled",
            f"echo 1 | sudo tee {device.folder}/enable, or"
            f" sudo setpci -s {device.address} COMMAND=2:2",
        )


def _explain(path: Path, error: OSError) -> LinkError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return LinkError(
            f"not allowed to open {path}", f"sudo chown $USER {path}, or a udev rule (docs/pcie.md)"
        )
    return LinkError(f"cannot open {path}: {error.strerror}")


def _text(path: Path) -> str:
    """A file's text without the line's end; empty where there is none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""

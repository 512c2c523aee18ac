"""When LitePCIe's driver is used, and what is said where it is not."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jalgateware.contract.mailbox import Field
from jalgateware.contract.memory_map import CSR_ORIGIN, MAILBOX, MAIN_RAM_ORIGIN
from jalgateware.contract.pcie import (
    DMA_TO_DEVICE,
    DMA_TO_HOST,
    DRAM_FROM_HOST,
    DRAM_TO_HOST,
    MAILBOX_WINDOW,
    Port,
    Table,
)
from jalhost.errors import LinkError
from jalhost.links import pcie_bar, pcie_dma
from jalhost.links.bar0 import Bar0Link
from jalhost.links.pcie_bar import open_pcie
from jalhost.links.pcie_driver import BUFFER_BYTES, CharacterDevice, DriverBar, DriverLink
from jalhost.links.root_complex import RootComplex
from jaltest.bridge import Bridge
from jaltest.pcie import FakeEndpoint, FakeSysfs
from jaltest.pcie_kernel import KernelStandIn

FIRST, SECOND = "0000:03:00.0", "0000:04:00.0"


class Computer:
    """One with boards in its slots; ``said`` is what opening them reports."""

    def __init__(self, folder: Path) -> None:
        self.tree = FakeSysfs(folder / "pci")
        self.dev = folder / "dev"
        self.dev.mkdir()
        self.said: list[str] = []

    def board(self, address: str, driver: str = "") -> None:
        folder = self.tree.add(address)
        if driver:
            place = self.tree.root / "drivers" / driver
            place.mkdir(parents=True, exist_ok=True)
            (folder / "driver").symlink_to(place)

    def file(self, name: str = "litepcie0") -> None:
        (self.dev / name).touch()

    def open(self, address: str = "") -> Bar0Link:
        return open_pcie(address, self.tree.root, self.dev, self.said.append)


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path)


@pytest.fixture
def device() -> Bridge:
    return Bridge({MAILBOX.origin + Field.PORT_BYTES: 16})


@pytest.fixture
def kernel(device: Bridge, monkeypatch: pytest.MonkeyPatch) -> KernelStandIn:
    """Stands in for whatever is opened as the driver's file."""
    stand_in = KernelStandIn(RootComplex(FakeEndpoint(device)))
    monkeypatch.setattr(pcie_bar, "CharacterDevice", lambda _path: stand_in)
    return stand_in


def test_the_driver_is_used_where_it_is(computer: Computer, kernel: KernelStandIn) -> None:
    computer.board(FIRST, "litepcie")
    computer.board(SECOND)
    computer.file()
    link = computer.open(FIRST)
    assert isinstance(link, DriverLink)
    assert computer.said == [f"{FIRST} with DMA, by {computer.dev}/litepcie0"]
    link.close()
    assert kernel.closed


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda computer: computer.board(FIRST), "the driver litepcie is not loaded"),
        (lambda computer: computer.board(FIRST, "vfio-pci"), "the driver litepcie is not loaded"),
        (lambda computer: computer.board(FIRST, "litepcie"), "is unclear: none"),
        (
            lambda computer: (
                computer.board(FIRST, "litepcie"),
                computer.board(SECOND, "litepcie"),
                computer.file(),
                computer.file("litepcie1"),
            ),
            "is unclear: .*litepcie0, .*litepcie1",
        ),
    ],
)
def test_without_the_driver_bar0_is_used_and_the_reason_said(
    computer: Computer, prepare: Callable[[Computer], None], reason: str
) -> None:
    prepare(computer)
    link = computer.open(FIRST)
    assert type(link) is Bar0Link
    link.close()
    (line,) = computer.said
    assert line.startswith(f"{FIRST} without DMA, through BAR 0 alone: ")
    with pytest.raises(LinkError, match=reason):
        raise LinkError(line)


def test_a_driver_that_another_program_uses_is_left_to_it(
    computer: Computer, device: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = KernelStandIn(RootComplex(FakeEndpoint(device)), locked=True)
    monkeypatch.setattr(pcie_bar, "CharacterDevice", lambda _path: stand_in)
    computer.board(FIRST, "litepcie")
    computer.file()
    link = computer.open()
    assert type(link) is Bar0Link
    link.close()
    assert "another program uses the DMA of litepcie0 (end that program)" in computer.said[0]
    assert stand_in.closed


def test_a_file_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(LinkError, match=r"cannot open .*litepcie0: Permission denied .sudo chown"):
        CharacterDevice(tmp_path / "litepcie0")


def test_a_file_that_is_no_driver(tmp_path: Path) -> None:
    path = tmp_path / "litepcie0"
    path.touch()
    file = CharacterDevice(path)
    with pytest.raises(LinkError, match="litepcie0 refuses a call: Inappropriate ioctl"):
        DriverBar(file).read(0, 1)
    with pytest.raises(LinkError, match=r"cannot map the buffers of .*litepcie0"):
        file.ring(True)
    file.close()


def test_registers_are_where_the_driver_looks_for_them(
    kernel: KernelStandIn, device: Bridge
) -> None:
    bar = DriverBar(kernel)
    bar.write(0x10, [7, 8])
    assert (device.memory[CSR_ORIGIN + 0x10], device.memory[CSR_ORIGIN + 0x14]) == (7, 8)
    assert bar.read(MAILBOX_WINDOW.origin + Field.PORT_BYTES, 1) == [16]


@pytest.mark.parametrize(("to_device", "port"), [(True, DRAM_FROM_HOST), (False, DRAM_TO_HOST)])
def test_a_dma_that_stands_still_is_ended(
    kernel: KernelStandIn,
    device: Bridge,
    monkeypatch: pytest.MonkeyPatch,
    to_device: bool,
    port: int,
) -> None:
    monkeypatch.setattr(pcie_dma, "PATIENCE_S", 0.0)
    link = DriverLink(kernel)
    words = 2 * BUFFER_BYTES // 4
    values = range(words)
    use = (lambda: link.write(MAIN_RAM_ORIGIN, values)) if to_device else (
        lambda: link.read(MAIN_RAM_ORIGIN, words)
    )  # fmt: skip
    with pytest.raises(LinkError, match="the DMA of litepcie0 stopped after 0 bytes"):
        use()
    # As it was before: nothing runs that could write into memory later.
    table = DMA_TO_DEVICE if to_device else DMA_TO_HOST
    assert device.memory[table + Table.ENABLE] == 0
    assert device.memory[port + Port.ENABLE] == 0
    assert device.memory[port + Port.LENGTH] == 4 * words


@pytest.mark.parametrize("buffers", [2, 4, 5, 6, 9, 13])
def test_no_piece_is_too_small(
    kernel: KernelStandIn, monkeypatch: pytest.MonkeyPatch, buffers: int
) -> None:
    monkeypatch.setattr(DriverLink, "MOST_BYTES", 4 * BUFFER_BYTES)
    pieces: list[tuple[int, int]] = []

    def transfer(_way: object, address: int, buffer: bytearray) -> bytearray:
        pieces.append((address, len(buffer)))
        return buffer

    link = DriverLink(kernel)
    monkeypatch.setattr(link, "_transfer", transfer)
    link.write(MAIN_RAM_ORIGIN, range(buffers * BUFFER_BYTES // 4))
    place = MAIN_RAM_ORIGIN
    for address, length in pieces:
        assert address == place
        assert length % BUFFER_BYTES == 0
        assert 2 * BUFFER_BYTES <= length <= 4 * BUFFER_BYTES
        place += length
    assert place == MAIN_RAM_ORIGIN + buffers * BUFFER_BYTES

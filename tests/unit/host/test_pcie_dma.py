"""When the device's DMA is used, and what becomes of one that does not work."""

import pytest

from jalgateware.contract.mailbox import Field
from jalgateware.contract.memory_map import MAILBOX, MAIN_RAM_ORIGIN
from jalgateware.contract.pcie import DMA_TO_DEVICE, DMA_TO_HOST, DRAM_FROM_HOST, Port, Table
from jalhost.errors import LinkError
from jalhost.links import pcie_dma
from jalhost.links.pcie_dma import MIN_DMA_BYTES, DmaLink
from jalhost.links.pcie_tlp import PacketBar
from jalhost.links.root_complex import RootComplex
from jaltest.bridge import Bridge
from jaltest.pcie import FakeEndpoint

ENOUGH = MIN_DMA_BYTES // 4


@pytest.fixture
def device() -> Bridge:
    return Bridge({MAILBOX.origin + Field.PORT_BYTES: 16})


@pytest.fixture
def link(device: Bridge, monkeypatch: pytest.MonkeyPatch) -> DmaLink:
    """A device with registers and nothing behind them."""
    monkeypatch.setattr(pcie_dma, "PATIENCE_S", 0.0)
    root = RootComplex(FakeEndpoint(device))
    return DmaLink(PacketBar(root), root)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (MAIN_RAM_ORIGIN, ENOUGH - 1),
        (MAIN_RAM_ORIGIN + 4, ENOUGH),  # less than enough between words of the port
        (MAILBOX.origin, ENOUGH),
    ],
)
def test_little_goes_through_bar0(link: DmaLink, device: Bridge, address: int, words: int) -> None:
    values = list(range(1, words + 1))
    if address == MAILBOX.origin:
        values[Field.PORT_BYTES // 4] = 16
    link.write(address, values)
    assert link.read(address, words) == values
    assert link.dma_bytes == 0
    assert DMA_TO_DEVICE + Table.ENABLE not in device.memory


def test_a_dma_that_stands_still_is_named(link: DmaLink, device: Bridge) -> None:
    with pytest.raises(LinkError, match="the DMA of endpoint stopped after 0 bytes"):
        link.write(MAIN_RAM_ORIGIN + 8, range(ENOUGH + 8))
    # What does not fill words of the port went through BAR 0, the rest was asked for.
    assert [device.memory[MAIN_RAM_ORIGIN + 8 + 4 * i] for i in range(2)] == [0, 1]
    assert device.memory[DRAM_FROM_HOST + Port.BASE] == 16
    assert device.memory[DRAM_FROM_HOST + Port.LENGTH] == MIN_DMA_BYTES + 16


def test_progress_is_counted_in_the_message(link: DmaLink, device: Bridge) -> None:
    device.memory[DRAM_FROM_HOST + Port.OFFSET] = 100
    with pytest.raises(LinkError, match="stopped after 1,600 bytes"):
        link.write(MAIN_RAM_ORIGIN, range(ENOUGH))


def test_reads_fail_as_writes_do(link: DmaLink, device: Bridge) -> None:
    with pytest.raises(LinkError, match="stopped after 0 bytes"):
        link.read(MAIN_RAM_ORIGIN, ENOUGH)
    assert device.memory[DMA_TO_HOST + Table.ENABLE] == 1


def test_the_buffer_is_taken_back_after_a_failure(link: DmaLink) -> None:
    for _ in range(2):
        with pytest.raises(LinkError, match="stopped"):
            link.write(MAIN_RAM_ORIGIN, range(ENOUGH))

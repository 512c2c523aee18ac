"""DMA as LitePCIe's driver does it, in the simulated system: rings that the device goes round."""

import random
import struct
from collections.abc import Iterator

import pytest

from jalgateware.contract.mailbox import Field
from jalgateware.contract.memory_map import IMAGE_OFFSET, MAIN_RAM_ORIGIN
from jalhost.links.pcie_driver import BUFFER_BYTES, DriverLink
from jalhost.links.pcie_tlp import FramedPackets
from jalhost.links.root_complex import RootComplex
from jalhost.links.tcp import TcpConnection
from jaltest.little import LITTLE
from jaltest.pcie_kernel import KernelStandIn
from jaltest.system import PATIENCE_S, System

pytestmark = [pytest.mark.sim, pytest.mark.slow]


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """The system of the tests for LiteX's tools, built once for both."""
    from jalsoc.sim.build import build
    from jalsoc.sim.config import SimulatorConfig

    one = System(build(SimulatorConfig(LITTLE, link="pcie", scope=True)))
    assert one.field(Field.BOOTS) == 1
    yield one
    one.close()


@pytest.fixture(scope="module")
def link(system: System) -> Iterator[DriverLink]:
    packets = FramedPackets(TcpConnection(*system.simulator.link_address("pcie")))
    one = DriverLink(KernelStandIn(RootComplex(packets, PATIENCE_S)))
    yield one
    one.close()


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        # The least, with ends that go through BAR 0, and more than is copied at once.
        (0, 2 * BUFFER_BYTES // 4),
        (4, 3 * BUFFER_BYTES // 4 + 101),
        (8, 5 * BUFFER_BYTES // 4 + 5),
    ],
)
def test_the_device_copies_both_ways(
    system: System, link: DriverLink, offset: int, words: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DriverLink, "MOST_BYTES", 4 * BUFFER_BYTES)
    pick = random.Random(words)
    values = [pick.getrandbits(32) for _ in range(words)]
    place, before = IMAGE_OFFSET + offset, link.dma_bytes
    guard = bytes(range(4))
    for edge in (place - 4, place + 4 * words):
        system.simulator.poke(edge, guard)
    link.write(MAIN_RAM_ORIGIN + place, values)
    assert link.read(MAIN_RAM_ORIGIN + place, words) == values
    assert system.simulator.peek(place, 4 * words) == struct.pack(f"<{words}I", *values)
    for edge in (place - 4, place + 4 * words):
        assert system.simulator.peek(edge, 4) == guard
    # All but less than a buffer, each way.
    assert 2 * 4 * words - 2 * BUFFER_BYTES < link.dma_bytes - before <= 2 * 4 * words


def test_little_goes_by_registers(link: DriverLink) -> None:
    before = link.dma_bytes
    values = list(range(300))
    link.write(MAIN_RAM_ORIGIN + IMAGE_OFFSET, values)
    assert link.read(MAIN_RAM_ORIGIN + IMAGE_OFFSET, len(values)) == values
    assert link.dma_bytes == before

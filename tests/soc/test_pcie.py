"""LitePCIe in the simulated system: BAR 0, refusals, DMA, and text from images sent this way."""

import json
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jalgateware.contract import pcie
from jalgateware.contract.memory_map import (
    CSR_ORIGIN,
    FINGERPRINT_ADDRESS,
    IMAGE_OFFSET,
    MAIN_RAM_ORIGIN,
)
from jalgateware.contract.pcie import Interrupt, Port, Table
from jalhost.device import Device
from jalhost.engine.targets import open_target
from jalhost.errors import LinkError
from jalhost.links.bar0 import Bar0Link
from jalhost.links.pcie_bar import open_pcie
from jalhost.links.pcie_dma import DmaLink
from jalhost.links.pcie_tlp import FramedPackets, PacketBar
from jalhost.links.root_complex import RootComplex
from jalhost.links.tcp import TcpConnection
from jalhost.models.image_file import load_image
from jaltest.litex_server import litex_server
from jaltest.pcie import FakeSysfs
from jaltest.system import PATIENCE_S, System
from jaltest.texts import PROMPTS, generate

pytestmark = [pytest.mark.sim, pytest.mark.slow]

BAR0 = pcie.SIMULATED.bar0


@pytest.fixture(scope="module")
def build() -> object:
    """The simulator that ``--target sim:pcie`` uses, too."""
    from jalsoc.sim.build import build as build_simulator
    from jalsoc.sim.config import SimulatorConfig

    return build_simulator(SimulatorConfig(link="pcie"))


@pytest.fixture(scope="module")
def system(build: object) -> Iterator[System]:
    """One system for all tests, which leave it as they found it."""
    one = System(build)
    assert one.mailbox  # the firmware is ready
    yield one
    one.close()


def plug(system: System) -> RootComplex:
    """The host's end of a system's link."""
    address = system.simulator.link_address("pcie")
    return RootComplex(FramedPackets(TcpConnection(*address)), PATIENCE_S)


@pytest.fixture
def root(system: System) -> Iterator[RootComplex]:
    """Connected for a test."""
    one = plug(system)
    yield one
    one.close()


@pytest.fixture
def link(root: RootComplex) -> Bar0Link:
    return Bar0Link(PacketBar(root))


@pytest.fixture
def dma(root: RootComplex) -> DmaLink:
    return DmaLink(PacketBar(root), root)


def test_the_device_says_who_it_is(system: System, link: Bar0Link) -> None:
    expected = json.loads(system.build.soc_json.read_text())["fingerprint"]
    assert f"{Device(link, int(expected, 16), PATIENCE_S).identity.fingerprint:016x}" == expected


def test_the_contract_knows_the_registers(system: System) -> None:
    tables = {"writer": pcie.DMA_TO_HOST, "reader": pcie.DMA_TO_DEVICE}
    tables_names = {
        Table.ENABLE: "enable",
        Table.DESCRIPTOR: "table_value",
        Table.APPEND: "table_we",
        Table.LOOP: "table_loop_prog_n",
        Table.STATUS: "table_loop_status",
        Table.LEVEL: "table_level",
        Table.FLUSH: "table_reset",
    }
    ports = {"writer": pcie.DRAM_FROM_HOST, "reader": pcie.DRAM_TO_HOST}
    msi = pcie.bank("pcie_msi")
    expected = {"pcie_window_base": pcie.WINDOW_BASE} | {
        f"pcie_dma0_{way}_{name}": base + place
        for way, base in tables.items()
        for place, name in tables_names.items()
    }
    expected |= {
        f"pcie_dram_{way}_{place.name.lower()}": base + place
        for way, base in ports.items()
        for place in Port
    }
    expected |= {f"pcie_msi_{place.name.lower()}": msi + place for place in Interrupt}
    expected |= {"pcie_dma0_loopback_enable": pcie.bank("pcie_dma0") + 0x40}
    found = {name: at for name, at in system.registers.items() if name.startswith("pcie_")}
    assert found == expected


@pytest.mark.parametrize("words", [1, 2, 3, 31, 33, 1000])
def test_the_window_shows_all_of_dram(system: System, link: Bar0Link, words: int) -> None:
    size = json.loads(system.build.soc_json.read_text())["dram"]["bytes"]
    pick = random.Random(words)
    window = pcie.DRAM_WINDOW.size
    for offset in (0x2000, 0x2FFC, window - 4, 3 * window - 4 * (words // 2), size - 4 * words):
        values = [pick.getrandbits(32) for _ in range(words)]
        link.write(MAIN_RAM_ORIGIN + offset, values)
        assert link.read(MAIN_RAM_ORIGIN + offset, words) == values
        assert system.simulator.peek(offset, 4 * words) == struct.pack(f"<{words}I", *values)


@pytest.mark.parametrize("words", [2, 4, 5, 32])
def test_one_request_may_ask_for_many_words_of_dram(
    system: System, root: RootComplex, link: Bar0Link, words: int
) -> None:
    data = random.Random(words).randbytes(4 * words)
    link.write(MAIN_RAM_ORIGIN, [0])  # moves the window
    place = BAR0 + pcie.DRAM_WINDOW.origin + 0x2000
    root.write([(place, data)])
    assert root.read([(place, words)]) == [data]
    assert system.simulator.peek(0x2000, 4 * words) == data


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (BAR0 + 0x2_0000, 1),  # between mailbox and window
        (BAR0, 2),  # registers are read one by one
        (BAR0 + pcie.MAILBOX_WINDOW.origin, 4),
        (BAR0 + pcie.DRAM_WINDOW.origin, pcie.MAX_READ_WORDS + 1),
        (BAR0 + pcie.BAR0_BYTES, 1),  # another device's
        (BAR0 - 4, 1),
        (1 << 32, 1),
    ],
)
def test_what_is_not_there_is_refused(root: RootComplex, address: int, words: int) -> None:
    with pytest.raises(LinkError, match=rf"0x{address:08x} failed: .*unsupported request"):
        root.read([(address, words)])
    root.write([(address, bytes(4 * words))])
    # All goes on.
    assert root.read([(BAR0 + FINGERPRINT_ADDRESS - CSR_ORIGIN, 1)]) != [bytes(4)]


def test_packets_that_are_damaged_are_dropped(root: RootComplex, link: Bar0Link) -> None:
    from jalhost.links.tlp import MemoryWrite, encode

    link.write(MAIN_RAM_ORIGIN + 0x2000, [1, 2, 3, 4])
    place = BAR0 + pcie.DRAM_WINDOW.origin + 0x2000
    stream = root._stream  # the way of packets that no root complex sends
    stream.send([encode(MemoryWrite(0, place, bytes(8), poisoned=True))])
    stream.send([encode(MemoryWrite(0, place, bytes(8)))[:-4]])
    assert link.read(MAIN_RAM_ORIGIN + 0x2000, 4) == [1, 2, 3, 4]


def test_a_slot_takes_one_host_at_a_time(system: System) -> None:
    word = (BAR0 + FINGERPRINT_ADDRESS - CSR_ORIGIN, 1)
    first = plug(system)
    (answer,) = first.read([word])
    second = plug(system)
    with pytest.raises(LinkError, match="lost the connection"):
        second.read([word])
    second.close()
    assert first.read([word]) == [answer]
    first.close()
    third = plug(system)
    assert third.read([word]) == [answer]
    third.close()


@pytest.mark.parametrize(("offset", "words"), [(0, 1024), (4, 30_001), (8, 80_000)])
def test_the_device_copies_both_ways(
    system: System, root: RootComplex, dma: DmaLink, offset: int, words: int
) -> None:
    pick = random.Random(words)
    values = [pick.getrandbits(32) for _ in range(words)]
    place = IMAGE_OFFSET + offset
    guard = bytes(range(4))
    for edge in (place - 4, place + 4 * words):
        system.simulator.poke(edge, guard)
    dma.write(MAIN_RAM_ORIGIN + place, values)
    # Reading is what makes sure that it is there.
    assert dma.read(MAIN_RAM_ORIGIN + place, words) == values
    assert system.simulator.peek(place, 4 * words) == struct.pack(f"<{words}I", *values)
    for edge in (place - 4, place + 4 * words):
        assert system.simulator.peek(edge, 4) == guard
    assert 2 * 4 * words - 64 <= dma.dma_bytes <= 2 * 4 * words
    assert len(root.interrupts) == 2


def test_a_device_that_asks_for_foreign_memory_is_caught(build: object) -> None:
    alone = System(build)  # LitePCIe's DMA does not recover from refusals
    root = plug(alone)
    link = Bar0Link(PacketBar(root))
    link.write(pcie.DMA_TO_DEVICE + Table.DESCRIPTOR, (4096 | pcie.LAST_DISABLE, 0x4000_0000))
    link.write(pcie.DMA_TO_DEVICE + Table.APPEND, [0])
    link.write(pcie.DMA_TO_DEVICE + Table.ENABLE, [1])
    with pytest.raises(LinkError, match="wants to read 512 bytes of the host's memory at 0x4000"):
        root.serve(PATIENCE_S)
    root.close()
    alone.close()


CLIENT = """
import sys, time
from litex.tools.litex_client import RemoteClient

client = RemoteClient(port=int(sys.argv[1]), csr_csv=sys.argv[2])
deadline = time.monotonic() + float(sys.argv[3])
while True:
    try:
        client.open()
        break
    except ConnectionRefusedError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.05)
print(client.regs.ctrl_scratch.read())
client.regs.ctrl_scratch.write(0x600D)
client.close()
"""


def test_litex_server_finds_the_registers_in_bar0(system: System, tmp_path: Path) -> None:
    tree = FakeSysfs(tmp_path / "sys" / "bus" / "pci")  # it looks for these names
    folder = tree.add("0000:03:00.0")
    link = open_pcie(sysfs=tree.root)
    link.write(system.registers["ctrl_scratch"], [0xCAFE])
    with litex_server("--pcie", "--pcie-bar", str(folder / "resource0")) as port:
        arguments = [str(port), str(system.build.csr_csv), str(PATIENCE_S)]
        client = subprocess.run(
            [sys.executable, "-c", CLIENT, *arguments], capture_output=True, text=True, check=True
        )
    assert int(client.stdout) == 0xCAFE
    assert link.read(system.registers["ctrl_scratch"]) == [0x600D]
    link.close()


@pytest.mark.parametrize("target", ["sim:pcie", "sim:pcie-dma"])
def test_text_is_the_emulators(stories: Path, target: str) -> None:
    image = load_image(stories)
    reports: list[str] = []
    with open_target("emu", print) as emulator:
        emulator.load(image)
        expected = [generate(emulator, image, prompt).token_ids for prompt in PROMPTS[:3]]
    with open_target(target, reports.append) as simulator:
        simulator.load(image)
        found = [generate(simulator, image, prompt).token_ids for prompt in PROMPTS[:3]]
        assert simulator.info.name == target
    assert found == expected
    assert any(line.startswith("sending ") for line in reports)
    assert not any("again" in line for line in reports)


def test_links_are_known_by_name() -> None:
    from jalhost.errors import UsageError
    from jalsoc.sim.config import SimulatorConfig

    with pytest.raises(UsageError, match=r"there is no link 'isa' .choose from .*pcie"):
        SimulatorConfig(link="isa")

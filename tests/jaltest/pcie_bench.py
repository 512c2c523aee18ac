"""cocotb's side of the independent check: the root complex of cocotbext-pcie, and a thin PHY."""

import random
from typing import Any

import cocotb
import pytest
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge
from cocotbext.pcie.core import Device, Endpoint, RootComplex
from cocotbext.pcie.core.tlp import Tlp, TlpType

TIMEOUT = {"timeout": 100_000, "timeout_unit": "ns"}


class LitePcieEndpoint(Endpoint):
    """Configuration space here, and requests for BAR 0 in the design."""

    def __init__(self, dut: Any) -> None:
        super().__init__()
        self.dut = dut
        self.requests: Any = Queue()
        self.vendor_id, self.device_id = 0x10EE, 0x7024
        self.configure_bar(0, 1 << 20)
        for kind in (TlpType.MEM_READ, TlpType.MEM_WRITE):
            self.register_rx_tlp_handler(kind, self.take)

    async def take(self, packet: Any) -> None:
        await self.requests.put(bytes(packet.pack()))

    async def drive(self) -> None:
        """Packets to the design; signals change where its clock falls."""
        dut, lanes = self.dut, len(self.dut.rx_dat) // 32
        dut.rx_valid.value = 0
        while True:
            packet = await self.requests.get()
            dut.id.value = int(self.pcie_id)
            words = [int.from_bytes(packet[i : i + 4], "big") for i in range(0, len(packet), 4)]
            for start in range(0, len(words), lanes):
                part = words[start : start + lanes]
                await FallingEdge(dut.clk)
                dut.rx_dat.value = sum(word << 32 * i for i, word in enumerate(part))
                dut.rx_be.value = (1 << 4 * len(part)) - 1
                dut.rx_last.value = int(start + lanes >= len(words))
                dut.rx_valid.value = 1
                await ReadOnly()
                while not int(dut.rx_ready.value):
                    await FallingEdge(dut.clk)
                    await ReadOnly()
                await RisingEdge(dut.clk)
            await FallingEdge(dut.clk)
            dut.rx_valid.value = 0

    async def monitor(self) -> None:
        """Packets from the design; sending them checks them."""
        dut, words = self.dut, []
        dut.tx_ready.value = 1
        while True:
            await FallingEdge(dut.clk)
            await ReadOnly()
            if not int(dut.tx_valid.value):
                continue
            data, enables = int(dut.tx_dat.value), int(dut.tx_be.value)
            for i in range(len(dut.tx_dat) // 32):
                if enables >> 4 * i & 15:
                    words.append(data >> 32 * i & 0xFFFFFFFF)
            if int(dut.tx_last.value):
                await self.send(Tlp.unpack(b"".join(word.to_bytes(4, "big") for word in words)))
                words = []


@cocotb.test()
async def bar0_reads_what_was_written(dut: Any) -> None:
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 1
    for _ in range(5):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    root, endpoint = RootComplex(), LitePcieEndpoint(dut)
    device = Device(endpoint)
    root.make_port().connect(device)
    cocotb.start_soon(endpoint.drive())
    cocotb.start_soon(endpoint.monitor())
    await root.enumerate()
    found = root.find_device(endpoint.pcie_id)
    await found.enable_device()
    bar = found.bar_window[0]
    await bar.write_dword(0x10, 0x12345678)
    assert await bar.read_dword(0x10) == 0x12345678
    pick = random.Random(1)
    for words in [*range(1, 33), 64, 100, 300]:
        place, data = 0x80000 + 4 * pick.randrange(2000), pick.randbytes(4 * words)
        await bar.write(place, data)
        answer = b""
        for start in range(0, words, 32):
            count = min(32, words - start)
            answer += bytes(await bar.read(place + 4 * start, 4 * count, **TIMEOUT))
        assert answer == data, words
    with pytest.raises(Exception, match="Unsuccessful completion"):
        await bar.read(0x30000, 4, **TIMEOUT)
    assert await bar.read_dword(0x10) == 0x12345678

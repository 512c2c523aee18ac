"""A stand-in for LitePCIe's Linux driver, with a simulated device behind it.

It does with registers what ``main.c`` of LitePCIe 2024.12 does, in that order; where that waits for
a millisecond, it serves the device until that asks for nothing more.
"""

from jalgateware.contract.memory_map import CSR_ORIGIN
from jalgateware.contract.pcie import (
    DMA_TO_DEVICE,
    DMA_TO_HOST,
    IRQ_DISABLE,
    LAST_DISABLE,
    MSI_FROM_DMA,
    Interrupt,
    Table,
    bank,
)
from jalhost.links import pcie_driver as driver
from jalhost.links.pcie_tlp import PacketBar
from jalhost.links.root_complex import RootComplex

RINGS = {True: 0x1000_0000, False: 0x1020_0000}
"""Where the device finds the buffers, by whether they go to it."""

BUFFERS_PER_INTERRUPT = 32

SILENCE_S = 0.05


class KernelStandIn:
    """What opens as ``/dev/litepcie0``; ``locked``: whether another program has its DMA."""

    description = "litepcie0"

    def __init__(self, root: RootComplex, locked: bool = False) -> None:
        self._root = root
        self._bar = PacketBar(root)
        self._locked = locked
        self._rings = {way: bytearray(driver.RING_BYTES) for way in RINGS}
        self._enabled = dict.fromkeys(RINGS, 0)
        self.closed = False
        for way, address in RINGS.items():
            root.lend(address, self._rings[way])

    def call(self, request: int, values: bytearray) -> None:
        if request == driver.IOCTL_REGISTER:
            address, value, write = driver.REGISTER.unpack(values)
            if write:
                self._put(address, value)
            else:
                (value,) = self._bar.read(address - CSR_ORIGIN, 1)
            values[:] = driver.REGISTER.pack(address, value, write)
        elif request == driver.IOCTL_LOCK:
            free = int(not self._locked)
            values[:] = driver.LOCK.pack(*values[:4], free, free)
        else:
            assert request in (driver.IOCTL_READER, driver.IOCTL_WRITER)
            enable, _, _ = driver.DIRECTION.unpack(values)
            self._switch(request == driver.IOCTL_READER, enable)

    def ring(self, to_device: bool) -> memoryview:
        return memoryview(self._rings[to_device])

    def close(self) -> None:
        self.closed = True
        self._bar.close()

    def _switch(self, to_device: bool, enable: int) -> None:
        table = DMA_TO_DEVICE if to_device else DMA_TO_HOST
        if enable != self._enabled[to_device]:
            (self._start if enable else self._stop)(table, RINGS[to_device])
            bit = 1 << MSI_FROM_DMA["reader" if to_device else "writer"]
            self._put(bank("pcie_msi") + Interrupt.ENABLE, bit if enable else 0)
        self._enabled[to_device] = enable

    def _start(self, table: int, ring: int) -> None:
        self._put(table + Table.ENABLE, 0)
        self._put(table + Table.FLUSH, 1)
        self._put(table + Table.LOOP, 0)
        for i in range(driver.BUFFERS):
            quiet = IRQ_DISABLE if i % BUFFERS_PER_INTERRUPT else 0
            self._put(table + Table.DESCRIPTOR, LAST_DISABLE | quiet | driver.BUFFER_BYTES)
            self._put(table + Table.DESCRIPTOR + 4, ring + i * driver.BUFFER_BYTES)
            self._put(table + Table.APPEND, 0)
        self._put(table + Table.LOOP, 1)
        self._put(table + Table.ENABLE, 1)

    def _stop(self, table: int, _ring: int) -> None:
        self._put(table + Table.LOOP, 0)
        self._put(table + Table.FLUSH, 1)
        while self._root.serve(SILENCE_S):
            pass
        self._put(table + Table.ENABLE, 0)
        self._put(table + Table.FLUSH, 1)

    def _put(self, address: int, value: int) -> None:
        self._bar.write(address - CSR_ORIGIN, [value])

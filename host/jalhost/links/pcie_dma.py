"""Large transfers by the device itself: LitePCIe's DMA between the host's memory and DRAM."""

import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from jalgateware.contract.mailbox import Field
from jalgateware.contract.memory_map import MAILBOX, MAIN_RAM_ORIGIN
from jalgateware.contract.pcie import (
    DMA_TO_DEVICE,
    DMA_TO_HOST,
    DRAM_FROM_HOST,
    DRAM_TO_HOST,
    IRQ_DISABLE,
    LAST_DISABLE,
    MSI_FROM_DMA,
    TABLE_LINES,
    Interrupt,
    Port,
    Table,
    bank,
)
from jalhost.errors import LinkError
from jalhost.links.bar0 import WORD_BYTES, Bar, Bar0Link

MIN_DMA_BYTES = 4096
"""Less is sooner done through BAR 0."""

LINE_BYTES = 1 << 16
"""What a line of a table stands for."""

BUFFER_ADDRESS = 0x1000_0000
"""Where the device finds the host's buffer."""

PATIENCE_S = 30.0
"""Longest time without progress."""


class Memory(Protocol):
    """Memory of the host that a device can reach."""

    def lend(self, address: int, buffer: bytearray) -> None:
        """Lets the device read and write a buffer, which it finds at an address."""

    def take_back(self, address: int) -> None:
        """Ends that."""


@dataclass(frozen=True)
class Way:
    """Registers of one direction, and the bit of its interrupt."""

    table: int
    port: int
    interrupt: int


TO_DEVICE = Way(DMA_TO_DEVICE, DRAM_FROM_HOST, 1 << MSI_FROM_DMA["reader"])
TO_HOST = Way(DMA_TO_HOST, DRAM_TO_HOST, 1 << MSI_FROM_DMA["writer"])


class BulkLink(Bar0Link, ABC):
    """A link that leaves large transfers to and from DRAM to the device.

    What does not fill words of the DRAM's port goes through BAR 0.

    Args:
        bar: closed together with the link.
    """

    MIN_BYTES = MIN_DMA_BYTES
    """Less goes through BAR 0."""
    UNIT_BYTES = 1
    """The device transfers multiples of this."""
    MOST_BYTES = TABLE_LINES // 2 * LINE_BYTES
    """What it transfers at once."""

    def __init__(self, bar: Bar) -> None:
        super().__init__(bar)
        self._port_bytes = 0
        self.dma_bytes = 0
        """What the device has transferred by itself."""

    def read(self, address: int, words: int = 1) -> list[int]:
        """Reads consecutive words.

        Raises:
            LinkError: as BAR 0 fails, or the device does not finish.
        """
        start, end = self._aligned(address, words)
        if end - start < self.MIN_BYTES:
            return super().read(address, words)
        buffer = bytearray(end - start)
        for place, size in self._batches(end - start):
            buffer[place : place + size] = self._copy(TO_HOST, start + place, bytearray(size))
        head = super().read(address, (start - address) // WORD_BYTES)
        tail = super().read(end, (address - end) // WORD_BYTES + words)
        return [*head, *struct.unpack(f"<{len(buffer) // WORD_BYTES}I", buffer), *tail]

    def write(self, address: int, values: Sequence[int]) -> None:
        """Writes consecutive words.

        Raises:
            LinkError: as BAR 0 fails, or the device does not finish.
        """
        start, end = self._aligned(address, len(values))
        if end - start < self.MIN_BYTES:
            super().write(address, values)
            return
        first, last = (start - address) // WORD_BYTES, (end - address) // WORD_BYTES
        data = struct.pack(f"<{last - first}I", *values[first:last])
        super().write(address, values[:first])
        for place, size in self._batches(len(data)):
            self._copy(TO_DEVICE, start + place, bytearray(data[place : place + size]))
        super().write(end, values[last:])

    def _aligned(self, address: int, words: int) -> tuple[int, int]:
        """What of a transfer the device can do: whole words of the DRAM's port, or nothing."""
        end = address + WORD_BYTES * words
        if not MAIN_RAM_ORIGIN <= address < end <= MAILBOX.origin:
            return address, address
        if end - address < self.MIN_BYTES:
            return address, address
        if not self._port_bytes:
            (self._port_bytes,) = super().read(MAILBOX.origin + Field.PORT_BYTES)
        unit = max(self._port_bytes, 1)
        start, end = address + -address % unit, end - end % unit
        return start, end - (end - start) % self.UNIT_BYTES

    def _batches(self, length: int) -> list[tuple[int, int]]:
        """Cuts a transfer into as much as is done at once, none of it less than the least."""
        batches, place = [], 0
        while place < length:
            size = min(self.MOST_BYTES, length - place)
            if 0 < length - place - size < self.MIN_BYTES:
                size -= self.MIN_BYTES
            batches.append((place, size))
            place += size
        return batches

    def _copy(self, way: Way, address: int, buffer: bytearray) -> bytearray:
        result = self._transfer(way, address, buffer)
        self.dma_bytes += len(buffer)
        return result

    @abstractmethod
    def _transfer(self, way: Way, address: int, buffer: bytearray) -> bytearray:
        """Has the device copy a buffer to DRAM, or DRAM to the buffer, which is returned."""

    def _wait_for(self, way: Way, is_done: Callable[[int], bool]) -> None:
        """Waits until a transfer is done; ``is_done`` takes whether DRAM's end says so.

        Raises:
            LinkError: there has been no progress for too long.
        """
        seen, since = -1, time.monotonic()
        while True:
            _, _, _, done, _, words = self._read(way.port, len(Port))
            if is_done(done):
                return
            now = time.monotonic()
            if words != seen:
                seen, since = words, now
            elif now - since > PATIENCE_S:
                done_bytes = words * self._port_bytes
                raise LinkError(
                    f"the DMA of {self.description} stopped after {done_bytes:,} bytes",
                    "reset the device",
                )

    def _read(self, address: int, words: int) -> list[int]:
        return super().read(address, words)

    def _put(self, address: int, *values: int) -> None:
        super().write(address, values)


class DmaLink(BulkLink):
    """Large transfers by tables that are written here, with memory that the host lends.

    Args:
        bar: closed together with the link.
        memory: lends the device a buffer.
    """

    def __init__(self, bar: Bar, memory: Memory) -> None:
        super().__init__(bar)
        self._memory = memory

    def _transfer(self, way: Way, address: int, buffer: bytearray) -> bytearray:
        """Has the device copy a buffer to DRAM, or DRAM to the buffer, which is returned."""
        self._memory.lend(BUFFER_ADDRESS, buffer)
        try:
            self._reset(way)
            self._put(bank("pcie_msi") + Interrupt.ENABLE, way.interrupt)
            self._put(bank("pcie_msi") + Interrupt.CLEAR, way.interrupt)
            self._put(way.port + Port.BASE, address - MAIN_RAM_ORIGIN)
            self._put(way.port + Port.LENGTH, len(buffer))
            self._fill(way, len(buffer))
            # The end that takes the data first: what comes before it is lost.
            enables = (way.port + Port.ENABLE, way.table + Table.ENABLE)
            for register in enables if way is TO_DEVICE else reversed(enables):
                self._put(register, 1)
            self._wait(way)
        finally:
            self._memory.take_back(BUFFER_ADDRESS)
        self._reset(way)
        return buffer

    def _reset(self, way: Way) -> None:
        self._put(way.table + Table.ENABLE, 0)
        self._put(way.table + Table.FLUSH, 1)
        self._put(way.table + Table.LOOP, 0)
        self._put(way.port + Port.ENABLE, 0)

    def _fill(self, way: Way, length: int) -> None:
        """Writes the table's lines; the last one interrupts."""
        for place in range(0, length, LINE_BYTES):
            size = min(LINE_BYTES, length - place)
            quiet = IRQ_DISABLE if place + size < length else 0
            line = (size | quiet | LAST_DISABLE, BUFFER_ADDRESS + place)
            self._put(way.table + Table.DESCRIPTOR, *line)
            self._put(way.table + Table.APPEND, 0)

    def _wait(self, way: Way) -> None:
        """Waits until both ends are done; the answer to each look comes behind the data.

        Raises:
            LinkError: there has been no progress for too long.
        """

        def is_done(done: int) -> bool:
            (vector,) = self._read(bank("pcie_msi") + Interrupt.VECTOR, 1)
            return bool(done and vector & way.interrupt)

        self._wait_for(way, is_done)

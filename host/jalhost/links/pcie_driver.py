"""LitePCIe's Linux driver, where it is loaded: registers by its calls, and DMA by its buffers.

The module's sources are in the bundles of boards with PCIe. It has rings of buffers for both
directions, which the device goes through without an end once a direction is enabled. So a transfer
takes as much as a ring holds, starts with its first buffer, and ends by disabling it.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from jalgateware.contract.memory_map import CSR_ORIGIN, MAIN_RAM_ORIGIN
from jalgateware.contract.pcie import CSR_WINDOW, DMA_TO_HOST, Port, Table
from jalhost.errors import LinkError
from jalhost.links.bar0 import WORD_BYTES
from jalhost.links.pcie_dma import TO_DEVICE, BulkLink, Way

NAME = "litepcie"
"""Of the driver, and of its device files, which a number follows."""

DEV = Path("/dev")

BUFFER_BYTES, BUFFERS = 8192, 256
"""``DMA_BUFFER_SIZE`` and ``DMA_BUFFER_COUNT`` of the driver's ``config.h``."""

RING_BYTES = BUFFER_BYTES * BUFFERS

REGISTER = struct.Struct("IIB3x")
"""``litepcie_ioctl_reg``: address, value, whether to write."""

DIRECTION = struct.Struct("B7xqq")
"""``litepcie_ioctl_dma_writer`` and ``..._reader``: whether enabled, and two counts."""

LOCK = struct.Struct("6B")
"""``litepcie_ioctl_lock``: requests of reader and writer, releases, and whether it worked."""


def _iowr(number: int, size: int) -> int:
    """As ``_IOWR`` of ``asm-generic/ioctl.h``; the driver's letter is S."""
    return 3 << 30 | size << 16 | ord("S") << 8 | number


IOCTL_REGISTER = _iowr(0, REGISTER.size)
IOCTL_WRITER = _iowr(21, DIRECTION.size)
IOCTL_READER = _iowr(22, DIRECTION.size)
IOCTL_LOCK = _iowr(25, LOCK.size)


class DriverFile(Protocol):
    """The driver's device file."""

    description: str

    def call(self, request: int, values: bytearray) -> None:
        """An ``ioctl``, which may change the values."""

    def ring(self, to_device: bool) -> memoryview:
        """The buffers of a direction, one behind the other."""

    def close(self) -> None:
        """Gives it back; what is enabled is stopped."""


class CharacterDevice:
    """The device file that the kernel has made.

    Raises:
        LinkError: it cannot be used; the hint says what to do.
    """

    def __init__(self, path: Path) -> None:
        self.description = str(path)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise LinkError(
                f"cannot open {path}: {error.strerror}", f"sudo chown $USER {path}"
            ) from error
        self._maps: list[mmap.mmap] = []

    def call(self, request: int, values: bytearray) -> None:
        """An ``ioctl``.

        Raises:
            LinkError: the driver refuses it.
        """
        try:
            fcntl.ioctl(self._file, request, values, True)
        except OSError as error:
            raise LinkError(
                f"{self.description} refuses a call: {error.strerror}",
                "is the driver of this build loaded?",
            ) from error

    def ring(self, to_device: bool) -> memoryview:
        """Maps the buffers of a direction.

        Raises:
            LinkError: they cannot be mapped.
        """
        try:
            found = mmap.mmap(self._file, RING_BYTES, offset=0 if to_device else RING_BYTES)
        except (OSError, ValueError) as error:
            raise LinkError(
                f"cannot map the buffers of {self.description}: {error}",
                "is the driver of this build loaded?",
            ) from error
        self._maps.append(found)
        return memoryview(found)

    def close(self) -> None:
        """Gives it back."""
        for item in self._maps:
            item.close()
        os.close(self._file)


class DriverBar:
    """BAR 0 by the driver's calls, a word each: the kernel may let nobody else map it."""

    def __init__(self, file: DriverFile) -> None:
        self._file = file
        self.description = file.description

    def read(self, offset: int, words: int) -> list[int]:
        """Reads consecutive words."""
        return [self._call(offset + WORD_BYTES * i, 0, False) for i in range(words)]

    def write(self, offset: int, values: Sequence[int]) -> None:
        """Writes consecutive words."""
        for i, value in enumerate(values):
            self._call(offset + WORD_BYTES * i, value, True)

    def close(self) -> None:
        """Gives the driver back."""
        self._file.close()

    def _call(self, offset: int, value: int, write: bool) -> int:
        # The driver subtracts where registers begin on the bus.
        address = CSR_ORIGIN - CSR_WINDOW.origin + offset
        values = bytearray(REGISTER.pack(address, value, write))
        self._file.call(IOCTL_REGISTER, values)
        answer: int = REGISTER.unpack(values)[1]
        return answer


class DriverLink(BulkLink):
    """A link that leaves large transfers to and from DRAM to the device and the driver's buffers.

    Args:
        file: closed together with the link.

    Raises:
        LinkError: another program has the driver's DMA.
    """

    # A direction that has filled one buffer says the same of itself as one that has filled none.
    MIN_BYTES = 2 * BUFFER_BYTES
    UNIT_BYTES = BUFFER_BYTES
    MOST_BYTES = RING_BYTES

    def __init__(self, file: DriverFile) -> None:
        super().__init__(DriverBar(file))
        self._file = file
        values = bytearray(LOCK.pack(1, 1, 0, 0, 0, 0))
        try:
            file.call(IOCTL_LOCK, values)
            if LOCK.unpack(values)[4:] != (1, 1):
                raise LinkError(
                    f"another program uses the DMA of {file.description}", "end that program"
                )
            self._to_device, self._to_host = file.ring(True), file.ring(False)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Gives the buffers and the driver back."""
        self._to_device.release()
        self._to_host.release()
        super().close()

    def _transfer(self, way: Way, address: int, buffer: bytearray) -> bytearray:
        """Has the device copy a buffer to DRAM, or DRAM to the buffer, which is returned."""
        to_device = way is TO_DEVICE
        request = IOCTL_READER if to_device else IOCTL_WRITER
        self._put(way.port + Port.ENABLE, 0)
        self._put(way.port + Port.BASE, address - MAIN_RAM_ORIGIN)
        self._put(way.port + Port.LENGTH, len(buffer))
        if to_device:
            self._to_device[: len(buffer)] = buffer
        try:
            # The end that takes the data first: what comes before it is lost.
            if not to_device:
                self._enable(request, 1)
            self._put(way.port + Port.ENABLE, 1)
            if to_device:
                self._enable(request, 1)
            self._wait_for(way, lambda words: self._is_done(way, len(buffer), words))
        finally:
            self._enable(request, 0)
            self._put(way.port + Port.ENABLE, 0)
        if not to_device:
            buffer[:] = self._to_host[: len(buffer)]
        return buffer

    def _enable(self, request: int, value: int) -> None:
        self._file.call(request, bytearray(DIRECTION.pack(value, 0, 0)))

    def _is_done(self, way: Way, length: int, done: int) -> bool:
        """Whether all data are where they belong."""
        if way is TO_DEVICE or not done:
            return bool(done)
        (status,) = self._read(DMA_TO_HOST + Table.STATUS, 1)
        if (status & 0xFFFF) + 1 < length // BUFFER_BYTES:
            return False
        # The answer to a read comes behind all data that the device sent before.
        self._read(DMA_TO_HOST + Table.STATUS, 1)
        return True


def driver_files(dev: Path = DEV) -> list[Path]:
    """The driver's device files."""
    return sorted(dev.glob(f"{NAME}[0-9]*"))

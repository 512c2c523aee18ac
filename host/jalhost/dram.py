"""A device's DRAM as a host sees it: nothing counts as read before its CRC fits."""

import zlib

import numpy as np

from jalgateware.contract.image_header import ALIGNMENT
from jalgateware.contract.mailbox import BLOCK_BYTES, CHECKED_BLOCKS, Command, Field
from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN
from jalgateware.golden.rounding import Integers
from jalhost.device import Device
from jalhost.errors import NO_LOGITS, LinkError, UsageError

READINGS = 8
"""How often a piece is read until it fits its CRC."""

MOST = BLOCK_BYTES * CHECKED_BLOCKS
"""Bytes that one command checks."""


class DeviceDram:
    """Reads, writes and checks DRAM. Offsets count bytes from the start of the image.

    The device computes the CRC of what its DRAM holds. So what a link damages is told from what
    DRAM has wrong. ``readings`` counts pieces that were read, ``damaged`` those of them that the
    link damaged.
    """

    def __init__(self, device: Device) -> None:
        self._mailbox = device.mailbox
        self.origin = device.identity.image_offset
        self.size = device.identity.dram_bytes - self.origin
        self.readings = 0
        self.damaged = 0

    def crcs(self, offset: int, length: int) -> list[int]:
        """CRC-32 of each block of BLOCK_BYTES, the last one as long as the rest.

        Offset and length are multiples of ALIGNMENT.

        Raises:
            DeviceError: beyond the end of DRAM.
        """
        found: list[int] = []
        for start in range(0, length, MOST):
            part = min(MOST, length - start)
            self._mailbox.command(Command.CHECK_BLOCKS, offset + start, part)
            found += self._mailbox.read_steady(Field.BLOCK_CHECKS, -(-part // BLOCK_BYTES))
        return found

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of DRAM, as the device's own CRC says that they are.

        Raises:
            LinkError: the link damages them each time.
        """
        start = offset - offset % ALIGNMENT
        end = -(-(offset + length) // ALIGNMENT) * ALIGNMENT
        data = b""
        for place, crc in zip(
            range(start, end, BLOCK_BYTES), self.crcs(start, end - start), strict=True
        ):
            data += self._read_block(place, min(BLOCK_BYTES, end - place), crc)
        return data[offset - start : offset - start + length]

    def _read_block(self, offset: int, length: int, crc: int) -> bytes:
        address = MAIN_RAM_ORIGIN + self.origin + offset
        for _ in range(READINGS):
            words = self._mailbox.link.read(address, length // 4)
            data = b"".join(word.to_bytes(4, "little") for word in words)
            self.readings += 1
            if zlib.crc32(data) == crc:
                return data
            self.damaged += 1
        raise LinkError(
            f"what {self._mailbox.link.description} reads of DRAM never fits the device's own CRC",
            "the link damages what it carries: check the cable, or lower the baud rate",
        )

    def content(self, offset: int, expected: bytes) -> bytes:
        """What DRAM has where ``expected`` should be; blocks whose CRC fits are not read."""
        start = -(-offset // ALIGNMENT) * ALIGNMENT
        end = (offset + len(expected)) // ALIGNMENT * ALIGNMENT
        if end <= start:
            return self.read(offset, len(expected))
        found = self.read(offset, start - offset) if start > offset else b""
        for place, crc in zip(
            range(start, end, BLOCK_BYTES), self.crcs(start, end - start), strict=True
        ):
            stop = min(place + BLOCK_BYTES, end)
            wanted = expected[place - offset : stop - offset]
            fits = zlib.crc32(wanted) == crc
            found += wanted if fits else self._read_block(place, stop - place, crc)
        rest = offset + len(expected) - end
        return found + (self.read(end, rest) if rest else b"")

    def write(self, offset: int, data: bytes) -> None:
        """Writes, and has the device check what arrived; multiples of ALIGNMENT.

        Raises:
            LinkError: it never arrives.
        """
        address = MAIN_RAM_ORIGIN + self.origin + offset
        words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        blocks = range(0, len(data), BLOCK_BYTES)
        wanted = [zlib.crc32(data[start : start + BLOCK_BYTES]) for start in blocks]
        missing = list(blocks)
        for _ in range(READINGS):
            for start in missing:
                part = words[start // 4 : (start + BLOCK_BYTES) // 4]
                self._mailbox.link.write(address + start, part)
            has = zip(blocks, wanted, self.crcs(offset, len(data)), strict=True)
            missing = [start for start, crc, found in has if crc != found]
            if not missing:
                return
            self.damaged += len(missing)
        raise LinkError(
            f"what is written to DRAM over {self._mailbox.link.description} does not get there",
            "check the cable, lower the baud rate, or test the board's DRAM",
        )

    def keeps(self, offset: int) -> bool:
        """Whether DRAM keeps zeros and ones around a place; it has the same content again then."""
        start = offset - offset % ALIGNMENT
        content = self.read(start, ALIGNMENT)
        try:
            for data in (bytes(ALIGNMENT), b"\xff" * ALIGNMENT, content):
                self.write(start, data)
        except LinkError:
            return False
        return True


def read_logits(device: Device, vocabulary: int) -> Integers:
    """Logits (vocabulary,) VECTOR that the last run's last sample was drawn from.

    Raises:
        UsageError: the last run was not asked for them.
        LinkError: the link damages them each time.
    """
    if not device.logits_offset:
        raise UsageError(NO_LOGITS)
    data = DeviceDram(device).read(device.logits_offset, 4 * vocabulary)
    return np.frombuffer(data, "<i4").astype(np.int64)

"""The image in a device's DRAM against the image in the file."""

from dataclasses import dataclass

import numpy as np

from jalgateware.contract.image_header import CHUNK_BYTES, Preamble
from jalgateware.contract.mailbox import MAX_BAD_CHUNKS, Command, Field, Result
from jalhost.device import Device
from jalhost.dram import DeviceDram
from jalhost.models.blob import Blob
from jalhost.verify.golden import Golden
from jalhost.verify.places import BlobPlace, blob_place
from jalhost.verify.report import Cause, Finding, Place, lowest_bit


@dataclass(frozen=True)
class Damage:
    """A byte of the image that DRAM has otherwise; ``offset`` from the start of the image."""

    offset: int
    expected: int
    got: int
    place: BlobPlace

    @property
    def bit(self) -> int:
        """The lowest bit that differs."""
        return lowest_bit(self.expected ^ self.got)


def holds(dram: DeviceDram, blob: Blob) -> bool:
    """Whether DRAM has this image, however damaged."""
    size = 4 * len(Preamble)
    return dram.read(0, size) == blob.data[:size]


def find_damage(device: Device, dram: DeviceDram, blob: Blob, golden: Golden) -> list[Damage]:
    """Bytes of the image that DRAM has otherwise: the device looks for them by its CRCs.

    Raises:
        DeviceError: the check itself failed.
    """
    accept = (Result.OK, Result.CRC_MISMATCH, Result.NO_IMAGE, Result.HEADER_DAMAGED)
    answer = device.mailbox.command(Command.VERIFY_IMAGE, 0, 0, accept=accept)
    if answer.result is Result.OK:
        return []
    length = blob.header.header_bytes
    if answer.result is not Result.CRC_MISMATCH:
        return _differing(dram, blob, golden, 0, length)
    count = answer.words[1]
    if count > MAX_BAD_CHUNKS:
        return _differing(dram, blob, golden, length, len(blob.data) - length)
    found = []
    for chunk in device.mailbox.read_steady(Field.BAD_CHUNKS, count):
        start = length + chunk * CHUNK_BYTES
        part = min(CHUNK_BYTES, len(blob.data) - start)
        found += _differing(dram, blob, golden, start, part)
    return found


def _differing(
    dram: DeviceDram, blob: Blob, golden: Golden, offset: int, length: int
) -> list[Damage]:
    expected = blob.data[offset : offset + length]
    has = np.frombuffer(dram.content(offset, expected), dtype=np.uint8)
    wanted = np.frombuffer(expected, dtype=np.uint8)
    found = []
    for index in np.flatnonzero(has != wanted).tolist():
        bit = lowest_bit(int(has[index]) ^ int(wanted[index]))
        place = blob_place(blob.header, golden.layout, golden.config, offset + index, bit)
        found.append(Damage(offset + index, int(wanted[index]), int(has[index]), place))
    return found


def damage_finding(damage: list[Damage], origin: int, stuck: bool) -> Finding:
    """What is to be said of damaged weights; ``stuck``: writing them again did not help."""
    first, bits = damage[0], sum((item.expected ^ item.got).bit_count() for item in damage)
    more = f", and {len(damage) - 1:,} more bytes" if len(damage) > 1 else ""
    return Finding(
        Cause.WEIGHTS,
        f"{bits:,} bit{'s'[: bits > 1]} of the image in DRAM {'are' if bits > 1 else 'is'} wrong:"
        f" {first.place}, bit {first.bit} (byte 0x{first.got:02x} instead of"
        f" 0x{first.expected:02x} at DRAM offset 0x{origin + first.offset:x}){more}",
        "it is wrong again after it was written anew: test this DRAM, lower its clock"
        if stuck
        else "it holds now that it was written anew; if it comes back, test the board's DRAM",
        Place(
            tensor=first.place.tensor,
            row=first.place.row,
            column=first.place.column,
            bit=first.bit,
            expected=first.expected,
            got=first.got,
            dram_offset=origin + first.offset,
        ),
    )

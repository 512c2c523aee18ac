"""Gets an image into a device's DRAM, whatever the link does to it on the way."""

import logging
import time
import zlib
from collections.abc import Callable
from typing import TypeVar

from jalgateware.contract.image_header import Preamble
from jalgateware.contract.mailbox import (
    BLOCK_BYTES,
    CHECKED_BLOCKS,
    MAX_BAD_CHUNKS,
    Command,
    Field,
    Result,
)
from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN
from jalhost.errors import DeviceError, DeviceRestarted
from jalhost.mailbox import Mailbox
from jalhost.models.blob import Blob
from jalhost.progress import Meter, Report

MAX_ROUNDS = 4
"""Rounds of sending damaged pieces again that may pass without any of them getting whole."""

MAX_RESTARTS = 3
"""How often the device may start again on the way."""

RESTART_S = 10.0
"""How long the firmware may take to start again."""

REPORT_EVERY_S = 0.2

PIECE_BYTES = 16 * BLOCK_BYTES
"""Sent between two looks at the clock: a burst of reports would cost more than they tell."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Transfer:
    """One image on its way into one device.

    Nothing that was written is taken to have arrived: the device itself checks the chunks in its
    DRAM, and of those that are damaged, blocks of BLOCK_BYTES.

    Args:
        mailbox: of the device.
        blob: the image, laid out for the device.
        offset: where it goes in DRAM.
        report: takes lines for people.
    """

    def __init__(self, mailbox: Mailbox, blob: Blob, offset: int, report: Report) -> None:
        self._mailbox = mailbox
        self._link = mailbox.link
        self._blob = blob
        self._origin = MAIN_RAM_ORIGIN + offset
        self._report = report
        self._restarts = 0

    def run(self) -> None:
        """Does it.

        Raises:
            DeviceError: some of it stays damaged.
            LinkError: the connection is lost for good.
        """
        if not self._holds():
            self._report(f"sending {len(self._blob.data):,} bytes to {self._link.description}")
            self._send_all()
        fruitless, before = 0, None
        while (damaged := self._damaged()) != []:
            if damaged is None:
                self._report("the image's header was damaged on the way; sending it again")
                self._mend(0, self._blob.data[: self._blob.header.header_bytes])
            else:
                self._report(f"damaged on the way: {_names(damaged)}; sending again")
                for index in damaged:
                    self._mend(*self._blob.chunk(index))
            fruitless = fruitless + 1 if damaged == before else 1
            before = damaged
            if fruitless >= MAX_ROUNDS:
                self._check_again(damaged)

    def _check_again(self, before: list[int] | None) -> None:
        """Gives up unless the last round has changed something.

        Raises:
            DeviceError: it has not.
        """
        damaged = self._damaged()
        if damaged != before:
            return
        what = "its header" if damaged is None else _names(damaged)
        raise DeviceError(
            f"the image keeps arriving damaged: {what}, after sending it {MAX_ROUNDS} times",
            "check the cable, lower the baud rate, or test the board's DRAM",
        )

    def _damaged(self) -> list[int] | None:
        """Has the image in DRAM checked: damaged chunks (the first ones), None for the header.

        Raises:
            DeviceError: the check itself failed.
        """
        accept = (Result.OK, Result.CRC_MISMATCH, Result.NO_IMAGE, Result.HEADER_DAMAGED)
        command = Command.VERIFY_IMAGE
        answer = self._persist(lambda: self._mailbox.command(command, 0, 0, accept=accept))
        if answer.result in (Result.NO_IMAGE, Result.HEADER_DAMAGED):
            return None
        count = min(answer.words[1], MAX_BAD_CHUNKS)
        return self._mailbox.read_steady(Field.BAD_CHUNKS, count) if count else []

    def _mend(self, offset: int, data: bytes) -> None:
        """Sends what is wrong of a part of the image, as often as that helps."""
        part = BLOCK_BYTES * CHECKED_BLOCKS
        for start in range(0, len(data), part):
            self._mend_part(offset + start, data[start : start + part])

    def _mend_part(self, offset: int, data: bytes) -> None:
        wrong, fruitless = self._wrong_blocks(offset, data), 0
        while wrong and fruitless < MAX_ROUNDS:
            for start in wrong:
                self._send(offset + start, data[start : start + BLOCK_BYTES])
            before, wrong = wrong, self._wrong_blocks(offset, data)
            fruitless = fruitless + 1 if len(wrong) >= len(before) else 0

    def _wrong_blocks(self, offset: int, data: bytes) -> list[int]:
        """Where the blocks start, in ``data``, that DRAM has otherwise."""
        command = Command.CHECK_BLOCKS
        self._persist(lambda: self._mailbox.command(command, offset, len(data)))
        starts = range(0, len(data), BLOCK_BYTES)
        checks = self._mailbox.read_steady(Field.BLOCK_CHECKS, len(starts))
        return [
            start
            for start, crc in zip(starts, checks, strict=True)
            if zlib.crc32(data[start : start + BLOCK_BYTES]) != crc
        ]

    def _persist(self, action: Callable[[], T]) -> T:
        """Does something again if the device starts again meanwhile: DRAM is checked anyway."""
        while True:
            try:
                return action()
            except DeviceRestarted as error:
                self._restarts += 1
                if self._restarts > MAX_RESTARTS:
                    raise
                self._report(f"{error.what}; going on")
                self._mailbox.wait_until_ready(RESTART_S)

    def _holds(self) -> bool:
        """Whether DRAM holds this image's header: its CRC covers the chunks' CRCs."""
        size = 4 * len(Preamble)
        words = self._link.read(self._origin, size // 4)
        data = b"".join(word.to_bytes(4, "little") for word in words)
        return data == self._blob.data[:size]

    def _send_all(self) -> None:
        data = self._blob.data
        meter, told = Meter(len(data)), time.monotonic()
        for start in range(0, len(data), PIECE_BYTES):
            self._send(start, data[start : start + PIECE_BYTES])
            if time.monotonic() - told >= REPORT_EVERY_S:
                told = time.monotonic()
                self._report(meter.progress(min(start + PIECE_BYTES, len(data))))

    def _send(self, offset: int, data: bytes) -> None:
        words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        self._link.write(self._origin + offset, words)


def _names(indices: list[int]) -> str:
    """``chunk 3`` or ``chunks 3, 5``."""
    return f"chunk{'s' if len(indices) > 1 else ''} {', '.join(map(str, indices))}"

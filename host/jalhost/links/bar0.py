"""A link through BAR 0 of a PCIe device, however that is reached."""

from collections.abc import Sequence
from typing import Protocol

from jalgateware.contract.memory_map import CSR_ORIGIN, MAILBOX, MAIN_RAM_ORIGIN
from jalgateware.contract.pcie import CSR_WINDOW, DRAM_WINDOW, MAILBOX_WINDOW, WINDOW_BASE
from jalhost.errors import LinkError

WORD_BYTES = 4


class Bar(Protocol):
    """A device's BAR: words at offsets, which are multiples of 4 bytes."""

    @property
    def description(self) -> str:
        """What messages call the device."""

    def read(self, offset: int, words: int) -> list[int]:
        """Reads consecutive words, each on its own below the DRAM window.

        Raises:
            LinkError: the device does not answer, or wrong.
        """

    def write(self, offset: int, values: Sequence[int]) -> None:
        """Writes consecutive words; everything that comes later finds them written.

        Raises:
            LinkError: the connection is lost.
        """

    def close(self) -> None:
        """Gives the device back. May be called twice."""


class Bar0Link:
    """Addresses of the device's bus, by BAR 0: registers, mailbox and DRAM, and nothing else.

    Args:
        bar: closed together with the link.
    """

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._base: int | None = None

    @property
    def description(self) -> str:
        """The device's."""
        return self._bar.description

    def read(self, address: int, words: int = 1) -> list[int]:
        """Reads consecutive words.

        Raises:
            LinkError: nothing there can be reached, or the device does not answer as it should.
        """
        values: list[int] = []
        while len(values) < words:
            offset, count = self._place(address + WORD_BYTES * len(values), words - len(values))
            values += self._bar.read(offset, count)
        return values

    def write(self, address: int, values: Sequence[int]) -> None:
        """Writes consecutive words.

        Raises:
            LinkError: nothing there can be reached, or the connection is lost.
        """
        done = 0
        while done < len(values):
            offset, count = self._place(address + WORD_BYTES * done, len(values) - done)
            self._bar.write(offset, values[done : done + count])
            done += count

    def close(self) -> None:
        """Gives the device back."""
        self._bar.close()

    def _place(self, address: int, words: int) -> tuple[int, int]:
        """Where in BAR 0 words from an address on are, and how many of them in one piece."""
        assert address % WORD_BYTES == 0, "accesses are word by word"
        for origin, window in ((CSR_ORIGIN, CSR_WINDOW), (MAILBOX.origin, MAILBOX_WINDOW)):
            room = origin + window.size - address
            if 0 < room <= window.size:
                return window.origin + address - origin, min(words, room // WORD_BYTES)
        if not MAIN_RAM_ORIGIN <= address < MAILBOX.origin:
            raise LinkError(
                f"0x{address:08x} cannot be reached over PCIe",
                "registers, mailbox and DRAM can",
            )
        within = (address - MAIN_RAM_ORIGIN) % DRAM_WINDOW.size
        base = address - MAIN_RAM_ORIGIN - within
        if base != self._base:
            self._base = None  # until it is known to be there
            self._bar.write(WINDOW_BASE - CSR_ORIGIN + CSR_WINDOW.origin, [base])
            self._base = base
        room = DRAM_WINDOW.size - within
        return DRAM_WINDOW.origin + within, min(words, room // WORD_BYTES)

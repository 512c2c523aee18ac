"""Memories with faults, behind a link."""

from collections.abc import Callable, Sequence

from jalhost.errors import LinkError

ORIGIN = 0x4000_0000

Fault = Callable[["Memory", int, int], None]
"""Is called behind each write with the memory, the word's index and its value."""


class Memory:
    """Words from :data:`ORIGIN` on, as a link sees them.

    Args:
        words: how many.
        decode: which word an index leads to; wrong where address lines are.
        store: what of a value arrives; wrong where data lines are.
        fault: what else a write does.
        misread: how many readings are wrong, once each.
    """

    def __init__(
        self,
        words: int,
        decode: Callable[[int], int] = lambda index: index,
        store: Callable[[int], int] = lambda value: value,
        fault: Fault | None = None,
        misread: int = 0,
    ) -> None:
        self.description = "memory"
        self.content = [0] * words
        self.decode = decode
        self.store = store
        self.fault = fault
        self.misread = misread
        self.closed = False

    def read(self, address: int, words: int = 1) -> list[int]:
        found = [self.content[self.decode(self._index(address, i))] for i in range(words)]
        if self.misread:
            self.misread -= 1
            found[-1] ^= 1 << 7
        return found

    def write(self, address: int, values: Sequence[int]) -> None:
        for i, value in enumerate(values):
            index = self.decode(self._index(address, i))
            self.content[index] = self.store(value)
            if self.fault:
                self.fault(self, index, value)

    def close(self) -> None:
        self.closed = True

    def _index(self, address: int, word: int) -> int:
        index = (address - ORIGIN) // 4 + word
        if not 0 <= index < len(self.content):
            raise LinkError(f"nothing at {address:#x}")
        return index

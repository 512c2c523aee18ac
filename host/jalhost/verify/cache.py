"""The KV cache in DRAM against the golden model's."""

from dataclasses import dataclass

import numpy as np

from jalgateware.contract.image_header import ImageHeader
from jalhost.dram import DeviceDram
from jalhost.verify.golden import PARTS, Golden, cache_bytes
from jalhost.verify.report import Place, lowest_bit


@dataclass(frozen=True, order=True)
class CacheDifference:
    """An element that differs; the order is that in which elements are computed.

    ``part``: 0 of keys, 1 of values. ``offset``: bytes from the start of the image.
    """

    position: int
    layer: int
    part: int
    head: int
    element: int
    expected: int
    got: int
    offset: int

    @property
    def tensor(self) -> str:
        """As ``2.key``."""
        return f"{self.layer}.{PARTS[self.part]}"

    @property
    def bit(self) -> int:
        """The lowest bit that differs."""
        return lowest_bit((self.expected ^ self.got) & 0xFFFF)

    def place(self, origin: int) -> Place:
        """For a report; ``origin``: where the image starts in DRAM."""
        return Place(
            tensor=self.tensor,
            position=self.position,
            row=self.head,
            column=self.element,
            bit=self.bit,
            expected=self.expected,
            got=self.got,
            dram_offset=origin + self.offset,
        )

    def __str__(self) -> str:
        """For people."""
        return (
            f"{self.tensor} of position {self.position}, head {self.head}, element {self.element}"
            f" is {self.got} instead of {self.expected} (bit {self.bit})"
        )


def compare_cache(
    golden: Golden, dram: DeviceDram, header: ImageHeader, start: int, end: int
) -> list[CacheDifference]:
    """Elements of positions ``start`` to ``end`` - 1 that differ, in the order of computation.

    Only what the device's own CRC tells to differ is read.
    """
    a, found = golden.architecture, []
    for layer in range(a.layers):
        for part in range(len(PARTS)):
            for head in range(a.kv_heads):
                found += _compare_head(golden, dram, header, (layer, part, head), start, end)
    return sorted(found)


def _compare_head(
    golden: Golden,
    dram: DeviceDram,
    header: ImageHeader,
    which: tuple[int, int, int],
    start: int,
    end: int,
) -> list[CacheDifference]:
    layer, part, head = which
    wanted = golden.cache(layer, part)[head, start:end]
    expected = cache_bytes(golden, wanted)
    offset = header.kv_offset + golden.cache_place(layer, part, head, start)
    content = dram.content(offset, expected)
    if content == expected:
        return []
    has = np.frombuffer(content, dtype="<i2").reshape(len(wanted), -1)
    rows, elements = np.nonzero(has[:, : wanted.shape[1]] != wanted)
    return [
        CacheDifference(
            position=start + row,
            layer=layer,
            part=part,
            head=head,
            element=element,
            expected=int(wanted[row, element]),
            got=int(has[row, element]),
            offset=offset + 2 * (row * has.shape[1] + element),
        )
        for row, element in zip(rows.tolist(), elements.tolist(), strict=True)
    ]

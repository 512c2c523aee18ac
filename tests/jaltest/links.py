"""Links with faults on the way."""

from collections.abc import Sequence

from jalhost.links.link import Link


class FlippingLink:
    """Flips a bit of the first word that is written to an address."""

    def __init__(self, link: Link, address: int) -> None:
        self.description = link.description
        self.read = link.read
        self.close = link.close
        self._link = link
        self._address: int | None = address

    def write(self, address: int, values: Sequence[int]) -> None:
        place = self._address
        if place is not None and address <= place < address + 4 * len(values):
            values = list(values)
            values[(place - address) // 4] ^= 1
            self._address = None
        self._link.write(address, values)

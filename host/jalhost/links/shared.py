"""A link that several threads may use."""

import threading
from collections.abc import Sequence

from jalhost.links.link import Link


class SharedLink:
    """Passes accesses on, one at a time: a run and what is measured beside it share the link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()

    @property
    def description(self) -> str:
        """What messages call it."""
        return self._link.description

    def read(self, address: int, words: int = 1) -> list[int]:
        """Reads consecutive words.

        Raises:
            LinkError: no or not enough of an answer.
        """
        with self._lock:
            return self._link.read(address, words)

    def write(self, address: int, values: Sequence[int]) -> None:
        """Writes consecutive words.

        Raises:
            LinkError: the connection is lost.
        """
        with self._lock:
            self._link.write(address, values)

    def close(self) -> None:
        """Gives the port back. May be called twice."""
        self._link.close()

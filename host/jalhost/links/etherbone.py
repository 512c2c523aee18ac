"""Etherbone over UDP: bus accesses that survive a network which loses, repeats and reorders.

Each request is answered: a write reads one word in the same packet, behind its own. What is not
answered is sent again, with a new number. The device executes each number at most once and none
behind a later one (:mod:`jalgateware.contract.etherbone`), so that nothing which is still on the
way can be executed behind what was answered since. A request may well be executed twice, if its
first answer was lost: reads and writes of memory do not mind.

Requests of one access are under way together, and may be executed in any order. Accesses are not:
each one ends when all of it has been answered.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from jalgateware.contract.etherbone import LAST_NUMBER_ADDRESS, MAX_READ, MAX_WRITE, NUMBERS, PORT
from jalgateware.contract.memory_map import FINGERPRINT_ADDRESS
from jalhost.errors import LinkError, UsageError
from jalhost.links.etherbone_packet import parse_answer, request
from jalhost.links.udp import UdpSocket

WINDOW = 7
"""Requests under way together: the device has room for seven of the longest."""

REORDERED = 3
"""An answer to a request that was sent so much later tells that a request is lost."""

JUMP, RANDOM_BITS = 1 << 16, 28
"""From the last number that the device knows to the first of this program: an earlier program may
have sent numbers that have not arrived yet, and another one may start at the same time."""

FIRST_WAIT_S = 0.1
MIN_MARGIN_S = 0.05
"""For an answer, until a request is sent again: before any answer has come, and beyond the time
that answers take."""

ATTEMPTS = 8
"""How often a request is sent, at least, until the link is given up."""

REFUSED_S = 1.0
"""How long to go on although nobody listens: a program may be about to start."""

TICK_S = 0.001
"""Least time to wait, so that time passes in any case."""

SILENCE_MEANS = 24
"""As many times what an answer usually takes may pass in silence, where that is longer than the
link's timeout: simulators on busy computers are slow, but alive."""

DOUBLINGS = 2
"""How often the time for an answer is doubled while none comes."""

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Request:
    """One packet's worth of an access: words to write, or addresses to read."""

    address: int = 0
    values: Sequence[int] = ()
    reads: Sequence[int] = (FINGERPRINT_ADDRESS,)
    numbered: bool = True
    answer: tuple[int, ...] | None = None


class Datagrams(Protocol):
    """Packets to and from a device; any may get lost, or arrive twice or late."""

    @property
    def description(self) -> str:
        """What messages call it."""

    @property
    def refused(self) -> bool:
        """Whether it is known that nobody listens."""

    def send(self, packet: bytes) -> None:
        """Sends a packet.

        Raises:
            LinkError: there is no way to the device.
        """

    def receive(self, timeout_s: float) -> bytes | None:
        """The next packet; None if there is none in time.

        Raises:
            LinkError: there is no way to the device.
        """

    def close(self) -> None:
        """Gives the port back. May be called twice."""


class EtherboneLink:
    """A link over datagrams.

    Args:
        datagrams: where packets go; closed together with the link.
        timeout_s: longest silence while an answer is due, unless answers usually take long;
            requests are repeated meanwhile.
        clock: time in seconds.

    Raises:
        LinkError: no answer.
    """

    def __init__(
        self,
        datagrams: Datagrams,
        timeout_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._datagrams = datagrams
        self._clock = clock
        self._wait = _Wait(timeout_s)
        self._number = 0
        last = _Request(reads=(LAST_NUMBER_ADDRESS,), numbered=False)
        self._carry_out([last])
        assert last.answer, "it was carried out"
        self._number = (last.answer[0] + JUMP + random.getrandbits(RANDOM_BITS)) % NUMBERS

    @property
    def description(self) -> str:
        """Host and port."""
        return self._datagrams.description

    def read(self, address: int, words: int = 1) -> list[int]:
        """Reads consecutive words.

        Raises:
            LinkError: no answer.
        """
        places = range(address, address + 4 * words, 4)
        requests = [
            _Request(reads=places[start : start + MAX_READ]) for start in range(0, words, MAX_READ)
        ]
        self._carry_out(requests)
        return [value for item in requests for value in item.answer or ()]

    def write(self, address: int, values: Sequence[int]) -> None:
        """Writes consecutive words; when it returns, they are written.

        Raises:
            LinkError: no answer.
        """
        self._carry_out(
            _Request(address + 4 * start, values[start : start + MAX_WRITE])
            for start in range(0, len(values), MAX_WRITE)
        )

    def close(self) -> None:
        """Gives the port back. May be called twice."""
        self._datagrams.close()

    def _carry_out(self, requests: Iterable[_Request]) -> None:
        """Has requests carried out, some at a time, in any order."""
        transfer = _Transfer(requests)
        heard = self._clock()
        while transfer.outstanding:
            while (item := transfer.next()) is not None:
                self._send(transfer, item)
            patience = transfer.oldest() + self._wait.seconds - self._clock()
            packet = self._datagrams.receive(max(patience, TICK_S))
            answer = parse_answer(packet) if packet else None
            sent = transfer.take(*answer) if answer else None
            now = self._clock()
            if sent is not None:
                heard = now
                self._wait.learn(now - sent)
            elif now - heard > self._wait.silence_s or (
                self._datagrams.refused and now - heard > REFUSED_S
            ):
                raise self._silent()
            if transfer.repeat(now - self._wait.seconds):
                self._wait.lengthen()

    def _send(self, transfer: "_Transfer", item: _Request) -> None:
        number, tag = 0, random.getrandbits(32)
        if item.numbered:
            self._number = (self._number + 1) % NUMBERS or 1
            number = tag = self._number
        transfer.sent(tag, item, self._clock())
        self._datagrams.send(request(number, tag, item.address, item.values, item.reads))

    def _silent(self) -> LinkError:
        if self._datagrams.refused:
            return LinkError(
                f"nobody listens on UDP port {self.description}",
                "is the address right, and the board configured with Ethernet?",
            )
        return LinkError(
            f"no answer from {self.description} within {self._wait.silence_s:.3g} s",
            "is the board powered, connected and configured with Ethernet, and no other program"
            " using it?",
        )


class _Transfer:
    """Requests that wait, that are under way, and that have been answered."""

    def __init__(self, requests: Iterable[_Request]) -> None:
        self._waiting = deque(requests)
        self._under_way: dict[int, _Request] = {}
        """By the tag of the last packet, in the order in which these were sent."""
        self._packets: dict[int, tuple[_Request, float]] = {}
        """All packets of this transfer: any answer will do, also one to an earlier packet."""

    @property
    def outstanding(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self._waiting or self._under_way)

    def next(self) -> _Request | None:
        """Takes the request to send now, if there is one."""
        return self._waiting.popleft() if self._waiting and len(self._under_way) < WINDOW else None

    def sent(self, tag: int, item: _Request, now: float) -> None:
        """Notes a packet."""
        self._under_way[tag] = item
        self._packets[tag] = item, now

    def oldest(self) -> float:
        """When the packet was sent that has been under way for longest."""
        return self._packets[next(iter(self._under_way))][1]

    def take(self, tag: int, words: tuple[int, ...]) -> float | None:
        """Takes an answer; returns when its packet was sent, or None if it is of no use."""
        item, sent = self._packets.get(tag, (None, 0.0))
        if item is None or item.answer is not None or len(words) != len(item.reads):
            return None
        item.answer = words
        self._under_way = {key: other for key, other in self._under_way.items() if other != item}
        if item in self._waiting:
            self._waiting.remove(item)
        self._repeat(
            [
                other
                for other, late in self._under_way.items()
                if late.numbered and REORDERED <= (tag - other) % NUMBERS < NUMBERS // 2
            ]
        )
        return sent

    def repeat(self, before: float) -> bool:
        """Has the oldest request sent again if it was sent before a time; returns whether it was.

        Not all of them: if the device is just slow, that would make it slower. If they are lost,
        the answer to this one will tell.
        """
        late = bool(self._under_way) and self.oldest() <= before
        if late:
            self._repeat([next(iter(self._under_way))])
        return late

    def _repeat(self, tags: list[int]) -> None:
        if tags:
            _log.debug("sending %d requests again", len(tags))
        self._waiting.extendleft(self._under_way.pop(tag) for tag in reversed(tags))


class _Wait:
    """How long to wait for an answer: the times that answers took, as RFC 6298 weighs them."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._mean: float | None = None
        self._deviation = 0.0
        self._doublings = 0

    @property
    def seconds(self) -> float:
        """The time."""
        wait = FIRST_WAIT_S
        if self._mean is not None:
            wait = self._mean + max(4 * self._deviation, self._mean / 2, MIN_MARGIN_S)
        return min(wait * (1 << self._doublings), self.silence_s / ATTEMPTS)

    @property
    def silence_s(self) -> float:
        """Until the link is given up."""
        return max(self._timeout_s, SILENCE_MEANS * (self._mean or 0))

    def learn(self, seconds: float) -> None:
        """Notes what an answer took."""
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
        self._deviation += (abs(seconds - self._mean) - self._deviation) / 4
        self._mean += (seconds - self._mean) / 8
        self._doublings = 0

    def lengthen(self) -> None:
        """Notes that nothing came in that time."""
        self._doublings = min(self._doublings + 1, DOUBLINGS)


def open_etherbone(name: str, timeout_s: float) -> EtherboneLink:
    """Opens a link: ``HOST`` or ``HOST:PORT``.

    Raises:
        UsageError: the name makes no sense.
        LinkError: there is no such host, or no answer.
    """
    host, colon, port = name.partition(":")
    if not host or (colon and not (port.isdecimal() and 0 < int(port) < 1 << 16)):
        raise UsageError(f"{name!r} is not HOST or HOST:PORT, for example 192.168.1.50:{PORT}")
    datagrams = UdpSocket(host, int(port) if colon else PORT)
    try:
        return EtherboneLink(datagrams, timeout_s)
    except BaseException:
        datagrams.close()
        raise

"""A stand-in for the device's end of a UARTBone link, byte by byte as LiteX's Stream2Wishbone."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from jalhost.errors import LinkError


@dataclass
class Bridge:
    """Takes bytes, accesses ``memory`` (by byte address), and gives bytes."""

    memory: dict[int, int] = field(default_factory=dict)
    requests: list[tuple[int, int, int]] = field(default_factory=list)
    """(command, words, byte address) of each request."""
    _partial: bytes = b""

    def feed(self, data: bytes) -> bytes:
        """Takes bytes and returns the answers of the requests that they complete."""
        self._partial += data
        answer = b""
        while len(self._partial) >= 6:
            command, words = self._partial[0], self._partial[1]
            address = 4 * int.from_bytes(self._partial[2:6], "big")
            end = 6 + 4 * words if command == 1 else 6
            if len(self._partial) < end:
                break
            payload, self._partial = self._partial[6:end], self._partial[end:]
            self.requests.append((command, words, address))
            if command == 1:
                for i in range(words):
                    value = int.from_bytes(payload[4 * i : 4 * i + 4], "big")
                    self.store(address + 4 * i, value)
            elif command == 2:
                for i in range(words):
                    answer += self.load(address + 4 * i).to_bytes(4, "big")
        return answer

    def store(self, address: int, value: int) -> None:
        """A write access; stand-ins for devices override it."""
        self.memory[address] = value

    def load(self, address: int) -> int:
        """A read access; stand-ins for devices override it."""
        return self.memory.get(address, 0)

    def reset(self) -> None:
        """What 100 ms of silence do."""
        self._partial = b""


class BridgeStream:
    """A byte stream with a bridge at its other end, and faults on the way.

    ``lose_request`` and ``lose_answer`` hold how many bytes the next requests or answers lose at
    their ends. ``piece`` limits what one receive returns.
    """

    def __init__(self, bridge: Bridge, piece: int = 1 << 20) -> None:
        self.description = "bridge"
        self.baud = None
        self.bridge = bridge
        self.piece = piece
        self.lose_request: list[int] = []
        self.lose_answer: list[int] = []
        self.sent: list[bytes] = []
        self.closed = False
        self._input = b""

    def send(self, data: bytes) -> None:
        if self.closed:
            raise LinkError("closed")
        self.sent.append(data)
        kept = data[: len(data) - (self.lose_request.pop(0) if self.lose_request else 0)]
        answer = self.bridge.feed(kept)
        self._input += answer[: len(answer) - (self.lose_answer.pop(0) if self.lose_answer else 0)]

    def receive(self, most: int, timeout_s: float) -> bytes:
        assert timeout_s > 0
        count = min(most, self.piece)
        data, self._input = self._input[:count], self._input[count:]
        return data

    def discard_input(self) -> None:
        self._input = b""

    def drain(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def serve(bridge: Bridge, read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
    """Runs a bridge in a thread, until ``read`` gives nothing or fails."""

    def work() -> None:
        try:
            while data := read():
                write(bridge.feed(data))
        except OSError:
            return

    threading.Thread(target=work, daemon=True).start()

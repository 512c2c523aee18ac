"""DRAM behind LiteDRAM's native ports, as a Migen process: in order per port, with any latency.

As in LiteDRAM, an answer appears for one cycle whether or not the reader is ready, and write data
is taken in one cycle whether or not it is valid. The model raises where a unit would lose data by
that, or withdraws a request.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from litedram.common import LiteDRAMNativePort

from jaltest.gateware import Process


@dataclass
class _Port:
    """What the model remembers of one port."""

    port: LiteDRAMNativePort
    ready: int = 0
    request: tuple[int, int] | None = None
    reads: deque[tuple[int, int]] = field(default_factory=deque)
    writes: deque[tuple[int, int]] = field(default_factory=deque)
    answering: bool = False
    writing: int | None = None


class DramModel:
    """Memory content and the process that serves the ports.

    Args:
        ports: native ports, each served on its own.
        read: the word at an address that was never written.
        latency: least and most cycles from an accepted request to its data.
        ready: probability that a port accepts in a cycle.
        seed: of all random choices.
        partial: takes write enables, and answers reads with what earlier writes left.
    """

    def __init__(
        self,
        ports: Sequence[LiteDRAMNativePort],
        read: Callable[[int], int],
        latency: tuple[int, int] = (2, 20),
        ready: float = 0.7,
        seed: int = 0,
        partial: bool = False,
    ) -> None:
        self.partial = partial
        self.ports = [_Port(port) for port in ports]
        self.read = read
        self.latency = latency
        self.ready = ready
        self.random = random.Random(seed)
        self.memory: dict[int, int] = {}
        self.read_addresses: list[list[int]] = [[] for _ in ports]
        self.write_order: list[tuple[int, int]] = []
        self.cycle = 0

    def process(self) -> Process:
        """The simulation process."""
        yield "passive"
        while True:
            for index, state in enumerate(self.ports):
                yield from self._accept(index, state)
                yield from self._finish(state)
                yield from self._drive(state)
            self.cycle += 1
            yield

    def _accept(self, index: int, state: _Port) -> Process:
        cmd = state.port.cmd
        valid = yield cmd.valid
        request = ((yield cmd.we), (yield cmd.addr))
        if state.request is not None and (not valid or request != state.request):
            raise AssertionError(f"port {index}: request {state.request} changed before accepted")
        state.request = request if valid and not state.ready else None
        if not (valid and state.ready):
            return
        write, address = request
        queue = state.writes if write else state.reads
        due = self.cycle + self.random.randint(*self.latency)
        if queue:
            due = max(due, queue[-1][0] + 1)
        if self.partial and state.writes:
            due = max(due, state.writes[-1][0] + 1)
        queue.append((due, address))
        if not write:
            self.read_addresses[index].append(address)

    def _finish(self, state: _Port) -> Process:
        """Checks what the unit did with what the model drove in this cycle."""
        if state.answering and not (yield state.port.rdata.ready):
            raise AssertionError("a word was answered and the reader was not ready")
        if state.writing is not None:
            if not (yield state.port.wdata.valid):
                raise AssertionError("write data was taken and not valid")
            data = yield state.port.wdata.data
            enables = yield state.port.wdata.we
            if self.partial:
                data = self._merge(state.writing, data, enables)
            elif enables != (1 << state.port.data_width // 8) - 1:
                raise AssertionError("a word was written in part")
            self.memory[state.writing] = data
            self.write_order.append((state.writing, data))

    def _merge(self, address: int, data: int, enables: int) -> int:
        """What a write of some bytes makes of a word."""
        mask = sum(0xFF << 8 * i for i in range(enables.bit_length()) if enables >> i & 1)
        old = self.memory.get(address, self.read(address))
        return old & ~mask | data & mask

    def _drive(self, state: _Port) -> Process:
        port = state.port
        state.ready = int(self.random.random() < self.ready)
        yield port.cmd.ready.eq(state.ready)
        state.answering = bool(state.reads) and state.reads[0][0] <= self.cycle + 1
        yield port.rdata.valid.eq(state.answering)
        if state.answering:
            address = state.reads.popleft()[1]
            yield port.rdata.data.eq(self.memory.get(address, self.read(address)))
        else:
            yield port.rdata.data.eq(self.random.getrandbits(port.data_width))
        state.writing = None
        if state.writes and state.writes[0][0] <= self.cycle + 1:
            state.writing = state.writes.popleft()[1]
        yield port.wdata.ready.eq(state.writing is not None)

"""Counters of events that lie in memory, and copies of all of them that are taken at one moment."""

from collections.abc import Sequence

from litex.gen import LiteXModule
from migen import Array, If, Memory, Signal


class Counters(LiteXModule):
    """Counts events, each counter exactly, in the flip-flops of a few small ones.

    One adder visits the counters in turn and adds what happened since its last visit to the count
    in memory. Events of a counter that is visited later are delayed by as much, so all counts of
    a round are of the same moment.

    Interface: ``events``: what each counter counts up by in this cycle; ``start`` (pulse): all
    counts are 0 and begin again; ``latch`` (pulse): copies all counts; ``select`` ->
    ``copied`` in the same cycle. A copy is there for the counter ``n`` from the ``n + COPY``-th
    cycle behind ``latch``; a pulse while another copy is being taken is ignored.
    Latency: none, a copy has the events up to those beside ``latch``; a count begins behind
    ``start``.
    Throughput: all events in every cycle.
    Overflow: wraps.
    Golden model: none needed.

    Args:
        widths: bits of each counter's event. Wide ones should come first, as delays cost.
        bits: of a count.
    """

    COPY = 4

    def __init__(self, widths: Sequence[int], bits: int) -> None:
        count = len(widths)
        self.events = [Signal(width) for width in widths]
        self.start, self.latch = Signal(), Signal()
        self.select = Signal(max=count)
        self.copied = Signal(bits)

        # # #

        # Memory outlasts a reset: its counts are cleared, and copied.
        visited = Signal(max=count + 1, reset=count)
        copying, clearing = Signal(reset=1), Signal(reset=1)
        self.sync += [
            visited.eq(visited + 1),
            If(visited == count - 1, visited.eq(0), copying.eq(0), clearing.eq(0)),
            If(visited == count, visited.eq(0)),
            # A new round begins with no counter's turn, as the last one is being written still.
            If(self.latch & ~copying, visited.eq(count), copying.eq(1)),
            If(self.start, visited.eq(count), copying.eq(0), clearing.eq(1)),
        ]
        waiting = Array(self._wait(index, visited, clearing) for index in range(count))
        # A visit takes two cycles: sum, then write.
        counts, copies = Memory(bits, count + 1), Memory(bits, count)
        ports = [counts.get_port(async_read=True), counts.get_port(write_capable=True)]
        copy, copied = copies.get_port(write_capable=True), copies.get_port(async_read=True)
        self.specials += counts, copies, *ports, copy, copied
        read, write = ports
        total, place, copies_it = Signal(bits), Signal.like(visited), Signal()
        self.sync += [
            total.eq(read.dat_r + waiting[visited]),
            If(clearing, total.eq(0)),
            place.eq(visited),
            copies_it.eq(copying),
        ]
        self.comb += [
            read.adr.eq(visited),
            write.adr.eq(place),
            write.dat_w.eq(total),
            write.we.eq(1),
            copy.adr.eq(place),
            copy.dat_w.eq(total),
            copy.we.eq(copies_it),
            copied.adr.eq(self.select),
            self.copied.eq(copied.dat_r),
        ]

    def _wait(self, index: int, visited: Signal, clearing: Signal) -> Signal:
        """Events of a counter since its last visit, at most four rounds before.

        A copy begins another round, and so does a start, which then has to end before counts are
        collected.
        """
        event = self.events[index]
        for _ in range(index + 1):
            later = Signal.like(event)
            self.sync += [later.eq(event), If(self.start, later.eq(0))]
            event = later
        waiting = Signal(max=((1 << len(event)) - 1) * 4 * (len(self.events) + 2))
        self.sync += [
            waiting.eq(waiting + event),
            # While counts are cleared, what is new waits for the next round.
            If((visited == index) & ~clearing, waiting.eq(event)),
            If(self.start, waiting.eq(0)),
        ]
        return waiting

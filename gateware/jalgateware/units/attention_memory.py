"""Memories of attention: the rows of a pass, read back as words."""

from typing import Any

from litex.gen import LiteXModule
from migen import READ_FIRST, Array, Cat, Memory, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import Destination
from jalgateware.units.attention_lanes import slot_steps
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.pipeline import delayed, registered
from jalgateware.units.row_packer import RowPacker

NOTHING = max(Destination) + 1
"""No destination: there is no word."""


def word_memory(module: LiteXModule, config: EngineConfig, fields: list[Signal]) -> tuple[Any, Any]:
    """A memory of words whose address consists of these fields: (write port, read port)."""
    depth = 1 << sum(len(field) for field in fields)
    memory = Memory(config.word_bits, depth)
    memory.attr = {NEVER_COLLIDES}
    write = memory.get_port(write_capable=True, mode=READ_FIRST)
    read = memory.get_port(mode=READ_FIRST)
    module.specials += memory, write, read
    return write, read


class PassRows(LiteXModule):
    """Keeps queries, keys and values of a pass' positions.

    The query heads of a key/value head, of all token rows, are its *members*: number ``row * group
    + head of the group``. Member m belongs to slot ``m % attention_slots`` and is served in step
    ``m // attention_slots``.

    Interface: ``packer``: the words that come in; ``group``: constant, two cycles before; ``head``,
    ``chunk`` with ``step`` (queries) and ``row`` (keys, values) -> ``queries`` (one word per slot)
    ``LATENCY`` cycles later, ``key`` and ``value`` a cycle before these. Latency: 3 cycles from a
    word to its memory. Throughput: one word per cycle. Overflow: none.
    """

    LATENCY = 4

    def __init__(self, config: EngineConfig, packer: RowPacker) -> None:
        slots, tokens = config.attention_slots, config.tokens
        self.group = packer.group
        self.head = Signal.like(packer.head)
        self.chunk = Signal.like(packer.chunk)
        self.row = Signal.like(packer.row)
        self.step = Signal(max=max(2, slot_steps(config)))
        self.queries = [Signal(config.word_bits, reset_less=True) for _ in range(slots)]
        self.key = Signal(config.word_bits, reset_less=True)
        self.value = Signal(config.word_bits, reset_less=True)

        # # #

        members = config.max_group * tokens
        firsts = [delayed(self, row * packer.group, 1) if row else 0 for row in range(tokens)]
        member = Signal(max=max(2, members))
        # Two cycles: products and members first, then what they come to.
        self.sync += member.eq(
            packer.member if tokens == 1 else Array(firsts)[packer.word_row] + packer.member
        )
        slot, step = Signal(max=max(2, slots)), Signal.like(self.step)
        self.comb += [
            slot.eq(Array([m % slots for m in range(members)])[member]),
            step.eq(Array([m // slots for m in range(members)])[member]),
        ]
        # A key/value head has as many steps as the group needs, and not more places either.
        steps = [-(-g * tokens // slots) for g in range(config.max_group + 1)]
        used = Signal(max=max(2, max(steps) + 1))
        self.sync += used.eq(Array(steps)[self.group])
        most = max(config.max_heads // g * steps[g] for g in range(1, config.max_group + 1))
        places = [Signal(max=max(2, most)) for _ in range(2)]
        word, chunk = delayed(self, packer.word, 2), delayed(self, packer.chunk, 2)
        kind = delayed(self, Mux(packer.word_valid, packer.word_kind, NOTHING), 1)
        for place, number, behind in (
            (places[0], packer.head, step),
            (places[1], self.head, delayed(self, self.step, 1)),
        ):
            self.sync += place.eq(registered(self, number * used, 1) + behind)
        read_chunk = delayed(self, self.chunk, 2)
        for i, query in enumerate(self.queries):
            write, read = word_memory(self, config, [self.chunk, places[0]])
            self.comb += [
                write.adr.eq(Cat(chunk, places[0])),
                write.dat_w.eq(word),
                write.we.eq(delayed(self, (kind == Destination.QUERY) & (slot == i), 1)),
                read.adr.eq(Cat(read_chunk, places[1])),
            ]
            # Block RAM outputs are slow.
            self.sync += query.eq(read.dat_r)
        head, row = delayed(self, packer.head, 2), delayed(self, packer.word_row, 2)
        address = delayed(self, Cat(self.chunk, self.head, self.row), 1)
        for form, output in ((Destination.KEY, self.key), (Destination.VALUE, self.value)):
            rows = [self.row] if tokens > 1 else []
            write, read = word_memory(self, config, [self.chunk, self.head, *rows])
            self.comb += [
                write.adr.eq(Cat(chunk, head, row)),
                write.dat_w.eq(word),
                write.we.eq(delayed(self, kind == form, 1)),
                read.adr.eq(address),
            ]
            self.sync += output.eq(read.dat_r)

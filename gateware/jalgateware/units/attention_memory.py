"""Memories of attention: the rows of a pass, read back as words."""

from typing import Any

from litex.gen import LiteXModule
from migen import READ_FIRST, Array, Cat, Memory, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import Destination
from jalgateware.units.attention_lanes import slot_steps
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.row_packer import RowPacker


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

    Interface: ``packer``: the words that come in; ``group``: constant; ``head``, ``chunk`` with
    ``step`` (queries) and ``row`` (keys, values) -> ``queries`` (one word per slot), ``key``,
    ``value`` one cycle later. Latency: 1 cycle from a word to its memory. Throughput: one word per
    cycle. Overflow: none.
    """

    def __init__(self, config: EngineConfig, packer: RowPacker) -> None:
        slots, tokens = config.attention_slots, config.tokens
        self.group = packer.group
        self.head = Signal.like(packer.head)
        self.chunk = Signal.like(packer.chunk)
        self.row = Signal.like(packer.row)
        self.step = Signal(max=max(2, slot_steps(config)))
        self.queries = [Signal(config.word_bits) for _ in range(slots)]
        self.key = Signal(config.word_bits)
        self.value = Signal(config.word_bits)

        # # #

        members = config.max_group * tokens
        member = Signal(max=max(2, members))
        self.comb += member.eq(
            packer.member
            if tokens == 1
            else Array([row * packer.group for row in range(tokens)])[packer.word_row]
            + packer.member
        )
        slot, step = Signal(max=max(2, slots)), Signal.like(self.step)
        self.comb += [
            slot.eq(Array([m % slots for m in range(members)])[member]),
            step.eq(Array([m // slots for m in range(members)])[member]),
        ]
        is_query = packer.word_valid & (packer.word_kind == Destination.QUERY)
        for i, query in enumerate(self.queries):
            write, read = word_memory(self, config, [self.chunk, self.step, self.head])
            self.comb += [
                write.adr.eq(Cat(packer.chunk, step, packer.head)),
                write.dat_w.eq(packer.word),
                write.we.eq(is_query & (slot == i)),
                read.adr.eq(Cat(self.chunk, self.step, self.head)),
                query.eq(read.dat_r),
            ]
        for kind, output in ((Destination.KEY, self.key), (Destination.VALUE, self.value)):
            rows = [self.row] if tokens > 1 else []
            write, read = word_memory(self, config, [self.chunk, self.head, *rows])
            self.comb += [
                write.adr.eq(Cat(packer.chunk, packer.head, packer.word_row)),
                write.dat_w.eq(packer.word),
                write.we.eq(packer.word_valid & (packer.word_kind == kind)),
                read.adr.eq(Cat(self.chunk, self.head, self.row)),
                output.eq(read.dat_r),
            ]

"""Activation buffers: vectors quantised to MX blocks as they arrive, and their square sum."""

from typing import Any

from litex.gen import LiteXModule
from migen import READ_FIRST, Array, Cat, If, Memory, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import (
    ACTIVATION,
    ACTIVATION_SHIFT_BITS,
    BLOCK,
    SQUARE_SUM_BITS,
    VECTOR,
)
from jalgateware.contract.isa import FIELDS
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.pipeline import delayed, moved_right, registered_sum


class Narrow(LiteXModule):
    """Quantises one element: ``result = clip(floor(value / 2**shift + 1/2))`` as ACTIVATION.

    Interface: ``value`` {VECTOR}, ``shift`` -> ``result`` {ACTIVATION}; valid-only.
    Latency: ``LATENCY`` cycles. Throughput: one per cycle.
    Overflow: only rounding can overflow, by one; it saturates.
    Golden model: :func:`jalgateware.golden.blocks.quantise`.
    """

    LATENCY = 2

    def __init__(self) -> None:
        self.value = Signal((VECTOR.bits, True))
        self.shift = Signal(ACTIVATION_SHIFT_BITS)
        self.result = Signal((ACTIVATION.bits, True))

        # # #

        # One fraction bit stays for the rounding; the shift leaves at most 8 bits before it.
        shifted = Signal((ACTIVATION.bits + 1, True), reset_less=True)
        wide = Signal((VECTOR.bits + 1, True))
        # In steps of 8, of which the lower bits alone are of interest, then of 1.
        coarse = Signal(len(shifted) + 7)
        self.comb += [
            wide.eq(Cat(0, self.value)),
            coarse.eq(Array([moved_right(wide, 8 * i) for i in range(4)])[self.shift[3:]]),
        ]
        self.sync += [
            shifted.eq(Array([coarse[i : i + len(shifted)] for i in range(8)])[self.shift[:3]]),
            self.result.eq((shifted + 1) >> 1),
            If(shifted == (1 << ACTIVATION.bits) - 1, self.result.eq(ACTIVATION.maximum)),
        ]


def highest_bit(module: LiteXModule, value: Any) -> Any:
    """Number of the highest set bit of up to 32: of four bits at a time, which is the short way."""
    bits = Signal(32)
    groups = [bits[4 * i : 4 * i + 4] for i in range(8)]
    upper, lower = Signal(3), Signal(2)
    module.comb += bits.eq(value)
    inner = []
    for i, group in enumerate(groups):
        place = Signal(2)
        module.comb += place.eq(Cat(group[3] | (group[1] & ~group[2]), group[3] | group[2]))
        module.comb += If(group != 0, upper.eq(i))
        inner.append(place)
    module.comb += lower.eq(Array(inner)[upper])
    return Cat(lower, upper)


class Quantiser(LiteXModule):
    """Holds both activation buffers (X and H) and fills them block by block.

    A block's shift is the least that lets its largest magnitude fit 8 bits. The block is known when
    its 32nd element arrives, and is written ``PARALLEL`` elements per cycle while the next one
    comes in. The end of a vector fills its last block with zeros.

    Interface: ``invalidate`` with ``invalidate_buffer``: a buffer's content is not wanted any more;
    ``valid``, ``value`` {VECTOR}, ``buffer``, ``last`` (of the vector): elements in order,
    valid-only, at most one per cycle; ``ready_x``, ``ready_h``: valid blocks per buffer;
    ``read_buffer``, ``read_address`` -> ``activations``, ``shift`` one cycle later; ``square_sum``
    {2**-32 units}, ``square_sum_valid`` pulses once that of a vector for X is complete. Latency:
    ``latency`` cycles from a block's last element until it counts as ready, a few more for a last
    block that is shorter than the others. Throughput: one element per cycle. Overflow: see
    :class:`Narrow`; the square sum cannot overflow. Golden model:
    :func:`jalgateware.golden.blocks.quantise`, :func:`jalgateware.golden.blocks.square_sum`.
    """

    def __init__(self, config: EngineConfig) -> None:
        width = min(config.lanes, BLOCK)
        # The upper bit of an address tells the buffer, so each takes a power of two.
        depth = 1 << (max(config.max_dim, config.max_hidden) // width - 1).bit_length()
        counter = FIELDS["blocks"][1]
        self.invalidate = Signal()
        self.invalidate_buffer = Signal()
        self.valid = Signal()
        self.value = Signal((VECTOR.bits, True))
        self.buffer = Signal()
        self.last = Signal()
        self.ready_x = Signal(counter)
        self.ready_h = Signal(counter)
        self.read_buffer = Signal()
        self.read_address = Signal(max=depth)
        self.activations = Signal(8 * width)
        self.shift = Signal(ACTIVATION_SHIFT_BITS)
        self.square_sum = Signal(SQUARE_SUM_BITS)
        self.square_sum_valid = Signal()

        # # #

        self.parallel = 1 if config.slow_rows else min(4, width)
        self._collect()
        self._emit()
        self._store(config, depth)
        self._square()

    def _collect(self) -> None:
        """Stages elements of a block and finds its shift.

        Sets ``block_ready`` (pulse) with ``block_half``, ``block_shift``, ``block_count`` (elements
        - 1), ``block_number``, ``block_buffer`` and ``block_last`` one cycle after the block's last
        element; the shift is not registered.
        """
        banks, rows = self.parallel, BLOCK // self.parallel
        self.stage_ports = []
        position, half = Signal(max=BLOCK), Signal()
        magnitude, total = Signal(VECTOR.bits - 1), Signal(VECTOR.bits - 1)
        bank_bits = (banks - 1).bit_length()
        for bank in range(banks):
            memory = Memory(VECTOR.bits, 2 * rows)
            write = memory.get_port(write_capable=True)
            read = memory.get_port(async_read=True)
            self.specials += memory, write, read
            here = (position[:bank_bits] == bank) if bank_bits else 1
            self.comb += [
                write.adr.eq(Cat(position[bank_bits:], half)),
                write.dat_w.eq(self.value),
                write.we.eq(self.valid & here),
            ]
            self.stage_ports.append(read)
        sign = self.value[-1]
        self.comb += total.eq(
            magnitude | Mux(sign, ~self.value[: VECTOR.bits - 1], self.value[: VECTOR.bits - 1])
        )
        self.block_ready, self.block_half, self.block_last = Signal(), Signal(), Signal()
        self.block_count, self.block_shift = Signal(max=BLOCK), Signal(ACTIVATION_SHIFT_BITS)
        self.block_number, self.block_buffer = Signal(FIELDS["blocks"][1]), Signal()
        number = Signal(FIELDS["blocks"][1])
        complete = self.valid & (self.last | (position == BLOCK - 1))
        kept = ACTIVATION.bits - 1
        largest = Signal(VECTOR.bits - 1 - kept, reset_less=True)
        # A one below the first bit that needs a shift stands for none.
        self.comb += self.block_shift.eq(highest_bit(self, Cat(1, largest)))
        self.sync += [
            If(self.valid, magnitude.eq(total), position.eq(position + 1)),
            self.block_ready.eq(complete),
            If(
                complete,
                magnitude.eq(0),
                position.eq(0),
                half.eq(~half),
                self.block_half.eq(half),
                self.block_count.eq(position),
                self.block_last.eq(self.last),
                largest.eq(total[kept:]),
                self.block_number.eq(number),
                self.block_buffer.eq(self.buffer),
                number.eq(number + 1),
            ),
            If(self.valid & self.last, number.eq(0)),
        ]

    def _emit(self) -> None:
        """Quantises a staged block, ``parallel`` elements at a time."""
        parallel = self.parallel
        steps = BLOCK // parallel
        active, step = Signal(), Signal(max=steps)
        half, last = Signal(), Signal()
        count, shift = Signal(max=BLOCK), Signal(ACTIVATION_SHIFT_BITS)
        target, block = Signal(), Signal(FIELDS["blocks"][1])
        # A short last block may be complete before the one in front of it is through.
        start, waiting, last_step = Signal(), Signal(), Signal()
        self.comb += [
            last_step.eq(step == steps - 1),
            start.eq((self.block_ready | waiting) & (~active | last_step)),
        ]
        self.sync += [
            waiting.eq((self.block_ready | waiting) & ~start),
            If(active, step.eq(step + 1), If(last_step, active.eq(0))),
            If(
                start,
                active.eq(1),
                step.eq(0),
                half.eq(self.block_half),
                last.eq(self.block_last),
                count.eq(self.block_count),
                shift.eq(self.block_shift),
                target.eq(self.block_buffer),
                block.eq(self.block_number),
            ),
        ]
        # Which of a step's elements lie behind the vector's end, registered with the step.
        beyond = Signal(parallel)
        for lane in range(parallel):
            self.sync += [
                If(active, beyond[lane].eq((step + 1) * parallel + lane > count)),
                If(start, beyond[lane].eq(lane > self.block_count)),
            ]
        self.elements = []
        for lane, port in enumerate(self.stage_ports):
            narrow = Narrow()
            narrow.value.reset_less = narrow.shift.reset_less = True
            self.add_module(f"narrow{lane}", narrow)
            self.comb += port.adr.eq(Cat(step, half))
            # Staged values are registered before the shifter; behind the vector's end they are 0.
            self.sync += [
                narrow.value.eq(port.dat_r),
                If(beyond[lane], narrow.value.eq(0)),
                narrow.shift.eq(shift),
            ]
            self.elements.append(narrow.result)
        latency = 1 + Narrow.LATENCY
        self.element_valid = delayed(self, active, latency)
        self.element_step = delayed(self, step, latency)
        self.element_last = delayed(self, active & last_step, latency)
        self.element_shift = delayed(self, shift, latency)
        self.vector_last = delayed(self, last & ~target, latency)
        self.first_block = delayed(self, block == 0, latency)
        self.latency = 1 + steps + latency + 2
        self.place = delayed(self, Cat(block, target), latency + 1)

    def _store(self, config: EngineConfig, depth: int) -> None:
        """Gathers elements to a word, writes it with the last of them, and reads words."""
        width, parallel = min(config.lanes, BLOCK), self.parallel
        element_step = self.element_step
        pieces = width // parallel
        word_bits = (BLOCK // width - 1).bit_length()
        piece_bits = (pieces - 1).bit_length()
        gathered = Signal(8 * width, reset_less=True)
        new = Cat(gathered[8 * parallel :], *self.elements) if pieces > 1 else Cat(*self.elements)
        full = (element_step[:piece_bits] == pieces - 1) if pieces > 1 else 1
        words_memory = Memory(8 * width, 2 * depth)
        shifts_memory = Memory(ACTIVATION_SHIFT_BITS, 2 * depth * width // BLOCK)
        # Nobody reads a block before it counts as ready.
        words_memory.attr = {NEVER_COLLIDES}
        shifts_memory.attr = {NEVER_COLLIDES}
        write, write_shift = (
            memory.get_port(write_capable=True, mode=READ_FIRST)
            for memory in (words_memory, shifts_memory)
        )
        read, read_shift = (
            memory.get_port(mode=READ_FIRST) for memory in (words_memory, shifts_memory)
        )
        self.specials += words_memory, shifts_memory, write, write_shift, read, read_shift
        block_bits = len(self.read_address) - word_bits
        finished = delayed(self, self.element_last, 1)
        place, where = self.place[:block_bits], self.place[-1]
        block_address = [place, where]
        word_address = block_address
        if word_bits:
            word_address = [delayed(self, element_step[piece_bits:], 1), *block_address]
        self.sync += [
            If(self.element_valid, gathered.eq(new)),
            write.we.eq(self.element_valid & full),
            If(finished & ~where, self.ready_x.eq(place + 1)),
            If(finished & where, self.ready_h.eq(place + 1)),
            If(self.invalidate & ~self.invalidate_buffer, self.ready_x.eq(0)),
            If(self.invalidate & self.invalidate_buffer, self.ready_h.eq(0)),
        ]
        self.comb += [
            write.adr.eq(Cat(*word_address)),
            write.dat_w.eq(gathered),
            write_shift.adr.eq(Cat(*block_address)),
            write_shift.dat_w.eq(delayed(self, self.element_shift, 1)),
            write_shift.we.eq(finished),
            read.adr.eq(Cat(self.read_address, self.read_buffer)),
            read_shift.adr.eq(Cat(self.read_address[word_bits:], self.read_buffer)),
            self.activations.eq(read.dat_r),
            self.shift.eq(read_shift.dat_r),
        ]

    def _square(self) -> None:
        """Sums the squares of each block, then adds the block shifted by twice its shift."""
        squares = []
        for element in self.elements:
            square = Signal((2 * ACTIVATION.bits, True))
            self.sync += square.eq(element * element)
            squares.append(square)
        total, depth = registered_sum(self, squares)
        valid = delayed(self, self.element_valid, 1 + depth)
        block_last = delayed(self, self.element_last, 1 + depth)
        block_sum = Signal(20)
        block_done = Signal()
        self.sync += [
            If(valid, block_sum.eq(block_sum + total[: len(block_sum)])),
            # The sum restarts with the block behind a finished one.
            If(block_done, block_sum.eq(Mux(valid, total[: len(block_sum)], 0))),
            block_done.eq(valid & block_last),
        ]
        # Barrel shifter by 2 * shift in three stages, then the sum over blocks.
        shift = delayed(self, self.element_shift, 2 + depth)
        last = delayed(self, self.vector_last, 2 + depth)
        coarse, middle, fine = Signal(20 + 32), Signal(20 + 56), Signal(20 + 62)
        stages = 3
        self.sync += [
            coarse.eq(Array([block_sum, block_sum << 32])[shift[4]]),
            middle.eq(Array([coarse << (8 * i) for i in range(4)])[delayed(self, shift, 1)[2:4]]),
            fine.eq(Array([middle << (2 * i) for i in range(4)])[delayed(self, shift, 2)[:2]]),
        ]
        add = delayed(self, block_done, stages)
        first = delayed(self, self.first_block, 2 + depth + stages)
        self.sync += [
            If(add, self.square_sum.eq(Mux(first, 0, self.square_sum) + fine[:SQUARE_SUM_BITS])),
            self.square_sum_valid.eq(add & delayed(self, last, stages)),
        ]

"""To the first instruction whose result differs, and to the element and bit of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jalgateware.contract.isa import Destination, Instruction, Opcode, Source
from jalgateware.contract.tape import matrix_words
from jalgateware.golden.machine import Machine
from jalgateware.golden.mx import BlockMatrix, from_tape
from jalhost.models.plan import CLASSIFIER
from jalhost.verify.golden import Golden
from jalhost.verify.probe import Passed, Prober, Slice, Values
from jalhost.verify.report import Place, lowest_bit

UNITS = {
    Opcode.EMBED: "loader",
    Opcode.ROPE: "loader",
    Opcode.ATTEND: "attention",
    Opcode.MATVEC: "lanes",
}
"""What computes an instruction's result, first of all."""

BEHIND = {
    Destination.RESIDUAL: "vector unit, quantiser",
    Destination.SWIGLU: "vector unit, SwiGLU, quantiser",
    Destination.QUERY: "vector unit, rotary embedding",
    Destination.KEY: "vector unit, rotary embedding, KV writer",
    Destination.VALUE: "vector unit, KV writer",
    Destination.LOGITS: "vector unit",
}
"""What a matrix' rows pass behind the lanes."""

MOST_SLICES = 64
"""Slices of the classifier in a probe: a larger one is looked at where it matters."""


@dataclass(frozen=True)
class Difference:
    """What an instruction writes out, where it differs.

    Args:
        instruction: its index in the program.
        token_row: the engine's.
        element: of the vector, or row of the matrix.
        expected: the first value that differs; ``got``: what is there.
        elements: all elements that differ, of any token row.
        token_rows: all token rows in which one does.
        stop: the probe was cut off in front of this instruction.
        slices, wanted, seen: the whole probe.
    """

    instruction: int
    token_row: int
    element: int
    expected: int
    got: int
    elements: tuple[int, ...]
    token_rows: tuple[int, ...]
    stop: int
    slices: tuple[Slice, ...]
    wanted: Values
    seen: Values

    @property
    def bit(self) -> int:
        """The lowest bit that differs."""
        return lowest_bit((self.expected ^ self.got) & 0xFFFF)


class Bisection:
    """Compares instructions of a pass in their order.

    Args:
        golden: the golden model.
        prober: runs the probes.
        passed: the pass in which something differs.
        sampled: tokens that the classifier is looked at for, where it is too large as a whole.
    """

    def __init__(
        self, golden: Golden, prober: Prober, passed: Passed, sampled: Sequence[int] = ()
    ) -> None:
        self._golden, self._prober, self._passed = golden, prober, passed
        self._sampled = sampled

    def first(self, candidates: Sequence[int]) -> Difference | None:
        """The first of these instructions whose result differs; None if none does.

        Raises:
            DeviceError: the device failed.
        """
        for index in candidates:
            found = self._compare(index)
            if found:
                return found
        return None

    def _compare(self, index: int) -> Difference | None:
        stop, view = self._view(index)
        states = self._prober.states(self._passed, stop)
        slices = view(states)
        wanted = self._prober.expected(states, slices, self._passed)
        seen = self._prober.observed(self._passed, stop, slices)
        if view.rows is None and not np.array_equal(wanted, seen):
            # What goes wrong while it is written out is another thing: then it is elsewhere now.
            again = self._prober.observed(self._passed, stop, [slices[0], *slices])[1:]
            seen = np.where(again == wanted, again, seen)
        wrong = wanted != seen
        for number, item in enumerate(slices):
            wrong[number, :, item.used :] = False
        if not wrong.any():
            return None
        places = [
            (slices[number].first + row, token_row, number, row)
            for number, token_row, row in np.argwhere(wrong).tolist()
        ]
        element, token_row, number, row = min(places)
        return Difference(
            instruction=index,
            token_row=token_row,
            element=element,
            expected=int(wanted[number, token_row, row]),
            got=int(seen[number, token_row, row]),
            elements=tuple(sorted({item[0] for item in places})),
            token_rows=tuple(sorted({item[1] for item in places})),
            stop=stop,
            slices=tuple(slices),
            wanted=wanted,
            seen=seen,
        )

    def _view(self, index: int) -> tuple[int, "View"]:
        """How an instruction's result is looked at: where to cut, and what to write out."""
        item, a = self._golden.program[index], self._golden.architecture
        if item.opcode is Opcode.ATTEND:
            return index + 1, View(self._prober, Source.H, a.heads * a.head_dim)
        if item.opcode is Opcode.EMBED or item.destination is Destination.RESIDUAL:
            return index + 1, View(self._prober, Source.X, a.dim)
        if item.destination is Destination.SWIGLU:
            return index + 1, View(self._prober, Source.H, a.hidden)
        return index, View(self._prober, item.source, 0, self._rows(item))

    def _rows(self, item: Instruction) -> list[Slice]:
        """Slices of a matrix whose rows leave the engine otherwise than as an activation."""
        golden, rows = self._golden, self._prober.rows
        tape = golden.memory[item.base * golden.config.lanes :]
        matrix = from_tape(tape, golden.config, item.rows, item.blocks, item.format)
        shift, wanted = item.out_shift, range(item.rows)
        if item.destination is Destination.LOGITS:
            shift = self._logit_shift()
            if item.rows > MOST_SLICES * rows:
                return self.slices(matrix, item, shift, self._sampled)
        return self.slices(matrix, item, shift, wanted)

    def slices(
        self, matrix: BlockMatrix, like: Instruction, shift: int, wanted: Sequence[int]
    ) -> list[Slice]:
        """Slices that have these rows of a matrix, as they leave the vector unit.

        ``like``: its instruction. ``shift``: bits that are dropped.
        """
        starts = sorted({row - row % self._prober.rows for row in wanted})
        return [self._slice(matrix, like, first, shift) for first in starts]

    def _logit_shift(self) -> int:
        """Bits that logits drop to fit: theirs are below 2**15 in whole numbers."""
        largest = int(np.abs(self._golden.machine.logits).max())
        return max(0, largest.bit_length() + 1 - 15)

    def _slice(self, matrix: BlockMatrix, like: Instruction, first: int, shift: int) -> Slice:
        """Rows of a matrix: on the model's own tape where they begin a group there."""
        golden, rows = self._golden, self._prober.rows
        config, used = golden.config, min(rows, matrix.rows - first)
        kind = Destination.KEY if like.destination is Destination.QUERY else like.destination
        kind = Destination.VALUE if kind is Destination.LOGITS else kind
        words = matrix_words(config, rows, matrix.blocks, matrix.form)
        ahead = first * matrix.blocks
        if (
            used == rows
            and ahead % config.lanes == 0
            and (rows * matrix.blocks) % config.lanes == 0
        ):
            base = like.base + matrix_words(config, first, matrix.blocks, matrix.form)
            return Slice(
                Instruction(
                    Opcode.MATVEC,
                    destination=kind,
                    source=like.source,
                    norm=like.norm,
                    format=like.format,
                    fraction=like.fraction,
                    out_shift=shift,
                    blocks=matrix.blocks,
                    rows=rows,
                    words=words,
                    base=base,
                ),
                None,
                first,
                used,
            )
        elements = np.zeros((rows, *matrix.elements.shape[1:]), dtype=np.int8)
        scales = np.zeros((rows, matrix.blocks), dtype=np.uint8)
        elements[:used] = matrix.elements[first : first + used]
        scales[:used] = matrix.scales[first : first + used]
        part = BlockMatrix(elements, scales, matrix.form)
        like = Instruction(Opcode.MATVEC, destination=kind, norm=like.norm, fraction=like.fraction)
        return self._prober.matrix(part, Source.X, first, used, like, shift)


@dataclass(frozen=True)
class View:
    """What is written out: an activation buffer of so many elements, or ``rows`` of a matrix."""

    prober: Prober
    source: Source
    length: int
    rows: list[Slice] | None = None

    def __call__(self, states: Sequence[Machine]) -> list[Slice]:
        """The slices, with what the golden model knows about the buffers."""
        if self.rows is not None:
            return self.rows
        shifts = np.stack([state.buffers[self.source].shifts for state in states])
        return self.prober.vector(self.source, self.length, shifts)


def difference_place(golden: Golden, found: Difference, passed: Passed) -> Place:
    """For a report."""
    item = golden.program[found.instruction]
    unit = UNITS[item.opcode]
    if item.opcode is Opcode.MATVEC:
        unit = f"{unit}, {BEHIND[item.destination]}"
    name = golden.name(found.instruction)
    return Place(
        instruction=found.instruction,
        name=name,
        unit=unit,
        tensor=name if item.opcode in (Opcode.MATVEC, Opcode.EMBED) else None,
        position=passed.position + found.token_row,
        token_row=found.token_row,
        row=found.element,
        bit=found.bit,
        expected=found.expected,
        got=found.got,
    )


def is_classifier(golden: Golden, index: int) -> bool:
    """Whether an instruction computes logits."""
    return golden.name(index) == CLASSIFIER

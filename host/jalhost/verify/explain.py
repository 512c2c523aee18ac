"""What explains a result that differs, where the lanes are sound: a word of DRAM, or a unit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jalgateware.contract.isa import Destination, Instruction, Opcode, Source
from jalgateware.contract.tape import block_address, row_block
from jalgateware.golden.machine import Machine
from jalgateware.golden.mx import from_tape
from jalgateware.golden.rounding import Integers
from jalhost.verify.bisect import Bisection, Difference
from jalhost.verify.golden import Golden
from jalhost.verify.probe import Passed, Prober, Slice

MOST_WORDS = 256
"""Words that are tried one after the other."""


PORTS = (2, 4, 8)
"""Numbers of read ports that engines have."""


@dataclass(frozen=True)
class WrongWord:
    """A word on the tape that arrived as another one, both by their addresses on it."""

    word: int
    instead: int


class Explanation:
    """Tries explanations of a difference.

    Args:
        golden: the golden model.
        prober: runs probes.
        passed: the pass in which it is.
        found: the difference.
    """

    def __init__(self, golden: Golden, prober: Prober, passed: Passed, found: Difference) -> None:
        self._golden, self._prober, self._passed, self._found = golden, prober, passed, found
        self._item = golden.program[found.instruction]
        self._states = prober.states(passed, found.instruction)

    # A word that arrives as another one.

    def wrong_word(self, tape_word: int) -> WrongWord | None:
        """The word whose loss gives exactly what the device has, if there is one.

        ``tape_word``: where the tape begins in DRAM, in words: bursts begin at multiples of theirs.
        """
        words = sorted(self._words())[:MOST_WORDS]
        for distance in self._distances():
            for word in words:
                if self._is_likely(word + tape_word, distance) and self._explains(
                    word, word + distance
                ):
                    return WrongWord(word, word + distance)
        return None

    def _distances(self) -> list[int]:
        """From a word to what stands in for it: what came before it on its port, or its neighbour.

        Ports take bursts in turn; how many ports there are a device does not tell.
        """
        burst = self._golden.config.port_burst_words
        return [-1, *(-(ports - 1) * burst - 1 for ports in PORTS), 1]

    def _is_likely(self, word: int, distance: int) -> bool:
        """Where a burst begins, what came before it on its port is the end of an earlier one."""
        begins = word % self._golden.config.port_burst_words == 0
        return distance > 0 or begins == (distance < -1)

    def _words(self) -> set[int]:
        """Words on the tape that what differs was computed from."""
        config, item = self._golden.config, self._item
        if item.opcode is Opcode.EMBED:
            rows: set[int] = {self._passed.tokens[row] for row in self._found.token_rows}
        elif item.opcode is Opcode.MATVEC:
            rows = set(self._matrix_rows())
        else:
            return set()
        found = set()
        for row in rows:
            for block in range(item.blocks):
                index = row_block(config, row, block, item.blocks, item.format)
                scale, _, word, _ = block_address(config, index, item.format)
                found |= {item.base + scale}
                found |= {item.base + word + i for i in range(config.words_per_block)}
        return found

    def _matrix_rows(self) -> Iterator[int]:
        for element in self._found.elements:
            if self._item.destination is Destination.SWIGLU:
                yield from (2 * element, 2 * element + 1)
            elif self._item.destination in (Destination.QUERY, Destination.KEY):
                yield from (element, element ^ 1)
            else:
                yield element

    def _explains(self, word: int, instead: int) -> bool:
        memory, lanes = self._golden.memory, self._golden.config.lanes
        if not 0 <= instead < len(memory) // lanes:
            return False
        here = slice(word * lanes, (word + 1) * lanes)
        kept = memory[here].copy()
        memory[here] = memory[instead * lanes : (instead + 1) * lanes]
        try:
            states = [state.fork() for state in self._states]
            if self._found.stop > self._found.instruction:
                for row, state in enumerate(states):
                    state.patch([self._item, Instruction(Opcode.END)], memory)
                    state.step(self._passed.tokens[row], self._passed.position + row, None)
            values = self._prober.expected(states, self._found.slices, self._passed)
        finally:
            memory[here] = kept
        return all(
            np.array_equal(values[number, :, : item.used], self._found.seen[number, :, : item.used])
            for number, item in enumerate(self._found.slices)
        )

    # A unit.

    def unit(self) -> str | None:
        """Which unit, of those that the rows of a matrix pass; None where that is clear anyway.

        The rows are written out before and behind 1/rms, past what else they go through.
        """
        if self._item.opcode is not Opcode.MATVEC:
            return None
        if self._differs(norm=0):
            return "lanes, output scaler"
        if self._item.norm and self._differs(norm=1):
            return "norm (1/rms)"
        return {
            Destination.RESIDUAL: "residual adder, quantiser",
            Destination.SWIGLU: "SwiGLU, quantiser",
            Destination.QUERY: "rotary embedding",
            Destination.KEY: "rotary embedding",
        }.get(self._item.destination, "vector unit")

    def _differs(self, norm: int) -> bool:
        """Whether the matrix' rows differ, with 1/rms or without."""
        golden = self._golden
        item = replace(self._item, destination=Destination.LOGITS, norm=norm)
        tape = golden.memory[item.base * golden.config.lanes :]
        matrix = from_tape(tape, golden.config, item.rows, item.blocks, item.format)
        largest = max(int(np.abs(raw_rows(state, item)).max()) for state in self._states)
        shift = max(0, largest.bit_length() - 15)
        bisection = Bisection(golden, self._prober, self._passed)
        slices: Sequence[Slice] = bisection.slices(matrix, item, shift, self._rows_near())
        wanted = self._prober.expected(self._states, slices, self._passed)
        seen = self._prober.observed(self._passed, self._found.instruction, slices)
        return any(
            not np.array_equal(wanted[number, :, : part.used], seen[number, :, : part.used])
            for number, part in enumerate(slices)
        )

    def _rows_near(self) -> list[int]:
        """Rows that the first element which differs is computed from."""
        element = self._found.element
        if self._item.destination is Destination.SWIGLU:
            return [2 * element, 2 * element + 1]
        return [element]


def raw_rows(state: Machine, item: Instruction) -> Integers:
    """A matrix' rows as they leave the output scaler."""
    other = state.fork()
    other.trace = {}
    other.cache = {}
    plain = replace(
        item, destination=Destination.LOGITS, sampled_only=0, source=Source(item.source)
    )
    other.patch([plain, Instruction(Opcode.END)], state.memory)
    other.step(0, 0, None)
    return other.trace[0]

"""Which lane multiplies wrongly: a matrix that shows each bit of each product on its own.

The activations are all 1. Each bundle of rows has -1 in one column and zeros elsewhere, so a lane
multiplies to 0 in all bundles but those of its columns, and there to -1: each bit of its products
is seen as 0 and as 1. What a stuck bit makes of the rows is different for each lane, bit and value.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, ELEMENTS, KV, SCALE_BIAS, VECTOR, WEIGHT
from jalgateware.contract.isa import Format, Instruction, Opcode, Source
from jalgateware.contract.tape import rows_together
from jalgateware.golden.mx import BlockMatrix, to_tape
from jalhost.verify.probe import Prober, Slice, Values
from jalhost.verify.stuck import StuckBit, deviation, product_bits

LEVELS = (0, 6)
"""Bits that are dropped: a product of 16 bits does not fit a value together with its sign."""

Dots = npt.NDArray[np.int64]


def pattern_rows(config: EngineConfig) -> int:
    """Rows of the matrix: a bundle for each column of a block."""
    return BLOCK * rows_together(config, Format.MXFP4 if config.mxfp4 else Format.MXINT8)


def pattern(config: EngineConfig, form: Format, rows: int) -> npt.NDArray[np.int8]:
    """The matrix (rows, 32): bundle by bundle -1 in the next column, zeros behind them.

    Of two MXFP4 rows that share products only the lower one has it: then a product is all ones.
    """
    bundle = rows_together(config, form)
    elements = np.zeros((rows, BLOCK), dtype=np.int8)
    numbers = np.arange(0, BLOCK * bundle, 2 if form is Format.MXFP4 else 1)
    elements[numbers, numbers // bundle] = -1
    return elements


def dots(config: EngineConfig, form: Format, rows: int, stuck: StuckBit | None) -> Dots:
    """Sums of the rows' products (rows,), with a stuck bit in the lanes, or without."""
    elements = pattern(config, form, rows).astype(np.int64)[None]
    sums = elements.sum(axis=2)
    if stuck:
        sums = sums + deviation(config, form, elements, np.ones((1, BLOCK), dtype=np.int64), stuck)
    return np.asarray(sums[0])


def written(sums: Dots) -> Values:
    """What the engine writes of sums: (levels, rows)."""
    levels = [np.floor((sums + ((1 << level) >> 1)) / (1 << level)) for level in LEVELS]
    return np.clip(levels, KV.minimum, KV.maximum).astype(np.int16)


def hypotheses(config: EngineConfig) -> Iterator[StuckBit]:
    """Everything that can be stuck."""
    bits = product_bits(config)
    for lane in range(config.lanes):
        for bit in range(bits):
            for value in (0, 1):
                yield StuckBit(lane, bit, value)


@dataclass(frozen=True)
class LaneVerdict:
    """What the test says of a token row: ``sound``, and the stuck bit where one explains it."""

    token_row: int
    sound: bool
    stuck: StuckBit | None


class LaneTest:
    """Runs the matrix through the lanes of all token rows.

    Args:
        prober: runs it.
    """

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self._config = prober.golden.config
        self._forms = list(Format) if self._config.mxfp4 else [Format.MXINT8]
        # Whole slices: rows behind the pattern are zeros.
        self._rows = -(-pattern_rows(self._config) // prober.rows) * prober.rows

    def run(self) -> list[LaneVerdict]:
        """Verdicts on all token rows.

        Raises:
            DeviceError: the device failed.
        """
        config, prober = self._config, self._prober
        blocks = prober.golden.architecture.dim // BLOCK
        table = BlockMatrix(
            np.ones((1, blocks, BLOCK), dtype=np.int8),
            np.full((1, blocks), SCALE_BIAS + WEIGHT.fraction - VECTOR.fraction, dtype=np.uint8),
        )
        base = prober.own_words(to_tape(table, config))
        embed = Instruction(Opcode.EMBED, base=base, blocks=blocks)
        verdicts = self._verdicts([embed])
        if any(not item.sound and item.stuck is None for item in verdicts):
            # Perhaps a word of the test itself was lost on the way: now it is another one.
            again = self._verdicts([embed, embed])
            pairs = zip(verdicts, again, strict=True)
            verdicts = [after if after.sound else before for before, after in pairs]
        return verdicts

    def _verdicts(self, program: list[Instruction]) -> list[LaneVerdict]:
        rows = self._config.tokens
        seen = self._prober.run_alone(program, self._slices(), rows)
        seen = seen.transpose(1, 0, 2).reshape(rows, len(self._forms), len(LEVELS), -1)
        return [self._verdict(row, seen[row]) for row in range(rows)]

    def _slices(self) -> list[Slice]:
        rows, found = self._prober.rows, []
        for form in self._forms:
            elements = pattern(self._config, form, self._rows)[:, None]
            scale = SCALE_BIAS + ELEMENTS[form].fraction
            for level in LEVELS:
                for first in range(0, self._rows, rows):
                    part = elements[first : first + rows]
                    scales = np.full((rows, 1), scale, dtype=np.uint8)
                    matrix = BlockMatrix(part, scales, form)
                    found.append(self._prober.matrix(matrix, Source.X, first, out_shift=level))
        return found

    def _predicted(self, stuck: StuckBit | None) -> Values:
        return np.stack(
            [written(dots(self._config, form, self._rows, stuck)) for form in self._forms]
        )

    def _verdict(self, token_row: int, seen: Values) -> LaneVerdict:
        """``seen``: (formats, levels, rows)."""
        if np.array_equal(seen, self._predicted(None)):
            return LaneVerdict(token_row, True, None)
        for stuck in hypotheses(self._config):
            if np.array_equal(seen, self._predicted(stuck)):
                return LaneVerdict(token_row, False, stuck)
        return LaneVerdict(token_row, False, None)

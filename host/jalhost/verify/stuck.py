"""A model of lanes with a stuck bit: the golden model with one multiplier wrong."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, WEIGHT, WEIGHT_FP4
from jalgateware.contract.isa import Format
from jalgateware.golden.blocks import Activations, Weights, align
from jalgateware.golden.machine import Machine
from jalgateware.golden.rounding import Integers

FIELD = 13
"""Where the upper one of two MXFP4 products begins in what a lane multiplies."""

Products = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StuckBit:
    """A bit of a lane's product that is always ``value``."""

    lane: int
    bit: int
    value: int

    def __call__(self, products: Products) -> Products:
        """Products as this lane has them."""
        mask = np.int64(1 << self.bit)
        return np.asarray(products | mask if self.value else products & ~mask)


def product_bits(config: EngineConfig) -> int:
    """Bits of a lane's product."""
    return 2 * FIELD if config.mxfp4 else 2 * WEIGHT.bits


def deviation(
    config: EngineConfig,
    form: Format,
    elements: Products,
    activations: Products,
    stuck: StuckBit,
) -> Products:
    """By how much dot products of blocks (blocks, rows) are off.

    ``elements``: (blocks, rows, 32). ``activations``: (blocks, 32).
    """
    columns = min(config.lanes, BLOCK)
    part, column = divmod(stuck.lane, columns)
    used = slice(column, BLOCK, columns)
    products = elements[:, :, used] * activations[:, None, used]
    off = np.zeros_like(products)
    rows = np.arange(elements.shape[1])
    if form is Format.MXINT8:
        here = rows % config.rows_parallel == part
        off[:, here] = _signed(stuck(products[:, here]), 2 * WEIGHT.bits) - products[:, here]
    else:
        # Two rows share a multiplication, the upper one FIELD bits above the lower one.
        low = rows[(rows % 2 == 0) & (rows // 2 % config.rows_parallel == part)]
        upper = np.zeros_like(products[:, low])
        paired = low + 1 < len(rows)
        upper[:, paired] = products[:, low[paired] + 1]
        both = stuck(products[:, low] + (upper << FIELD))
        below = _signed(both, FIELD)
        off[:, low] = below - products[:, low]
        above = _signed(both >> FIELD, FIELD) + (below < 0)
        off[:, low[paired] + 1] = (above - upper)[:, paired]
    return np.asarray(off.sum(axis=2))


def _signed(values: Products, bits: int) -> Products:
    """The lowest bits as a signed number."""
    half = np.int64(1 << (bits - 1))
    return np.asarray(((values & ((1 << bits) - 1)) ^ half) - half)


class StuckMachine(Machine):
    """The golden model of a token row in which a bit is stuck."""

    stuck: StuckBit

    def multiply(self, weights: Weights, activations: Activations, fraction: int) -> Integers:
        """As :func:`jalgateware.golden.blocks.dot_rows`, but for the stuck bit."""
        form = Format.MXFP4 if weights.fraction == WEIGHT_FP4.fraction else Format.MXINT8
        elements = weights.elements.astype(np.int64)
        dots = (elements * activations.elements[:, None]).sum(axis=2)
        dots += deviation(self.config, form, elements, activations.elements, self.stuck)
        shift = (
            weights.scales.astype(np.int64)
            + (activations.shifts + weights.unit + fraction)[:, None]
        )
        terms = align(dots.astype(np.float64), shift, self.tally)
        return np.asarray(terms.sum(axis=0), dtype=np.int64)


def with_stuck_bit(machine: Machine, stuck: StuckBit) -> StuckMachine:
    """A machine in the same state whose lanes have a stuck bit; with a cache of its own."""
    other = StuckMachine(machine.config, machine.memory, machine.program, machine.context)
    vars(other).update(vars(machine.fork()))
    other.stuck = stuck
    other.cache = {base: region.copy() for base, region in machine.cache.items()}
    return other

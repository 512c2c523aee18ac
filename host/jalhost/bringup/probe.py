"""DRAM looked at by the bus alone: this works where the firmware has given up on it."""

import random

from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN, SCRATCH_OFFSET
from jalhost.bringup.bench import Bench
from jalhost.bringup.lines import Observation
from jalhost.links.link import Link

WORDS = 32
"""At least a word of any controller's port, and small enough for one request."""

ASSUMED_DATA_BITS = 16
"""Where nobody tells how many data lines there are: those of one chip."""


def patterns() -> list[list[int]]:
    """Blocks of words: constants, walking ones and zeros, noise; the same each time."""
    source = random.Random(3)
    ones = [1 << index for index in range(32)]
    blocks = [[value] * WORDS for value in (0, 0xFFFFFFFF, 0x55555555, 0xAAAAAAAA)]
    blocks += [ones, [word ^ 0xFFFFFFFF for word in ones]]
    blocks += [[source.getrandbits(32) for _ in range(WORDS)] for _ in range(4)]
    return blocks


def probe_data(link: Link) -> Observation:
    """Writes and reads blocks in one place of the scratch region."""
    place = MAIN_RAM_ORIGIN + SCRATCH_OFFSET
    observed = Observation()
    for block in patterns():
        link.write(place, block)
        for index, (expected, found) in enumerate(zip(block, link.read(place, WORDS), strict=True)):
            observed.note(index, expected, found)
    return observed


def data_bits(bench: Bench) -> int:
    """Data lines of the DRAM, as far as the build tells."""
    build = bench.build
    return build.geometry.data_bits if build and build.geometry else ASSUMED_DATA_BITS

"""Geometry of the weight tape: how blocks, scales and rows lie in engine words.

A matrix on the tape is a run of *groups*. A group is one word of scales followed by the elements of
as many blocks: ``lanes`` scale bytes, then ``lanes`` blocks of 32 elements, 33 words in all. So a
scale costs exactly 1/32 of its block and words never straddle. Each matrix starts a new group; its
last group is cut short behind the last block.

Blocks follow in the order in which the engine consumes them: row by row, and within a row by
column. Where a word is wider than a block, ``rows_parallel`` rows advance together, each giving one
block in turn; missing rows of the last bundle are zero.
"""

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK

GROUP_WORDS = BLOCK + 1
"""Words of a full group: its scales and its elements."""


def matrix_blocks(config: EngineConfig, rows: int, blocks: int) -> int:
    """Blocks on the tape for a matrix of ``rows`` x ``blocks`` * 32, with padding rows."""
    bundle = config.rows_parallel
    return -(-rows // bundle) * bundle * blocks


def matrix_words(config: EngineConfig, rows: int, blocks: int) -> int:
    """Engine words that a matrix of ``rows`` x ``blocks`` * 32 takes on the tape."""
    full, rest = divmod(matrix_blocks(config, rows, blocks), config.lanes)
    tail = 1 + -(-rest * BLOCK // config.lanes) if rest else 0
    return full * GROUP_WORDS + tail


def row_block(config: EngineConfig, row: int, block: int, blocks: int) -> int:
    """Index on the matrix's tape of block ``block`` of row ``row``."""
    bundle, lane = divmod(row, config.rows_parallel)
    return (bundle * blocks + block) * config.rows_parallel + lane


def block_address(config: EngineConfig, index: int) -> tuple[int, int, int, int]:
    """Where a block lies, relative to its matrix.

    Returns:
        (scale word, byte in it, first element word, byte in it).
    """
    group, member = divmod(index, config.lanes)
    word, byte = divmod(member * BLOCK, config.lanes)
    return group * GROUP_WORDS, member, group * GROUP_WORDS + 1 + word, byte

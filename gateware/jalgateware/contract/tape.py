"""Geometry of the weight tape: how blocks, scales and rows lie in engine words.

A matrix on the tape is a run of *groups*. A group is one word of scales followed by the elements of
as many blocks: ``lanes`` scale bytes, then ``lanes`` blocks of 32 elements. That makes 33 words in
MXINT8 and 17 in MXFP4, so a scale costs exactly 1/32 or 1/16 of its block and words never straddle.
Each matrix starts a new group; its last group is cut short behind the last blocks.

Rows advance in *bundles*, whose rows give one block in turn. Blocks follow in the order in which
the engine consumes them: bundle by bundle, within it by column, and of each column the bundle's
rows; missing rows of the last bundle are zero.

- MXINT8: a bundle is what shares a word: one row, or ``lanes`` / 32 where a word is wider than a
  block. A block's elements lie in one piece, a byte each.
- MXFP4: a bundle has twice as many rows, and each word of elements holds the same ``columns`` (32
  or, where words are narrower, ``lanes``) of all of them: row j of the bundle takes bytes
  [j * columns / 2, (j + 1) * columns / 2), column c the lower half of byte c // 2 there if c is
  even, else the upper half. The next word has the next columns. So an activation meets two rows at
  a time, and the words per block of a bundle are those of MXINT8.
"""

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, ELEMENT_BITS
from jalgateware.contract.isa import Format

SCALE_BYTES = 1
"""A block's scale."""


def block_bytes(form: Format) -> int:
    """Bytes of a block: its elements and their scale."""
    return SCALE_BYTES + BLOCK * ELEMENT_BITS[form] // 8


def group_words(form: Format) -> int:
    """Words of a full group: its scales and its elements."""
    return block_bytes(form)


def rows_together(config: EngineConfig, form: Format) -> int:
    """Rows of a bundle: they advance together."""
    return config.rows_parallel * (2 if form is Format.MXFP4 else 1)


def word_columns(config: EngineConfig) -> int:
    """Columns of a row that a word of elements holds."""
    return min(config.lanes, BLOCK)


def matrix_blocks(
    config: EngineConfig, rows: int, blocks: int, form: Format = Format.MXINT8
) -> int:
    """Blocks on the tape for a matrix of ``rows`` x ``blocks`` * 32, with padding rows."""
    bundle = rows_together(config, form)
    return -(-rows // bundle) * bundle * blocks


def matrix_words(config: EngineConfig, rows: int, blocks: int, form: Format = Format.MXINT8) -> int:
    """Engine words that a matrix of ``rows`` x ``blocks`` * 32 takes on the tape."""
    full, rest = divmod(matrix_blocks(config, rows, blocks, form), config.lanes)
    elements = rest * (block_bytes(form) - SCALE_BYTES)
    tail = 1 + -(-elements // config.lanes) if rest else 0
    return full * group_words(form) + tail


def row_block(
    config: EngineConfig, row: int, block: int, blocks: int, form: Format = Format.MXINT8
) -> int:
    """Index on the matrix's tape of block ``block`` of row ``row``."""
    rows = rows_together(config, form)
    bundle, lane = divmod(row, rows)
    return (bundle * blocks + block) * rows + lane


def block_address(
    config: EngineConfig, index: int, form: Format = Format.MXINT8
) -> tuple[int, int, int, int]:
    """Where a block lies, relative to its matrix.

    Returns:
        (scale word, byte in it, first element word, byte in it). In MXFP4 the block goes on at the
        same byte of the bundle's next words, ``word_columns`` / 2 bytes in each.
    """
    group, member = divmod(index, config.lanes)
    start = group * group_words(form)
    if form is Format.MXINT8:
        word, byte = divmod(member * BLOCK, config.lanes)
        return start, member, start + 1 + word, byte
    bundle, row = divmod(member, rows_together(config, form))
    word = bundle * config.words_per_block
    return start, member, start + 1 + word, row * word_columns(config) // 2

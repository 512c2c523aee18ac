"""What lies where in an image: from a byte of DRAM back to tensor, row, column and bit."""

from dataclasses import dataclass

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK
from jalgateware.contract.image_header import ImageHeader
from jalgateware.contract.isa import INSTRUCTION_WORDS, Format
from jalgateware.contract.tape import group_words, rows_together, word_columns
from jalhost.models.compiler import Layout
from jalhost.models.plan import MatrixShape


@dataclass(frozen=True)
class BlobPlace:
    """What a byte of an image belongs to.

    Args:
        tensor: ``header``, ``program``, ``drafts``, ``rope``, ``padding`` or a matrix.
        part: ``element`` or ``scale`` of a matrix, empty elsewhere.
        row: instruction, position of the rotary table, or row of the matrix.
        column: column of the element; of a scale, the first of its block.
    """

    tensor: str
    part: str = ""
    row: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        """For people."""
        if self.tensor == "program":
            return f"instruction {self.row} of the program"
        if self.tensor == "rope":
            return f"position {self.row}, element {self.column} of the rotary table"
        if self.row is None:
            return f"the image's {self.tensor}"
        if self.part == "scale":
            columns = f"columns {self.column} to {(self.column or 0) + BLOCK - 1}"
            return f"matrix {self.tensor}, scale of row {self.row}, {columns}"
        return f"matrix {self.tensor}, row {self.row}, column {self.column}"


PADDING = BlobPlace("padding")


def blob_place(
    header: ImageHeader, place: Layout, config: EngineConfig, offset: int, bit: int = 0
) -> BlobPlace:
    """What bit ``bit`` of the byte at ``offset`` of an image belongs to."""
    if offset < header.header_bytes:
        return BlobPlace("header")
    if offset >= header.tape_offset:
        return _tape_place(place, config, offset - header.tape_offset, bit)
    if offset >= header.drafts_offset and header.draft_words:
        entry = (offset - header.drafts_offset) // 4
        return BlobPlace("drafts", row=entry) if entry < header.draft_words else PADDING
    instruction = (offset - header.program_offset) // (4 * INSTRUCTION_WORDS)
    return BlobPlace("program", row=instruction) if instruction < header.instructions else PADDING


def _tape_place(place: Layout, config: EngineConfig, offset: int, bit: int) -> BlobPlace:
    word, byte = divmod(offset, config.lanes)
    for shape, address in reversed(place.matrices.values()):
        if word >= address:
            if word >= address + shape.words(config):
                return PADDING
            return matrix_place(config, shape, word - address, byte, bit)
    row, rest = divmod(offset, place.rope_words * config.lanes)
    return BlobPlace("rope", row=row, column=rest // 2)


def matrix_place(
    config: EngineConfig, shape: MatrixShape, word: int, byte: int, bit: int
) -> BlobPlace:
    """What a bit of a matrix' word belongs to; inverse of the contract's ``block_address``."""
    group, inner = divmod(word, group_words(shape.form))
    part, column, member = "element", 0, byte
    if inner == 0:
        part = "scale"
    elif shape.form is Format.MXINT8:
        member, column = divmod((inner - 1) * config.lanes + byte, BLOCK)
    else:
        columns, bundle = word_columns(config), rows_together(config, shape.form)
        local, step = divmod(inner - 1, config.words_per_block)
        row, pair = divmod(byte, columns // 2)
        member = local * bundle + row
        column = step * columns + 2 * pair + (bit >= 4)
    row, block = _row_block(config, shape, group * config.lanes + member)
    if row >= shape.rows:
        return PADDING
    return BlobPlace(shape.name, part, row, block * BLOCK + column)


def _row_block(config: EngineConfig, shape: MatrixShape, index: int) -> tuple[int, int]:
    """Row, and block of it, of the block with this index on the matrix' tape."""
    rows = rows_together(config, shape.form)
    position, lane = divmod(index, rows)
    bundle, block = divmod(position, shape.blocks)
    return bundle * rows + lane, block

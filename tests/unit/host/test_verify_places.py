"""From a byte of an image back to what it belongs to."""

import numpy as np
import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import Format
from jalgateware.golden.mx import from_tape
from jalhost.models.blob import build_blob
from jalhost.models.plan import MatrixShape
from jalhost.verify.golden import Golden
from jalhost.verify.places import blob_place, matrix_place
from jaltest.tiny import mixed_formats, tiny_image

ROWS, BLOCKS = 11, 3


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("lanes", [2, 16, 64])
def test_place_is_what_a_flipped_bit_changes(lanes: int, form: Format) -> None:
    """The golden model's own unpacking says what a bit belongs to."""
    config = EngineConfig(lanes=lanes, mxfp4=True)
    shape = MatrixShape("m", ROWS, BLOCKS, form)
    generator = np.random.default_rng(lanes)
    tape = generator.integers(0, 256, shape.words(config) * lanes, dtype=np.uint8)
    before = from_tape(tape, config, ROWS, BLOCKS, form)
    changed = 0
    for offset in range(len(tape)):
        bit = int(generator.integers(8))
        tape[offset] ^= 1 << bit
        after = from_tape(tape, config, ROWS, BLOCKS, form)
        tape[offset] ^= 1 << bit
        place = matrix_place(config, shape, offset // lanes, offset % lanes, bit)
        scales = np.argwhere(after.scales != before.scales).tolist()
        elements = np.argwhere(after.elements != before.elements).tolist()
        if scales:
            ((row, block),) = scales
            assert (place.part, place.row, place.column) == ("scale", row, 32 * block)
        if elements:
            ((row, block, column),) = elements
            expected = ("element", row, 32 * block + column)
            assert (place.part, place.row, place.column) == expected
        changed += bool(scales or elements)
    assert changed > len(tape) // 2


def test_parts_of_an_image() -> None:
    config = EngineConfig(mxfp4=True)
    image = tiny_image(formats=mixed_formats())
    blob, golden = build_blob(image, config), Golden(image, config)
    header = blob.header

    def name(offset: int, bit: int = 0) -> str:
        return str(blob_place(header, golden.layout, config, offset, bit))

    assert name(header.header_bytes - 1) == "the image's header"
    assert name(header.program_offset + 16 * 11 + 3) == "instruction 11 of the program"
    row = 2 * image.plan.architecture.head_dim
    text = "position 2, element 3 of the rotary table"
    assert name(header.tape_offset + 2 * row + 3 * 2 + 1) == text
    _, address = golden.layout.matrices["1.key"]
    assert (
        name(header.tape_offset + address * 16) == "matrix 1.key, scale of row 0, columns 0 to 31"
    )
    assert name(header.tape_offset + address * 16 + 16 + 5, 7).startswith("matrix 1.key, row 0")
    assert name(len(blob.data) - 1) == "the image's padding"

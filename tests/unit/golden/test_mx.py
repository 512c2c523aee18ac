"""MXINT8 encoding and the way onto the tape and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, SCALE_BIAS
from jalgateware.contract.tape import block_address, matrix_words, row_block
from jalgateware.golden.mx import BlockMatrix, encode, from_tape, to_tape

LANES = [2, 4, 8, 16, 32, 64]


def random_matrix(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(0, 1, (rows, columns)) * 2.0 ** random.integers(-20, 20, (rows, 1))


def test_encoding_error_is_half_a_step() -> None:
    matrix = random_matrix(50, 96)
    blocks = matrix.reshape(50, 3, BLOCK)
    back = encode(matrix).dequantise().reshape(50, 3, BLOCK)
    largest = np.abs(blocks).max(axis=2, keepdims=True)
    # The step is 2**-6 of the block's largest power of two, or twice that where it would clip.
    assert (np.abs(back - blocks) <= largest / 64 + 1e-30).all()


@pytest.mark.parametrize(
    ("value", "scale", "element"),
    [
        (1.0, 0, 64),
        (-1.0, 0, -64),
        (127 / 64, 0, 127),
        (127.49 / 64, 0, 127),
        (127.5 / 64, 1, 64),  # would round to 128
        (-127.5 / 64, 1, -64),
        (2.0**-130, -127, 8),  # below the smallest scale
        (0.0, -127, 0),
    ],
)
def test_scales_of_the_specification(value: float, scale: int, element: int) -> None:
    matrix = encode(np.array([[value]]))
    assert int(matrix.scales[0, 0]) == scale + SCALE_BIAS
    assert int(matrix.elements[0, 0, 0]) == element
    assert not matrix.elements[0, 0, 1:].any()


def test_infinite_values_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        encode(np.array([[np.inf]]))


@given(st.sampled_from(LANES), st.integers(1, 70), st.integers(1, 5))
def test_tape_round_trip(lanes: int, rows: int, blocks: int) -> None:
    config = EngineConfig(lanes=lanes)
    random = np.random.default_rng(rows)
    matrix = BlockMatrix(
        random.integers(-127, 128, (rows, blocks, BLOCK)).astype(np.int8),
        random.integers(0, 255, (rows, blocks)).astype(np.uint8),
    )
    tape = to_tape(matrix, config)
    assert len(tape) == matrix_words(config, rows, blocks) * lanes
    back = from_tape(tape, config, rows, blocks)
    assert np.array_equal(back.elements, matrix.elements)
    assert np.array_equal(back.scales, matrix.scales)


@given(st.sampled_from(LANES), st.integers(1, 70), st.integers(1, 5), st.data())
def test_blocks_lie_where_the_contract_says(
    lanes: int, rows: int, blocks: int, data: st.DataObject
) -> None:
    config = EngineConfig(lanes=lanes)
    matrix = encode(random_matrix(rows, blocks * BLOCK, rows))
    tape = to_tape(matrix, config).reshape(-1, lanes)
    row, block = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, blocks - 1))
    index = row_block(config, row, block, blocks)
    scale_word, scale_byte, word, byte = block_address(config, index)
    assert tape[scale_word, scale_byte] == matrix.scales[row, block]
    elements = tape.reshape(-1)[word * lanes + byte :][:BLOCK].view(np.int8)
    assert np.array_equal(elements, matrix.elements[row, block])

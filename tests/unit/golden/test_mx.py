"""MX encoding and the way onto the tape and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, E2M1_DOUBLED, SCALE_BIAS
from jalgateware.contract.isa import Format
from jalgateware.contract.tape import block_address, matrix_words, row_block, word_columns
from jalgateware.golden.mx import BlockMatrix, encode, from_tape, round_to_e2m1, to_tape

LANES = [2, 4, 8, 16, 32, 64]
FORMATS = st.sampled_from(Format)
E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
"""Value of each code, from the MX specification."""


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


@pytest.mark.parametrize(("code", "value"), list(enumerate(E2M1)))
def test_every_code_means_what_the_specification_says(code: int, value: float) -> None:
    config = EngineConfig(lanes=2)
    tape = np.zeros(matrix_words(config, 1, 1, Format.MXFP4) * 2, dtype=np.uint8)
    tape[0], tape[2] = SCALE_BIAS + 3, code << 4  # column 1 of row 0
    matrix = from_tape(tape, config, 1, 1, Format.MXFP4)
    assert matrix.elements[0, 0, 1] == 2 * value
    assert matrix.dequantise()[0, 1] == 8 * value
    assert np.count_nonzero(matrix.elements) == (value != 0)
    if code != 8:  # a negative zero becomes zero
        assert np.array_equal(to_tape(matrix, config), tape)


@given(st.floats(-8, 8))
def test_e2m1_rounds_to_the_nearest_code_and_ties_to_even(value: float) -> None:
    rounded = round_to_e2m1(np.array([2 * value]))[0] / 2
    best = min(abs(item - value) for item in E2M1)
    assert abs(rounded - value) == best
    nearest = [code for code, item in enumerate(E2M1[:8]) if abs(item - abs(value)) == best]
    if len(nearest) > 1:
        assert E2M1.index(abs(rounded)) % 2 == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.25, 0), (0.75, 1), (1.25, 1), (1.75, 2), (2.5, 2), (3.5, 4), (5, 4), (7, 6), (1e30, 6)],
)
def test_e2m1_ties_and_ends(value: float, expected: float) -> None:
    doubled = round_to_e2m1(np.array([2 * value, -2 * value]))
    assert doubled.tolist() == [2 * expected, -2 * expected]


@given(st.integers(0, 1000), st.sampled_from([-130, -20, 0, 100]))
def test_mxfp4_takes_the_best_of_three_scales(seed: int, exponent: int) -> None:
    values = np.random.default_rng(seed).standard_t(3, BLOCK) * 2.0**exponent
    matrix = encode(values[None], Format.MXFP4)
    usual = int(np.frexp(np.abs(values).max())[1]) - 1 - 2
    losses = {}
    for scale in {max(usual + step, -SCALE_BIAS) for step in (-1, 0, 1)}:
        back = round_to_e2m1(values * 2.0 ** (1 - scale)) * 2.0 ** (scale - 1)
        losses[scale] = float(((back / 2.0**exponent - values / 2.0**exponent) ** 2).sum())
    chosen = int(matrix.scales[0, 0]) - SCALE_BIAS
    assert losses[chosen] == min(losses.values())
    expected = round_to_e2m1(values * 2.0 ** (1 - chosen))
    assert np.array_equal(matrix.elements[0, 0], expected)


@pytest.mark.parametrize(
    ("values", "scale", "elements"),
    [
        ([4.0, 1.0], 0, [8, 2]),
        ([0.0, 0.0], -127, [0, 0]),
        ([2.0**-140, 0.0], -127, [0, 0]),
        ([2.0**-127, 0.0], -127, [2, 0]),
        ([7.5, 0.0], 1, [8, 0]),  # 8 is nearer than 6
        ([4.0, *[0.25] * 31], -1, [12, *[1] * 31]),  # clipping one saves the others
        ([6 * 2.0**127, 0.0], 127, [12, 0]),
        ([2.0**140, -(2.0**140)], 127, [12, -12]),
    ],
)
def test_mxfp4_scales(values: list[float], scale: int, elements: list[int]) -> None:
    matrix = encode(np.array([values]), Format.MXFP4)
    assert int(matrix.scales[0, 0]) - SCALE_BIAS == scale
    assert matrix.elements[0, 0, : len(elements)].tolist() == elements


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 130), st.integers(0, 3))
def test_float32_is_encoded_as_float64_is(seed: int, rows: int, columns: int, kind: int) -> None:
    random = np.random.default_rng(seed)
    values: np.ndarray
    if kind == 0:  # any bits at all
        values = random.integers(0, 2**32, (rows, columns), dtype=np.uint32).view(np.float32)
    elif kind == 1:  # numbers halfway between integers
        values = random.integers(-256, 257, (rows, columns)) / np.float32(2)
    elif kind == 2:  # the ends of what there is
        ends = [0, -0.0, 127.5, -127.49, 1e-45, 2.0**-126, -3.4e38]
        values = random.choice(np.array(ends, dtype=np.float32), (rows, columns))
    else:
        values = random.normal(0, 1, (rows, columns)) * 2.0 ** random.integers(-149, 127, (rows, 1))
    matrix = np.where(np.isfinite(values), values, 0).astype(np.float32)
    found, wanted = encode(matrix), encode(matrix.astype(np.float64))
    assert np.array_equal(found.elements, wanted.elements)
    assert np.array_equal(found.scales, wanted.scales)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinite_values_are_refused_in_float32(value: float) -> None:
    matrix = np.ones((3, 70), dtype=np.float32)
    matrix[2, 69] = value
    with pytest.raises(ValueError, match="not finite"):
        encode(matrix)


def test_infinite_values_are_refused_in_mxfp4() -> None:
    with pytest.raises(ValueError, match="not finite"):
        encode(np.array([[np.nan]]), Format.MXFP4)


def any_matrix(rows: int, blocks: int, form: Format) -> BlockMatrix:
    random = np.random.default_rng(rows)
    codes = [*E2M1_DOUBLED, *(-item for item in E2M1_DOUBLED)]
    values = range(-127, 128) if form is Format.MXINT8 else codes
    return BlockMatrix(
        random.choice(values, (rows, blocks, BLOCK)).astype(np.int8),
        random.integers(0, 255, (rows, blocks)).astype(np.uint8),
        form,
    )


@given(st.sampled_from(LANES), st.integers(1, 70), st.integers(1, 5), FORMATS)
def test_tape_round_trip(lanes: int, rows: int, blocks: int, form: Format) -> None:
    config = EngineConfig(lanes=lanes)
    matrix = any_matrix(rows, blocks, form)
    tape = to_tape(matrix, config)
    assert len(tape) == matrix_words(config, rows, blocks, form) * lanes
    back = from_tape(tape, config, rows, blocks, form)
    assert np.array_equal(back.elements, matrix.elements)
    assert np.array_equal(back.scales, matrix.scales)
    assert back.form is form


@given(st.sampled_from(LANES), st.integers(1, 70), st.integers(1, 5), FORMATS, st.data())
def test_blocks_lie_where_the_contract_says(
    lanes: int, rows: int, blocks: int, form: Format, data: st.DataObject
) -> None:
    config = EngineConfig(lanes=lanes)
    matrix = any_matrix(rows, blocks, form)
    tape = to_tape(matrix, config).reshape(-1, lanes)
    row, block = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, blocks - 1))
    index = row_block(config, row, block, blocks, form)
    scale_word, scale_byte, word, byte = block_address(config, index, form)
    assert tape[scale_word, scale_byte] == matrix.scales[row, block]
    if form is Format.MXINT8:
        elements = tape.reshape(-1)[word * lanes + byte :][:BLOCK].view(np.int8).tolist()
    else:
        columns = word_columns(config)
        elements = []
        for column in range(BLOCK):
            pair = int(tape[word + column // columns, byte + column % columns // 2])
            elements.append(int(2 * E2M1[pair >> 4 if column % 2 else pair & 0xF]))
    assert elements == matrix.elements[row, block].tolist()


def test_mxfp4_words_of_the_default_geometry() -> None:
    matrix = BlockMatrix(
        np.stack([np.full((1, BLOCK), 1), np.full((1, BLOCK), -12), np.full((1, BLOCK), 2)]).astype(
            np.int8
        ),
        np.array([[100], [101], [102]], dtype=np.uint8),
        Format.MXFP4,
    )
    tape = to_tape(matrix, EngineConfig(lanes=16)).reshape(-1, 16)
    assert tape[0].tolist() == [100, 101, 102, *[0] * 13]
    assert tape[1:].tolist() == [[0x11] * 8 + [0xFF] * 8] * 2 + [[0x22] * 8 + [0] * 8] * 2

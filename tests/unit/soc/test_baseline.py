"""The CPU's arithmetic in NumPy, its image, and the C functions that no library brings."""

import ctypes
import dataclasses
import math
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from jalfirmware.baseline.build import FOLDER
from jalfirmware.baseline.layout import MAGIC, Report, State, Word, c_header
from jalhost.errors import UsageError
from jalhost.models.architecture import Architecture, Model
from jalhost.models.llama2c import read_checkpoint
from jalhost.models.reference import Reference
from jalhost.models.tokenizer import BOS
from jalsoc.baseline.export import build_image, matrix_bytes, rope_rows
from jalsoc.baseline.quantised import Groups, QuantisedModel, continue_greedily, quantise
from jalsoc.baseline.run import Measurement, check_room
from jalsoc.sim.config import SimulatorConfig
from jaltest.tiny import ARCHITECTURE, tiny_model

GROUP = 16
UNEVEN = dataclasses.replace(ARCHITECTURE, hidden=86)
"""The last group of a hidden vector has 6 columns."""


def random_matrix(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(columns).normal(size=(rows, columns)).astype(np.float32)


@pytest.mark.parametrize("columns", [16, 48, 22, 5])
def test_a_group_keeps_seven_bits_of_its_largest(columns: int) -> None:
    matrix = random_matrix(7, columns)
    groups = quantise(matrix, GROUP)
    assert groups.elements.shape == matrix.shape
    assert groups.scales.shape == (7, -(-columns // GROUP))
    scales = np.repeat(groups.scales, GROUP, axis=1)[:, :columns]
    assert (np.abs(groups.dequantise() - matrix) <= scales * 0.5001).all()
    for start in range(0, columns, GROUP):
        part = groups.elements[:, start : start + GROUP]
        assert (np.abs(part.astype(int)).max(axis=1) == 127).all()


def test_zeros_stay_zeros() -> None:
    groups = quantise(np.zeros((2, 20), dtype=np.float32), GROUP)
    assert not groups.elements.any()
    assert not groups.dequantise().any()


def test_halves_are_rounded_away_from_zero() -> None:
    values = np.array([[127, 2.5, -2.5, 0.49]], dtype=np.float32)
    assert quantise(values, 4).elements.tolist() == [[127, 3, -3, 0]]


@pytest.mark.parametrize("columns", [16, 64, 22])
def test_a_product_is_that_of_both_quantised(columns: int) -> None:
    matrix, vector = quantise(random_matrix(9, columns), GROUP), random_matrix(1, columns)[0]
    quantised = quantise(vector[None], GROUP).dequantise()[0].astype(np.float64)
    expected = matrix.dequantise().astype(np.float64) @ quantised
    assert np.allclose(matrix.times(vector), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("a", [UNEVEN, dataclasses.replace(UNEVEN, tied=False, kv_heads=4)])
def test_logits_are_close_to_float32(a: Architecture) -> None:
    model = tiny_model(a)
    quantised, reference = QuantisedModel(model, GROUP), Reference(model)
    for position, token in enumerate([1, 259, 270, 100, 3]):
        logits, expected = quantised.step(token, position), reference.step([token], position)[0]
        assert np.corrcoef(logits, expected)[0, 1] > 0.999


def test_stories_are_those_of_float32(stories260k: Path) -> None:
    model = read_checkpoint(stories260k)
    reference, token, expected = Reference(model), BOS, []
    for position in range(24):
        token = int(np.argmax(reference.step([token], position)[0]))
        expected.append(token)
    assert continue_greedily(QuantisedModel(model, 64), (BOS,), 24) == expected


def test_a_prompt_is_read_before_tokens_are_counted() -> None:
    model = tiny_model(UNEVEN)
    first = continue_greedily(QuantisedModel(model, GROUP), (1, 259), 3)
    again = continue_greedily(QuantisedModel(model, GROUP), (1, 259, *first[:2]), 1)
    assert again == first[2:]


def words_of(image: bytes) -> dict[Word, int]:
    return dict(zip(Word, struct.unpack_from(f"<{len(Word)}I", image), strict=True))


def read_matrix(image: bytes, offset: int, like: Groups) -> Groups:
    """Reads a matrix as the C program does: word by word, in one direction."""
    rows, columns = like.elements.shape
    elements, scales = np.zeros_like(like.elements), np.zeros_like(like.scales)
    for row in range(rows):
        for index in range(scales.shape[1]):
            scales[row, index] = struct.unpack_from("<f", image, offset)[0]
            size = min(like.group, columns - index * like.group)
            part = np.frombuffer(image, np.int8, size, offset + 4)
            elements[row, index * like.group : index * like.group + size] = part
            offset += 4 + -(-size // 4) * 4
    return Groups(elements, scales, like.group)


def same(a: Groups, b: Groups) -> bool:
    return np.array_equal(a.elements, b.elements) and np.array_equal(a.scales, b.scales)


def check_image(source: Model, prompt: tuple[int, ...], count: int, depth: int) -> None:
    model = QuantisedModel(source, GROUP)
    image = build_image(model, prompt, count, depth)
    words = words_of(image)
    positions = len(prompt) + count - 1

    def floats(offset: int, length: int) -> np.ndarray:
        return np.frombuffer(image, "<f4", length, offset)

    assert (words[Word.MAGIC], words[Word.END]) == (MAGIC, len(image))
    assert words[Word.POSITIONS] == depth + positions
    assert struct.unpack_from(f"<{len(prompt)}I", image, words[Word.PROMPT]) == prompt
    rope = rope_rows(model, depth, positions).reshape(-1)
    assert np.array_equal(floats(words[Word.ROPE], rope.size), rope)
    assert same(read_matrix(image, words[Word.EMBEDDING], model.embedding), model.embedding)
    assert same(read_matrix(image, words[Word.CLASSIFIER], model.classifier), model.classifier)
    one_row = Groups(model.embedding.elements[5:6], model.embedding.scales[5:6], GROUP)
    row = words[Word.EMBEDDING] + 5 * words[Word.EMBEDDING_STRIDE]
    assert same(read_matrix(image, row, one_row), one_row)
    dim = source.architecture.dim
    assert np.array_equal(floats(words[Word.FINAL_NORM], dim), model.final_norm)
    for index, layer in enumerate(model.layers):
        start = words[Word.LAYER] + index * words[Word.LAYER_STRIDE]
        assert np.array_equal(floats(start + words[Word.FFN_NORM], dim), layer.ffn_norm)
        norm = floats(start + words[Word.ATTENTION_NORM], dim)
        assert np.array_equal(norm, layer.attention_norm)
        for word in (Word.QUERY, Word.KEY, Word.VALUE, Word.OUTPUT, Word.GATE, Word.UP, Word.DOWN):
            matrix = getattr(layer, word.name.lower())
            assert same(read_matrix(image, start + words[word], matrix), matrix), word


@pytest.mark.parametrize("tied", [True, False])
def test_an_image_holds_the_model_and_the_run(tied: bool) -> None:
    model = tiny_model(dataclasses.replace(UNEVEN, tied=tied))
    check_image(model, (1, 7, 9), 4, 5)


def test_a_matrix_is_in_the_order_of_its_use() -> None:
    matrix = Groups(np.arange(12, dtype=np.int8).reshape(2, 6), np.ones((2, 2), np.float32), 4)
    one = struct.pack("<f", 1.0)
    expected = one + bytes([0, 1, 2, 3]) + one + bytes([4, 5, 0, 0])
    expected += one + bytes([6, 7, 8, 9]) + one + bytes([10, 11, 0, 0])
    assert matrix_bytes(matrix) == expected


@pytest.mark.parametrize(
    ("prompt", "count", "depth", "message"),
    [
        ((), 1, 0, "0 prompt tokens"),
        ((1,), 0, 0, "1 prompt tokens and 0 more"),
        ((1,), 1, -1, "from position -1"),
        ((1, 2), 60, 4, "2 prompt tokens and 60 more from position 4"),
        ((1, 1000), 1, 0, "beyond the vocabulary of 274"),
    ],
)
def test_runs_that_cannot_be_are_refused(
    prompt: tuple[int, ...], count: int, depth: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_image(QuantisedModel(tiny_model(), GROUP), prompt, count, depth)


def test_a_model_that_is_too_large_names_the_memory_it_needs() -> None:
    config = SimulatorConfig(dram_mib=2)
    check_room(ARCHITECTURE, bytes(500_000), 64, config)
    with pytest.raises(UsageError, match=r"needs 6\.\d MiB of 2 MiB") as error:
        check_room(ARCHITECTURE, bytes(5 << 20), 64, config)
    assert error.value.hint == "--dram-mib 8"


def test_the_mean_is_over_the_tokens() -> None:
    assert Measurement([5, 6], [100, 300], [0, 1]).cycles_per_token == 200


def test_the_header_has_every_name() -> None:
    header = c_header()
    for kind, prefix in ((Word, "WORD"), (Report, "REPORT"), (State, "STATE")):
        for member in kind:
            assert f"#define {prefix}_{member.name} {int(member):#x}u\n" in header


@pytest.fixture(scope="module")
def arithmetic(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = tmp_path_factory.mktemp("arithmetic") / "arithmetic.so"
    source = FOLDER / "arithmetic.c"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    result = ctypes.CDLL(str(library))
    for name in ("exponential", "reciprocal_root"):
        getattr(result, name).restype = ctypes.c_float
        getattr(result, name).argtypes = [ctypes.c_float]
    return result


def test_the_exponential_function(arithmetic: ctypes.CDLL) -> None:
    for x in np.linspace(-79, 79, 20_001).astype(np.float32).tolist():
        assert arithmetic.exponential(x) == pytest.approx(math.exp(x), rel=5e-6)
    assert arithmetic.exponential(0.0) == 1.0
    assert arithmetic.exponential(-1e9) == 0.0
    assert arithmetic.exponential(1e9) == arithmetic.exponential(80.0) > 5e34


def test_the_reciprocal_square_root(arithmetic: ctypes.CDLL) -> None:
    for x in np.logspace(-12, 12, 10_001).astype(np.float32).tolist():
        assert arithmetic.reciprocal_root(x) == pytest.approx(x**-0.5, rel=1e-6)

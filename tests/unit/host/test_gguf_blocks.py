"""Blocks of GGUF files become the numbers that gguf-py makes of them, bit for bit."""

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from hypothesis import given
from hypothesis import strategies as st

from jalhost.models.gguf_blocks import BLOCK_TYPES, decode_blocks

KINDS = st.sampled_from(sorted(BLOCK_TYPES))

HALVES = {"Q8_0": (0,), "Q4_0": (0,), "Q4_K": (0, 2), "Q6_K": (208,), "MXFP4": ()}
"""Where a block has half-precision numbers."""

EXTREMES = (0x0000, 0x8000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E01)
"""Zeros, the smallest, one, the largest, infinities, and no number."""


def assert_same(kind: str, raw: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        wanted = dequantize(raw, GGMLQuantizationType[kind])
    found = decode_blocks(kind, raw)
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    nothing = np.isnan(wanted)
    assert np.array_equal(np.isnan(found), nothing)
    assert np.array_equal(found.view(np.uint32)[~nothing], wanted.view(np.uint32)[~nothing])


@pytest.mark.parametrize("kind", sorted(BLOCK_TYPES))
def test_sizes_are_those_of_gguf(kind: str) -> None:
    form = BLOCK_TYPES[kind]
    assert (form.elements, form.bytes) == GGML_QUANT_SIZES[GGMLQuantizationType[kind]]


@given(KINDS, st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_any_bytes(kind: str, rows: int, blocks: int, seed: int) -> None:
    size = blocks * BLOCK_TYPES[kind].bytes
    assert_same(kind, np.random.default_rng(seed).integers(0, 256, (rows, size), dtype=np.uint8))


@given(KINDS, st.sampled_from(EXTREMES), st.sampled_from(EXTREMES), st.integers(0, 1000))
def test_extreme_scales(kind: str, first: int, second: int, seed: int) -> None:
    form = BLOCK_TYPES[kind]
    raw = np.random.default_rng(seed).integers(0, 256, (3, 2 * form.bytes), dtype=np.uint8)
    blocks = raw.reshape(-1, form.bytes)
    for place, value in zip(HALVES[kind], (first, second), strict=False):
        blocks[:, place : place + 2] = np.frombuffer(value.to_bytes(2, "little"), np.uint8)
    assert_same(kind, raw)


def test_every_scale_and_code_of_mxfp4() -> None:
    raw = np.zeros((256, 17), dtype=np.uint8)
    raw[:, 0] = np.arange(256)
    raw[:, 1:] = np.arange(256).reshape(16, 16)[np.arange(256) % 16]
    assert_same("MXFP4", raw)

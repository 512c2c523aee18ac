"""Lanes with a stuck bit: what the test pattern shows, and a model of them."""

import numpy as np
import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import Format
from jalgateware.golden.blocks import quantise
from jalgateware.golden.machine import Machine
from jalgateware.golden.mx import BlockMatrix, encode
from jalhost.verify.lane_test import Dots, dots, hypotheses, pattern, pattern_rows, written
from jalhost.verify.stuck import StuckBit, deviation, with_stuck_bit

CONFIGS = [EngineConfig(lanes=lanes, mxfp4=mxfp4) for lanes in (2, 16) for mxfp4 in (False, True)]
CONFIGS.append(EngineConfig(lanes=64))


def seen(config: EngineConfig, stuck: StuckBit | None) -> bytes:
    forms = list(Format) if config.mxfp4 else [Format.MXINT8]
    rows = pattern_rows(config)
    return b"".join(written(dots(config, form, rows, stuck)).tobytes() for form in forms)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda item: f"{item.lanes}-{item.mxfp4}")
def test_every_stuck_bit_shows_otherwise(config: EngineConfig) -> None:
    shown = {seen(config, None)}
    count = 1
    for stuck in hypotheses(config):
        shown.add(seen(config, stuck))
        count += 1
    assert len(shown) == count


def test_pattern_without_a_fault() -> None:
    config = EngineConfig(lanes=16, mxfp4=True)
    assert pattern(config, Format.MXFP4, 64)[::2].sum(axis=1).tolist() == [-1] * 32
    assert dots(config, Format.MXFP4, 64, None)[1::2].tolist() == [0] * 32


def test_deviation_of_single_products() -> None:
    """By hand: 3 * 5 = 0b1111 in lane 2 of 16, that is in columns 2 and 18."""
    config = EngineConfig(lanes=16)
    elements = np.zeros((1, 1, 32), dtype=np.int64)
    elements[0, 0, [2, 18, 3]] = 3, -1, 3
    activations = np.full((1, 32), 5, dtype=np.int64)

    def off(bit: int, value: int) -> int:
        stuck = StuckBit(2, bit, value)
        return int(deviation(config, Format.MXINT8, elements, activations, stuck).item())

    assert off(0, 1) == 0  # 15 and -5 are odd
    assert off(0, 0) == -2
    assert off(4, 1) == 16  # -5 has it
    assert off(15, 0) == 1 << 15  # the sign of -5
    assert off(15, 1) == -(1 << 15)


def test_deviation_in_the_upper_one_of_two_rows() -> None:
    config = EngineConfig(lanes=16, mxfp4=True)
    elements = np.zeros((1, 2, 32), dtype=np.int64)
    elements[0, :, 7] = 2, 3
    activations = np.ones((1, 32), dtype=np.int64)

    def off(stuck: StuckBit) -> list[int]:
        values: Dots = deviation(config, Format.MXFP4, elements, activations, stuck)
        return [int(value) for value in values[0]]

    # Lane 7 has columns 7 and 23; the latter's products are 0.
    assert off(StuckBit(7, 13 + 2, 1)) == [0, 4 + 4]
    assert off(StuckBit(7, 13, 0)) == [0, -1]
    assert off(StuckBit(7, 2, 1)) == [4 + 4, 0]
    # The lower row's sign: what it borrows is given back by the upper one.
    assert off(StuckBit(7, 12, 1)) == [-2 * 4096, 2]


def test_machine_with_a_stuck_bit() -> None:
    config = EngineConfig()
    machine = Machine(config, np.zeros(0, dtype=np.uint8), [], 1)
    generator = np.random.default_rng(1)
    matrix: BlockMatrix = encode(generator.normal(0, 1, (8, 64)).astype(np.float32))
    activations = quantise(generator.integers(-(1 << 20), 1 << 20, 64))
    right = machine.multiply(matrix.weights(), activations, 20)
    # Bits beyond what MXINT8 uses change nothing, so this is the golden model's dot product.
    sound = with_stuck_bit(machine, StuckBit(0, 25, 1))
    assert sound.multiply(matrix.weights(), activations, 20).tolist() == right.tolist()
    wrong = with_stuck_bit(machine, StuckBit(5, 13, 1))
    assert (wrong.multiply(matrix.weights(), activations, 20) != right).any()

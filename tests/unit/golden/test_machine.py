"""The whole engine against the float32 reference, and its rules."""

import dataclasses

import numpy as np
import pytest

from jalgateware.contract import isa
from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import VECTOR
from jalgateware.contract.isa import Format
from jalgateware.golden.machine import Machine
from jalgateware.golden.sampler import Sampling
from jalhost.models.architecture import Architecture
from jalhost.models.convert import prepare
from jalhost.models.plan import uniform_formats
from jalhost.models.reference import Reference
from jaltest.tiny import ARCHITECTURE, tiny_image, tiny_model

SHAPES = [
    ARCHITECTURE,
    dataclasses.replace(ARCHITECTURE, kv_heads=4),  # no grouping
    dataclasses.replace(ARCHITECTURE, kv_heads=1),  # one KV head for all
    dataclasses.replace(ARCHITECTURE, hidden=41, layers=1),  # padded blocks
    dataclasses.replace(ARCHITECTURE, head_dim=6, heads=3, kv_heads=3),  # padded KV words
    dataclasses.replace(ARCHITECTURE, tied=False, rope_theta=500_000.0, epsilon=1e-6),
]
TOKENS = [1, 259, 270, 100, 3, 265, 1, 260]


def machine_for(a: Architecture, config: EngineConfig | None = None) -> Machine:
    config = config or EngineConfig()
    executable = prepare(tiny_image(a), config)
    return Machine(config, executable.memory, executable.program, a.context)


@pytest.mark.parametrize("a", SHAPES)
def test_logits_are_close_to_float32(a: Architecture) -> None:
    machine, reference = machine_for(a), Reference(tiny_model(a))
    for position, token in enumerate(TOKENS):
        expected = reference.step([token], position)[0]
        sampled = machine.step(token, position, Sampling())
        logits = machine.logits / (1 << VECTOR.fraction)
        assert sampled == int(np.argmax(machine.logits))
        assert np.corrcoef(logits, expected)[0, 1] > 0.995
        assert np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()
    assert machine.tally.saturations == 0


def test_mxfp4_matrices_are_further_from_float32_but_close() -> None:
    config = EngineConfig(mxfp4=True)
    image = tiny_image(formats=uniform_formats(ARCHITECTURE, Format.MXFP4, Format.MXFP4))
    executable = prepare(image, config)
    machine = Machine(config, executable.memory, executable.program, ARCHITECTURE.context)
    plain, reference = machine_for(ARCHITECTURE), Reference(tiny_model())
    for position, token in enumerate(TOKENS):
        expected = reference.step([token], position)[0]
        machine.step(token, position, Sampling())
        plain.step(token, position, Sampling())
        assert np.corrcoef(machine.logits, expected)[0, 1] > 0.9
        assert (
            np.corrcoef(machine.logits, expected)[0, 1] < np.corrcoef(plain.logits, expected)[0, 1]
        )
    assert machine.tally.saturations == 0


def test_prefill_leaves_the_same_state() -> None:
    silent, sampling = machine_for(ARCHITECTURE), machine_for(ARCHITECTURE)
    for position, token in enumerate(TOKENS):
        assert silent.step(token, position, None) is None
        sampling.step(token, position, Sampling())
    assert silent.step(7, len(TOKENS), Sampling()) == sampling.step(7, len(TOKENS), Sampling())
    assert np.array_equal(silent.logits, sampling.logits)


def test_a_new_text_does_not_see_the_old_one() -> None:
    used, fresh = machine_for(ARCHITECTURE), machine_for(ARCHITECTURE)
    for position, token in enumerate(reversed(TOKENS)):
        used.step(token, position, Sampling())
    for position, token in enumerate(TOKENS):
        used.step(token, position, Sampling())
        fresh.step(token, position, Sampling())
        assert np.array_equal(used.logits, fresh.logits)


def test_sequences_do_not_see_each_other() -> None:
    config = EngineConfig(tokens=3)
    together = machine_for(ARCHITECTURE, config)
    alone = [machine_for(ARCHITECTURE) for _ in range(3)]
    texts = [TOKENS, TOKENS[::-1], TOKENS[3:] + TOKENS[:3]]
    for position in range(len(TOKENS)):
        for sequence, machine in enumerate(alone):
            token = texts[sequence][position]
            sampled = together.step(token, position, Sampling(), sequence)
            assert sampled == machine.step(token, position, Sampling())
            assert np.array_equal(together.logits, machine.logits)
    stride = together.registers[isa.Register.SEQUENCE_STRIDE]
    for sequence, machine in enumerate(alone):
        for address, region in machine.cache.items():
            assert np.array_equal(together.cache[address + sequence * stride], region)
    assert len(together.cache) == 3 * len(alone[0].cache)


def test_sequences_that_the_engine_lacks_are_refused() -> None:
    machine = machine_for(ARCHITECTURE, EngineConfig(tokens=2))
    for sequence in (-1, 2):
        with pytest.raises(ValueError, match=f"sequence {sequence}: this engine decodes 2"):
            machine.step(1, 0, None, sequence)


def test_trace_names_every_matrix() -> None:
    machine = machine_for(ARCHITECTURE)
    machine.trace = {}
    machine.step(1, 0, Sampling())
    matvecs = [i for i, item in enumerate(machine.program) if item.opcode is isa.Opcode.MATVEC]
    assert list(machine.trace) == matvecs


def test_registers_are_set_once() -> None:
    machine = machine_for(ARCHITECTURE)
    machine.step(1, 0, None)
    # All but HEAD_EPSILON, of models whose heads are normalised.
    assert machine.start == len(isa.Register) - 1
    assert machine.registers[isa.Register.HEAD_DIM] == ARCHITECTURE.head_dim


def test_positions_outside_the_context_are_refused() -> None:
    machine = machine_for(ARCHITECTURE)
    for position in (-1, ARCHITECTURE.context):
        with pytest.raises(ValueError, match=f"position {position} is outside the context of 64"):
            machine.step(1, position, None)

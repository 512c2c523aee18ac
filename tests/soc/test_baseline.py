"""The model on the CPU alone, in simulation, token for token as NumPy computes it."""

import dataclasses
import json
from pathlib import Path

import pytest

from jalhost.models.architecture import Architecture
from jalsoc.baseline.__main__ import main
from jalsoc.baseline.quantised import QuantisedModel, continue_greedily
from jalsoc.baseline.run import CYCLES_PER_WEIGHT, measure
from jalsoc.sim.build import SimulatorBuild
from jaltest.tiny import tiny_model, write_checkpoint

pytestmark = [pytest.mark.sim, pytest.mark.slow]

GROUP = 8
TINY = Architecture(
    dim=16,
    hidden=22,  # its last group is short, and no multiple of 4
    layers=1,
    heads=4,
    kv_heads=2,
    head_dim=4,
    vocabulary=24,
    context=32,
)


@pytest.mark.parametrize(("tied", "depth"), [(True, 0), (False, 9)])
def test_tokens_are_those_of_the_model(simulator_build: object, tied: bool, depth: int) -> None:
    assert isinstance(simulator_build, SimulatorBuild)
    model = tiny_model(dataclasses.replace(TINY, tied=tied), seed=3)
    prompt, count = (1, 17), 2
    result = measure(simulator_build, QuantisedModel(model, GROUP), prompt, count, depth)
    expected = continue_greedily(QuantisedModel(model, GROUP), prompt, count, depth)
    assert result.tokens == expected
    assert result.positions == [depth + 1, depth + 2]
    # The multiplier alone takes 33 cycles for each weight.
    weights = model.architecture.parameters
    assert all(33 * weights < cycles < CYCLES_PER_WEIGHT * weights for cycles in result.cycles)


def test_the_command_prints_what_it_measured(
    simulator_build: object,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "tiny.bin"
    write_checkpoint(tiny_model(TINY, seed=3), path)
    arguments = ["baseline", str(path), "--tokens", "1", "--group", str(GROUP), "--json"]
    monkeypatch.setattr("sys.argv", arguments)
    assert main() == 0
    printed = json.loads(capsys.readouterr().out)
    model = QuantisedModel(tiny_model(TINY, seed=3), GROUP)
    assert printed["token_ids"] == continue_greedily(model, (1,), 1)
    assert printed["positions"] == [0]
    assert printed["cycles_per_token"] == printed["cycles"][0]

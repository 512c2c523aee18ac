"""Images with random weights."""

import sys
from pathlib import Path

import numpy as np
import pytest

from jalgateware.golden.sampler import Sampling
from jalhost.engine.emulator import Emulator
from jalhost.models.architecture import Architecture
from jalhost.models.convert import matrices
from jalhost.models.image import GEOMETRY
from jalhost.models.image_file import load_image
from jalhost.models.plan import matrix_shapes
from tools import random_model
from tools.random_model import PRESETS, random_image

SHAPE = Architecture(
    dim=96, hidden=100, layers=6, heads=8, kv_heads=2, head_dim=10, vocabulary=300, context=64
)


def test_activations_stay_in_range() -> None:
    emulator = Emulator(GEOMETRY)
    emulator.load(random_image(SHAPE, "x"))
    machine = emulator._machine
    assert machine
    for position, token in enumerate((1, 50, 100, 200, 299)):
        machine.step(token, position, Sampling())
        spread = np.std(machine.logits / (1 << 16))
        assert 0.5 < spread < 2
    assert machine.tally.saturations == 0


def test_matrices_are_random_where_the_model_has_columns() -> None:
    image = random_image(SHAPE, "x")
    for shape, matrix in zip(matrix_shapes(SHAPE), matrices(image), strict=True):
        elements = matrix.elements.reshape(shape.rows, -1)
        columns = {"output": 80, "down": 100}.get(shape.kind, 96)
        assert not elements[:, columns:].any()
        assert 65 < np.std(elements[:, :columns].astype(float)) < 80
    assert not np.array_equal(random_image(SHAPE, "x", seed=1).tape, image.tape)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["random_model", *arguments])
    return random_model.main()


def test_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.jal"
    sizes = ["--dim=64", "--hidden=96", "--layers=1", "--heads=4", "--vocabulary=300"]
    sizes += ["--context=32"]
    assert run(monkeypatch, *sizes, f"-o{path}") == 0
    image = load_image(path)
    expected = Architecture(64, 96, 1, 4, 4, 16, 300, 32)
    assert image.plan.architecture == expected
    # The same command, the same bytes.
    assert run(monkeypatch, *sizes, f"-o{tmp_path / 'y.jal'}") == 0
    assert path.read_bytes() == (tmp_path / "y.jal").read_bytes()
    # A preset, with other sizes for what options name.
    assert run(monkeypatch, "15m", "--layers=1", "--vocabulary=300", f"-o{path}") == 0
    a = load_image(path).plan.architecture
    assert (a.dim, a.head_dim, a.layers, a.vocabulary) == (288, 48, 1, 300)

    assert run(monkeypatch, "--dim=64", f"-o{path}") == 2
    assert "error: missing: --hidden" in capsys.readouterr().err
    assert run(monkeypatch, *sizes, "--vocabulary=200", f"-o{path}") == 2
    assert "at least 259 tokens, not 200" in capsys.readouterr().err
    assert run(monkeypatch, *sizes, "--kv-heads=3", f"-o{path}") == 3


@pytest.mark.parametrize(("name", "millions"), [("15m", 15.2), ("smollm2-135m", 134.5)])
def test_presets_have_the_models_sizes(name: str, millions: float) -> None:
    assert PRESETS[name].parameters / 1e6 == pytest.approx(millions, abs=0.05)

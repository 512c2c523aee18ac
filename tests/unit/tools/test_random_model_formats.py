"""Images with random weights: their formats and sizes of values."""

from pathlib import Path

import numpy as np
import pytest

from jalgateware.contract.formats import E2M1_DOUBLED
from jalgateware.contract.isa import Format
from jalgateware.golden.sampler import Sampling
from jalhost.engine.emulator import Emulator
from jalhost.engine.target import Request
from jalhost.models.architecture import Architecture
from jalhost.models.convert import matrices
from jalhost.models.image_file import load_image
from jalhost.models.plan import CLASSIFIER, EMBEDDING, uniform_formats
from tools import random_model
from tools.random_model import deviation, random_image

SHAPE = Architecture(64, 112, 2, 4, 2, 16, 300, 32)


@pytest.mark.parametrize("form", Format)
def test_values_have_the_size_that_they_should_have(form: Format) -> None:
    image = random_image(SHAPE, "x", formats=uniform_formats(SHAPE, form, form))
    for shape, matrix in zip(image.plan.matrices, matrices(image), strict=True):
        assert matrix.form is (Format.MXINT8 if shape.name == EMBEDDING else form)
        if matrix.form is Format.MXFP4:
            assert set(np.abs(matrix.elements).flat) == set(E2M1_DOUBLED)
        values = matrix.dequantise()
        used = values[:, : SHAPE.hidden if shape.kind == "down" else None]
        # A power of two is the closest that a scale comes.
        assert 0.7 < used.std() / deviation(SHAPE, shape.kind) < 1.45
        assert not values[:, used.shape[1] :].any()


def test_runs_in_any_formats() -> None:
    target = Emulator()
    for weights in Format:
        for classifier in Format:
            formats = uniform_formats(SHAPE, weights, classifier)
            image = random_image(SHAPE, "x", formats=formats)
            target.load(image)
            request = Request(((1, 7), (1, 8)), 3, Sampling())
            assert sum(1 for _ in target.run(request)) >= 2


def test_command_takes_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.jal"
    sizes = "--dim 64 --hidden 112 --layers 1 --heads 4 --vocabulary 300 --context 32"
    for options, expected in (
        ("", {}),
        ("--weights mxfp4", {"0.query": Format.MXFP4}),
        ("--classifier mxfp4", {CLASSIFIER: Format.MXFP4}),
    ):
        command = f"random_model {sizes} {options} -o {path}".split()
        monkeypatch.setattr("sys.argv", command)
        assert random_model.main() == 0
        formats = load_image(path).plan.formats
        names = ("0.query", CLASSIFIER)
        assert {name: formats[name] for name in names if name in formats} == expected

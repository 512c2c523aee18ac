"""The float32 model behind an image."""

import dataclasses

import numpy as np
import pytest

from jalhost.models.architecture import Architecture
from jalhost.models.convert import convert, matrices
from jalhost.models.reference import Reference
from jalhost.models.unfold import unfold_image
from jaltest.tiny import ARCHITECTURE, tiny_image, tiny_model, tiny_tokenizer

UNEVEN = dataclasses.replace(ARCHITECTURE, heads=8, hidden=100, tied=False)


@pytest.mark.parametrize("a", [ARCHITECTURE, UNEVEN])
def test_it_computes_what_the_original_does(a: Architecture) -> None:
    original, again = Reference(tiny_model(a)), Reference(unfold_image(tiny_image(a)))
    for position, token in enumerate([1, 259, 270, 100, 3]):
        expected, actual = (each.step([token], position)[0] for each in (original, again))
        assert np.corrcoef(actual, expected)[0, 1] > 0.995


def test_converted_again_it_gives_the_same_matrices() -> None:
    image = tiny_image(UNEVEN)
    again = convert(unfold_image(image), tiny_tokenizer(), "again")
    for one, other in zip(matrices(image), matrices(again), strict=True):
        # Factors of the query matrix round.
        np.testing.assert_allclose(other.dequantise(), one.dequantise(), rtol=1e-6, atol=1e-6)

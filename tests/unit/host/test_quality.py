"""What the number formats cost: the bars that documentation and users rely on."""

from pathlib import Path

import pytest

from jalhost.errors import ModelError, UsageError
from jalhost.models.convert import convert
from jalhost.models.llama2c import read_checkpoint
from jalhost.models.quality import measure
from jalhost.models.tokenizer import read_tokenizer
from jaltest.tiny import tiny_image, tiny_model


def test_stories260k_keeps_its_quality(stories260k: Path, tok512: Path) -> None:
    model = read_checkpoint(stories260k)
    image = convert(model, read_tokenizer(tok512, model.architecture.vocabulary), "stories260K")
    quality = measure(model, image)
    assert quality.tokens == 16 * 160
    assert quality.ratio <= 1.01
    assert quality.agreement >= 0.96
    assert quality.divergence <= 0.004


def test_measurement_notices_a_wrong_model() -> None:
    same = measure(tiny_model(), tiny_image(), sequences=2, length=20)
    other = measure(tiny_model(), tiny_image(seed=2), sequences=2, length=20)
    assert same.ratio < 1.05
    assert same.divergence < 0.05
    assert other.divergence > 10 * same.divergence
    assert other.agreement < same.agreement


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(UsageError, match="65 tokens exceed the context of 64"):
        measure(tiny_model(), tiny_image(), length=65)
    import dataclasses

    from jaltest.tiny import ARCHITECTURE

    larger = dataclasses.replace(ARCHITECTURE, hidden=128)
    with pytest.raises(ModelError, match="not converted from this checkpoint"):
        measure(tiny_model(larger), tiny_image())

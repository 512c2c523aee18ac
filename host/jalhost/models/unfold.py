"""The float32 model that an image's integers stand for."""

from dataclasses import replace

from jalhost.models.architecture import Model
from jalhost.models.convert import matrices
from jalhost.models.folding import unfold
from jalhost.models.image import Image


def unfold_image(image: Image) -> Model:
    """A model whose conversion gives the image's matrices again.

    It differs from the one that the image was made from by the elements' rounding; the norms' gains
    are the matrices' columns now.
    """
    names = (shape.name for shape in image.plan.matrices)
    real = (matrix.dequantise() for matrix in matrices(image))
    by_name = dict(zip(names, real, strict=True))
    return replace(unfold(image.plan.architecture, by_name), source=image.source)

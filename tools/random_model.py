"""Writes an image with random weights of any shape: ``python -m tools.random_model 15m -o x.jal``.

What a model costs depends on its shape alone, so cycles can be measured without a checkpoint. The
weights are drawn in their format, one matrix after the other, of the size that keeps a trained
model's activations in range: behind a norm, rows have a standard deviation of 1. What the model
says is noise.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from jalgateware.contract.formats import BLOCK, E2M1_DOUBLED, ELEMENTS, SCALE_BIAS, WEIGHT
from jalgateware.contract.isa import Format
from jalgateware.golden.mx import BlockMatrix
from jalhost.errors import JalError, UsageError
from jalhost.models.architecture import Architecture
from jalhost.models.compiler import layer_shifts, rope_table
from jalhost.models.convert import lay_out, make_image
from jalhost.models.image import GEOMETRY, Image
from jalhost.models.image_file import save_image
from jalhost.models.plan import (
    MXINT8_ONLY,
    Formats,
    LayerShifts,
    MatrixShape,
    Plan,
    matrix_shapes,
    uniform_formats,
    without_mxint8,
)
from jalhost.models.tokenizer import Tokenizer

PRESETS = {
    # llama2.c's stories15M, with more context than its 256 tokens.
    "15m": Architecture(
        dim=288,
        hidden=768,
        layers=6,
        heads=6,
        kv_heads=6,
        head_dim=48,
        vocabulary=32000,
        context=1024,
    ),
    # HuggingFaceTB/SmolLM2-135M's config.json, with 2,048 of its 8,192 tokens of context.
    "smollm2-135m": Architecture(
        dim=576,
        hidden=1536,
        layers=30,
        heads=9,
        kv_heads=3,
        head_dim=64,
        vocabulary=49152,
        context=2048,
        rope_theta=100000.0,
    ),
}

SIZES = tuple(item.name for item in fields(Architecture) if item.type is int)
"""Fields of an architecture that options set."""

LARGEST = (1 << (WEIGHT.bits - 1)) - 1
"""MXINT8 elements are drawn from -LARGEST to LARGEST, all of them equally often."""

DOUBLED = np.array([sign * size for sign in (1, -1) for size in E2M1_DOUBLED], dtype=np.int8)
"""What MXFP4 elements are drawn from: all codes equally often."""

DEVIATION = {
    Format.MXINT8: LARGEST / math.sqrt(3),
    Format.MXFP4: float(np.sqrt(np.mean(np.square(DOUBLED, dtype=np.float64)))),
}
"""Of the elements, as integers."""

EMBEDDING_DEVIATION = 0.2


def random_tokenizer(vocabulary: int) -> Tokenizer:
    """Special tokens, the bytes, and words that no text has.

    Raises:
        UsageError: the vocabulary is too small for the bytes.
    """
    pieces = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256))]
    if vocabulary < len(pieces):
        raise UsageError(f"a vocabulary has at least {len(pieces)} tokens, not {vocabulary}")
    pieces += [b" w%d" % index for index in range(vocabulary - len(pieces))]
    return Tokenizer(tuple(pieces), (0.0,) * vocabulary)


def deviation(a: Architecture, kind: str) -> float:
    """Standard deviation of a matrix's elements, with norm gains and constants folded in."""
    return {
        "embedding": EMBEDDING_DEVIATION,
        "query": math.log2(math.e) / math.sqrt(a.head_dim),
        "output": 1 / math.sqrt(a.heads * a.head_dim),
        "down": 1 / math.sqrt(a.hidden),
    }.get(kind, 1.0)


def random_matrix(a: Architecture, shape: MatrixShape, seed: tuple[int, int]) -> BlockMatrix:
    """A matrix of this shape; the same seed gives the same one. Columns that pad a row are 0."""
    generator = np.random.default_rng(seed)
    size = (shape.rows, shape.blocks, BLOCK)
    if shape.form is Format.MXFP4:
        elements = DOUBLED[generator.integers(0, len(DOUBLED), size, dtype=np.int8)]
    else:
        elements = generator.integers(-LARGEST, LARGEST, size, dtype=np.int8, endpoint=True)
    columns = {"output": a.heads * a.head_dim, "down": a.hidden}.get(shape.kind, a.dim)
    elements.reshape(shape.rows, -1)[:, columns:] = 0
    unit = deviation(a, shape.kind) / DEVIATION[shape.form]
    scale = round(math.log2(unit)) + SCALE_BIAS + ELEMENTS[shape.form].fraction
    return BlockMatrix(elements, np.full(size[:2], scale, dtype=np.uint8), shape.form)


def random_image(
    a: Architecture, name: str, seed: int = 0, formats: Formats = MXINT8_ONLY
) -> Image:
    """A model of this architecture, with matrices of these formats.

    Raises:
        UsageError: the vocabulary is too small.
    """
    tokenizer = random_tokenizer(a.vocabulary)
    shapes = {shape.name: (index, shape) for index, shape in enumerate(matrix_shapes(a, formats))}

    def matrix(which: str) -> BlockMatrix:
        index, shape = shapes[which]
        return random_matrix(a, shape, (seed, index))

    def shifts() -> Iterator[LayerShifts]:
        for layer in range(a.layers):
            kinds = ("query", "key", "value")
            yield layer_shifts(a, [matrix(f"{layer}.{kind}") for kind in kinds])

    plan = Plan(a, tuple(shifts()), without_mxint8(formats))
    executable = lay_out(plan, map(matrix, shapes), rope_table(a), GEOMETRY)
    return make_image(plan, executable, tokenizer, name, f"random weights, seed {seed}")


def architecture(arguments: argparse.Namespace) -> Architecture:
    """The preset with what options change, or what options say alone.

    Raises:
        UsageError: sizes are missing.
        ModelError: sizes contradict each other.
    """
    sizes = {name: value for name in SIZES if (value := getattr(arguments, name)) is not None}
    if "head_dim" not in sizes and {"dim", "heads"} <= sizes.keys() and sizes["heads"] > 0:
        sizes["head_dim"] = sizes["dim"] // sizes["heads"]
    if arguments.preset:
        return replace(PRESETS[arguments.preset], **sizes)
    sizes.setdefault("kv_heads", sizes.get("heads", 0))
    if missing := [f"--{name.replace('_', '-')}" for name in SIZES if name not in sizes]:
        raise UsageError(f"missing: {', '.join(missing)}", "or name a preset")
    return Architecture(**sizes)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.random_model", description=__doc__)
    parser.add_argument("preset", nargs="?", choices=tuple(PRESETS), help="whose sizes to use")
    for name in SIZES:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    names = [form.name.lower() for form in Format]
    parser.add_argument("--weights", choices=names, default="mxint8", help="of the layers")
    parser.add_argument("--classifier", choices=names, default="mxint8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="X.jal")
    return parser.parse_args(arguments)


def main() -> int:
    """Writes the image; returns the exit status."""
    arguments = parse(sys.argv[1:])
    try:
        a = architecture(arguments)
        name = f"random {arguments.preset or f'{a.parameters / 1e6:.3g}M'}"
        weights, classifier = (
            Format[item.upper()] for item in (arguments.weights, arguments.classifier)
        )
        formats = uniform_formats(a, weights, classifier)
        save_image(random_image(a, name, arguments.seed, formats), arguments.output)
    except JalError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

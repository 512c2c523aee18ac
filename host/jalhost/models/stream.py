"""Converts a checkpoint to an image file, a few rows at a time.

Neither the model nor the image is ever in memory as a whole: rows are read, quantised, and appended
to the tape in the file; binary points, checksums and the header follow.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from jalgateware.contract import isa
from jalgateware.contract.drafting import TABLE_WORDS
from jalgateware.contract.formats import BLOCK
from jalgateware.contract.isa import Format
from jalgateware.golden.mx import encode, to_tape
from jalhost.errors import ModelError
from jalhost.files import atomic_path
from jalhost.models.checkpoint import Checkpoint
from jalhost.models.compiler import (
    Norms,
    check_limits,
    check_scores,
    compile_program,
    rope_table,
    row_norms,
    shifts_of_norms,
    table_entries,
)
from jalhost.models.constants import fold_constants
from jalhost.models.folding import Folded, fold_checkpoint
from jalhost.models.image import GEOMETRY, Image
from jalhost.models.image_file import describe, image_crcs
from jalhost.models.image_layout import TAPE, ImageFile, tensor_specs, widest_metadata
from jalhost.models.plan import CLASSIFIER, Formats, LayerShifts, Plan, without_mxint8
from jalhost.models.tensors import chunks
from jalhost.models.tokenizer import Codec
from jalhost.progress import Meter, Report

WHOLE_GROUPS = 32
"""Rows, in multiples of which a matrix can be cut, and the pieces' tapes put one behind the other:
then each piece has whole bundles and whole groups of blocks (:mod:`jalgateware.contract.tape`)."""

NORMED = ("query", "key", "value")


@dataclass(frozen=True)
class Conversion:
    """What to make of a checkpoint. ``learn_drafts``: gives an image its table of drafts."""

    checkpoint: Checkpoint
    tokenizer: Codec
    name: str
    formats: Formats
    stop_tokens: tuple[int, ...]
    learn_drafts: Callable[[Image], Image] | None = None


def convert_to_file(job: Conversion, path: Path, report: Report) -> Plan:
    """Writes the image of a checkpoint; returns its plan.

    The file appears complete or not at all.

    Raises:
        ModelError: the engine cannot run the model, or its file is damaged.
        UsageError: the image cannot be written.
    """
    a = job.checkpoint.architecture
    plan = Plan(a, (LayerShifts(0, 0, 0),) * a.layers, without_mxint8(job.formats))
    check_plan(plan, job.tokenizer)
    matrices = list(fold_checkpoint(job.checkpoint))
    with atomic_path(path, nameless=True) as temporary, temporary.open("w+b") as stream:
        return _Writer(job, plan, stream, temporary, report).write(matrices)


def check_plan(plan: Plan, tokenizer: Codec) -> None:
    """Refuses what no image holds.

    Raises:
        ModelError: names the property and its limit.
    """
    a = plan.architecture
    if len(tokenizer.pieces) != a.vocabulary:
        raise ModelError(
            f"the tokenizer has {len(tokenizer.pieces)} tokens, the model has {a.vocabulary}"
        )
    check_limits(plan, GEOMETRY)
    program_words(plan)


def program_words(plan: Plan) -> Any:
    """The plan's program for GEOMETRY: (instructions, 4) uint32.

    Raises:
        ModelError: a number of the model does not fit its field of an instruction.
    """
    _check_words(plan)
    try:
        words = [isa.encode(item) for item in compile_program(plan, GEOMETRY)]
    except ValueError as error:
        raise ModelError(
            f"the model is beyond the instructions' fields: {error}",
            "convert it with a smaller --context",
        ) from error
    return np.array(words, dtype=np.uint32)


def _check_words(plan: Plan) -> None:
    most = (1 << isa.FIELDS["words"][1]) - 1
    for shape in plan.matrices[1:]:  # of the embedding, only a row is read at a time
        if (words := shape.words(GEOMETRY)) > most:
            option = "--classifier" if shape.name == CLASSIFIER else "--weights"
            raise ModelError(
                f"the model's {shape.name} takes {words:,} words of {GEOMETRY.lanes} bytes as"
                f" {shape.form.name.lower()}, an instruction's limit is {most:,}",
                f"convert it with {option} mxfp4"
                if shape.form is Format.MXINT8
                else "a smaller model is needed",
            )


class _Writer:
    """Writes one image."""

    def __init__(
        self, job: Conversion, plan: Plan, stream: IO[bytes], path: Path, report: Report
    ) -> None:
        self._job, self._plan, self._stream, self._path = job, plan, stream, path
        self._report = report
        self._constants = fold_constants(job.checkpoint)
        drafts = None if job.learn_drafts is None else np.zeros(TABLE_WORDS, dtype=np.uint32)
        self._image = Image(
            name=job.name,
            source=job.checkpoint.source,
            plan=plan,
            program=np.zeros((0, isa.INSTRUCTION_WORDS), dtype=np.uint32),
            rope=rope_table(plan.architecture),
            tape=np.zeros(0, dtype=np.uint8),
            tokenizer=job.tokenizer,
            stop_tokens=job.stop_tokens,
            drafts=drafts,
            constants=table_entries(plan.architecture, self._constants),
        )
        self._specs = tensor_specs(plan, self._others(self._image))
        widest = widest_metadata(describe(self._image), plan, self._specs)
        self._file = ImageFile(stream, self._specs, widest)
        self._norms: dict[str, Norms] = {}

    @staticmethod
    def _others(image: Image) -> Any:
        return {
            name: item for name, item in image.tensors().items() if name not in ("program", TAPE)
        }

    def write(self, matrices: list[Folded]) -> Plan:
        """The whole image."""
        meter = Meter(self._specs[TAPE].bytes, "converted")
        for matrix in matrices:
            self._norms[matrix.name] = self._write_matrix(matrix)
            self._report(meter.progress(self._file.tape_bytes))
        plan = Plan(self._plan.architecture, tuple(self._shifts()), self._plan.formats)
        image = self._complete(plan)
        for name, tensor in self._others(image).items():
            self._file.write(name, tensor)
        self._file.write("program", image.program)
        crcs = {"chunk_crc32": list(image_crcs(image, self._file.tape()))}
        self._file.finish(describe(image) | crcs)
        return plan

    def _write_matrix(self, matrix: Folded) -> Norms:
        """Appends a matrix; returns its rows' lengths where binary points depend on them."""
        form = self._plan.formats.get(matrix.name, Format.MXINT8)
        norms: list[Norms] = []
        for start, stop in chunks(matrix, WHOLE_GROUPS):
            with np.errstate(over="ignore", invalid="ignore"):  # encode() finds what comes of it
                values = matrix.read(start, stop)
            try:
                encoded = encode(values, form)
            except ValueError:
                raise ModelError(
                    f"the model's matrix {matrix.name} has values that are not finite"
                ) from None
            self._file.append(to_tape(encoded, GEOMETRY))
            if matrix.name.endswith(NORMED):
                norms.append(row_norms(encoded))
        return np.concatenate(norms) if norms else np.zeros(0)

    def _shifts(self) -> list[LayerShifts]:
        found = []
        for index, layer in enumerate(self._constants):
            norms = [self._norms[f"{index}.{name}"] for name in NORMED]
            found.append(shifts_of_norms(self._plan.architecture, norms, layer))
            check_scores(index, found[-1])
        return found

    def _complete(self, plan: Plan) -> Image:
        """The image but for its tape, with drafts where some are wanted."""
        image = replace(self._image, plan=plan, program=program_words(plan))
        if self._job.learn_drafts is None:
            return image
        self._stream.flush()
        start, shape = self._file.tape_start, self._specs[TAPE].shape
        tape = np.memmap(self._path, np.uint8, "r", start, shape)
        return replace(image, drafts=self._job.learn_drafts(replace(image, tape=tape)).drafts)


assert WHOLE_GROUPS % (2 * GEOMETRY.rows_parallel) == 0, "whole bundles of both formats"
assert WHOLE_GROUPS % GEOMETRY.lanes == 0, "whole groups, however many blocks a row has"
assert BLOCK % GEOMETRY.lanes == 0, "GEOMETRY's words hold one row"

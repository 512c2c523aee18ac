"""Looking into the engine without a change of gateware: programs that stop early and write out.

Program and tape are data. A probe's program is the model's, cut off behind an instruction; then
follow MATVECs with matrices of the probe, whose rows go to a place behind the KV cache as if they
were values. An identity in MXINT8 writes an activation buffer out as it is. The golden model runs
the same instructions, so that the comparison is bit for bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jalgateware.contract.formats import BLOCK, KV, SCALE_BIAS, WEIGHT
from jalgateware.contract.image_header import ALIGNMENT
from jalgateware.contract.isa import (
    INSTRUCTION_WORDS,
    Destination,
    Instruction,
    Opcode,
    Source,
    encode,
)
from jalgateware.contract.tape import matrix_words
from jalgateware.golden.machine import Machine
from jalgateware.golden.mx import BlockMatrix, Bytes, to_tape
from jalgateware.golden.rounding import Integers
from jalgateware.golden.sampler import Sampling
from jalhost.device import Device
from jalhost.dram import DeviceDram
from jalhost.errors import DeviceError
from jalhost.models.blob import Blob
from jalhost.models.compiler import FRACTION
from jalhost.verify.golden import Golden

GREEDY = Sampling.from_temperature(0.0, 0)

KEPT_BITS = KV.bits - WEIGHT.bits
"""Bits of a block's shift that a written element keeps: it is 8 bits, moved left by so many."""

SPACER_ROWS = 32
"""Rows behind which those of the matrix before are on their way to DRAM."""

Values = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Slice:
    """A MATVEC that writes rows out, without its addresses.

    Args:
        instruction: its fields.
        tape: its matrix; None where that is on the model's tape, at the instruction's ``base``.
        first: what its first row is, of the vector or matrix that is looked at.
        used: rows that are any of it.
    """

    instruction: Instruction
    tape: Bytes | None
    first: int
    used: int


@dataclass(frozen=True)
class Passed:
    """A pass: its tokens, one per token row, from ``position`` on.

    ``before``: tokens of the run's earlier passes, where it does not begin with this one.
    """

    tokens: tuple[int, ...]
    position: int
    before: tuple[int, ...] = ()


class Prober:
    """Runs probes on a device and on the golden model.

    Args:
        golden: has run the whole text: its KV cache is right.
        device: has the image loaded.
        dram: its DRAM.
        blob: the image.

    Raises:
        DeviceError: there is no room for probes behind the KV cache.
    """

    def __init__(self, golden: Golden, device: Device, dram: DeviceDram, blob: Blob) -> None:
        self.golden, self._device, self._dram, self._blob = golden, device, dram, blob
        self._known: dict[int, bytes] = {}
        header = blob.header
        self._program = _aligned(header.kv_offset + header.kv_bytes)
        room = 4 * INSTRUCTION_WORDS * golden.config.max_instructions
        self._matrices = _aligned(self._program + room)
        self._shown = blob.data[: header.header_bytes]

    @property
    def rows(self) -> int:
        """Rows of a slice: those of keys or values."""
        return self.golden.architecture.kv_heads * self.golden.architecture.head_dim

    # What to write out.

    def vector(self, source: Source, length: int, shifts: Integers) -> list[Slice]:
        """Slices that write an activation buffer out.

        ``shifts`` (token rows, blocks): what each block has dropped, as the golden model has it. An
        element keeps KEPT_BITS of it; where token rows differ by more, it is written out twice.
        """
        high, low = (
            np.maximum(item - KEPT_BITS, 0) for item in (shifts.max(axis=0), shifts.min(axis=0))
        )
        levels = [high, low] if (low < high).any() else [high]
        return [
            self._identity(source, length, level, first)
            for level in levels
            for first in range(0, length, self.rows)
        ]

    def _identity(self, source: Source, length: int, level: Integers, first: int) -> Slice:
        used = min(self.rows, length - first)
        elements = np.zeros((self.rows, len(level), BLOCK), dtype=np.int8)
        numbers = np.arange(used)
        elements[numbers, (first + numbers) // BLOCK, (first + numbers) % BLOCK] = (
            1 << WEIGHT.fraction
        )
        scales = np.broadcast_to(SCALE_BIAS - level, (self.rows, len(level))).astype(np.uint8)
        return self.matrix(BlockMatrix(elements, scales), source, first, used)

    def matrix(
        self,
        matrix: BlockMatrix,
        source: Source,
        first: int = 0,
        used: int | None = None,
        like: Instruction | None = None,
        out_shift: int = 0,
    ) -> Slice:
        """A slice with a matrix of its own; ``like``: what its norm and destination are."""
        config = self.golden.config
        instruction = Instruction(
            Opcode.MATVEC,
            destination=like.destination if like else Destination.VALUE,
            source=source,
            norm=like.norm if like else 0,
            format=matrix.form,
            fraction=like.fraction if like else FRACTION,
            out_shift=out_shift,
            blocks=matrix.blocks,
            rows=matrix.rows,
            words=matrix_words(config, matrix.rows, matrix.blocks, matrix.form),
        )
        return Slice(instruction, to_tape(matrix, config), first, used or matrix.rows)

    # Running it.

    def states(self, passed: Passed, stop: int) -> list[Machine]:
        """The golden model in front of instruction ``stop``, once for each token row."""
        golden, found = self.golden, []
        program = [*golden.program[:stop], Instruction(Opcode.END)]
        golden.machine.patch(program, golden.memory, stop)
        for row, token in enumerate(passed.tokens):
            golden.machine.patch(program, golden.memory, stop)
            golden.machine.step(token, passed.position + row, None)
            found.append(golden.machine.fork())
        return found

    def expected(
        self, states: Sequence[Machine], slices: Sequence[Slice], passed: Passed
    ) -> Values:
        """What the golden model writes out: (slices, token rows, rows)."""
        program, memory = self._golden_program(slices)
        values = np.zeros((len(slices), len(states), self.rows), dtype=np.int16)
        for row, state in enumerate(states):
            machine = state.fork()
            machine.cache = {}
            machine.patch(program, memory)
            machine.step(passed.tokens[row], passed.position + row, None)
            for number in range(len(slices)):
                kept = machine.cache[self._base(number)]
                values[number, row] = kept[:, passed.position + row].reshape(-1)
        return values

    def _base(self, number: int) -> int:
        """Where a slice goes, relative to the KV cache, where the golden model runs it."""
        return number * self.golden.layout.value_offset

    def _golden_program(self, slices: Sequence[Slice]) -> tuple[list[Instruction], Bytes]:
        tapes = [item.tape for item in slices if item.tape is not None]
        memory = np.concatenate([self.golden.memory, *tapes])
        place = len(self.golden.memory) // self.golden.config.lanes
        program = []
        for number, item in enumerate(slices):
            base = item.instruction.base if item.tape is None else place
            place += 0 if item.tape is None else item.instruction.words
            program.append(replace(item.instruction, base=base, kv_base=self._base(number)))
        return [*program, Instruction(Opcode.END)], memory

    def observed(self, passed: Passed, stop: int, slices: Sequence[Slice]) -> Values:
        """What the device writes out behind the instructions before ``stop``, as ``expected``.

        Raises:
            DeviceError: the device failed, or has no room for the probe.
        """
        dumps = self._load(passed, self.golden.program[self.golden.first : stop], slices)
        tokens = [*passed.before, *passed.tokens]
        position = passed.position - len(passed.before)
        for _ in self._device.run([tokens], 1, GREEDY, 0, position):
            pass
        return self._read(dumps, len(slices), passed)

    def run_alone(
        self, program: Sequence[Instruction], slices: Sequence[Slice], rows: int
    ) -> Values:
        """Runs instructions of a probe's own on so many token rows; as ``observed``.

        Raises:
            DeviceError: the device failed, or has no room for the probe.
        """
        passed = Passed((0,) * rows, 0)
        dumps = self._load(passed, program, slices)
        for _ in self._device.run([passed.tokens], 1, GREEDY):
            pass
        return self._read(dumps, len(slices), passed)

    def own_words(self, tape: Bytes) -> int:
        """Puts a table of a probe in front of all matrices; returns its word on the tape."""
        self._write(self._matrices, tape.tobytes())
        self._reserved = _aligned(len(tape))
        return (self._matrices - self._blob.header.tape_offset) // self.golden.config.lanes

    _reserved = 0

    def _load(self, passed: Passed, program: Sequence[Instruction], slices: Sequence[Slice]) -> int:
        """Puts a probe in place of the model's program; returns where it will write."""
        golden, header, lanes = self.golden, self._blob.header, self.golden.config.lanes
        place = self._matrices + self._reserved
        starts = []
        spacer = self._spacer()
        for item in (*slices, spacer):
            starts.append(place)
            if item.tape is not None:
                self._write(place, item.tape.tobytes())
                place = _aligned(place + len(item.tape))
        dumps = place
        # What is written out lies where another probe's matrices may have been.
        self._known = {start: data for start, data in self._known.items() if start < dumps}
        end = dumps + len(slices) * golden.layout.value_offset * lanes
        if end > self._dram.size:
            raise DeviceError(
                f"a probe takes {end - self._dram.size:,} bytes more than there are behind the"
                " KV cache",
                "verify with a model of a shorter context",
            )
        between = replace(spacer.instruction, base=(starts[-1] - header.tape_offset) // lanes)
        ending = []
        for number, (item, start) in enumerate(zip(slices, starts, strict=False)):
            base = item.instruction.base
            base = base if item.tape is None else (start - header.tape_offset) // lanes
            target = (dumps - header.kv_offset) // lanes + self._base(number)
            ending += [replace(item.instruction, base=base, kv_base=target), between]
        self._load_program(passed, program, ending)
        return dumps

    def _spacer(self) -> Slice:
        """Logits of no meaning: a pass that samples waits for some.

        They also stand between two slices, as the address of values is that of the matrix whose
        rows the vector unit has begun with: rows of the one before must be in DRAM by then.
        """
        zeros = np.zeros((SPACER_ROWS, 1), dtype=np.uint8)
        matrix = BlockMatrix(np.zeros((SPACER_ROWS, 1, BLOCK), dtype=np.int8), zeros)
        item = self.matrix(matrix, Source.X)
        logits = replace(item.instruction, destination=Destination.LOGITS, sampled_only=1)
        return replace(item, instruction=logits)

    def _load_program(
        self, passed: Passed, program: Sequence[Instruction], ending: Sequence[Instruction]
    ) -> None:
        golden = self.golden
        first = golden.first
        whole = golden.program[:first]
        passes = -(-len(passed.before) // golden.config.tokens)
        for _ in range(passes):
            body = golden.program[first:-1]
            following = len(whole) + len(body) + 1
            whole += [*body, Instruction(Opcode.END, base=following)]
        whole += [*program, *ending, Instruction(Opcode.END, base=first)]
        most = golden.config.max_instructions
        if len(whole) > most:
            raise DeviceError(
                f"a probe takes {len(whole)} instructions, the engine holds {most}",
                "verify with a smaller model",
            )
        words = np.array([encode(item) for item in whole], dtype="<u4").tobytes()
        self._write(self._program, words)
        header = replace(
            self._blob.header,
            blob_bytes=self._matrices,
            program_offset=self._program,
            instructions=len(whole),
        )
        self._write_header(header.pack())
        self._device.load()

    def restore(self) -> None:
        """Makes the model's program the one to run again."""
        self._write_header(self._blob.data[: self._blob.header.header_bytes])
        self._device.load()

    def _write_header(self, wanted: bytes) -> None:
        for start in range(0, len(wanted), ALIGNMENT):
            piece = wanted[start : start + ALIGNMENT]
            if piece != self._shown[start : start + ALIGNMENT]:
                self._dram.write(start, piece)
        self._shown = wanted

    def _write(self, offset: int, data: bytes) -> None:
        """Writes what is not there yet, in pieces of ALIGNMENT that lie together."""
        data = data.ljust(_aligned(len(data)), b"\0")
        fresh: list[int] = []
        for start in range(0, len(data), ALIGNMENT):
            piece = data[start : start + ALIGNMENT]
            if self._known.get(offset + start) != piece:
                self._known[offset + start] = piece
                fresh.append(start)
        while fresh:
            count = next(
                (i for i in range(1, len(fresh)) if fresh[i] != fresh[0] + i * ALIGNMENT),
                len(fresh),
            )
            part = data[fresh[0] : fresh[count - 1] + ALIGNMENT]
            self._dram.write(offset + fresh[0], part)
            fresh = fresh[count:]

    def _read(self, dumps: int, count: int, passed: Passed) -> Values:
        golden, lanes = self.golden, self.golden.config.lanes
        a, place = golden.architecture, golden.layout
        rows = len(passed.tokens)
        size = place.head_words * lanes
        values = np.zeros((count, rows, a.kv_heads, a.head_dim), dtype=np.int16)
        for number in range(count):
            for head in range(a.kv_heads):
                words = self._base(number) + head * place.head_stride
                words += passed.position * place.head_words
                data = self._dram.read(dumps + words * lanes, rows * size)
                part = np.frombuffer(data, dtype="<i2").reshape(rows, -1)
                values[number, :, head] = part[:, : a.head_dim]
        return values.reshape(count, rows, -1)


def row_results(machine: Machine, item: Instruction, position: int) -> Integers:
    """What an instruction leaves behind in the golden model that continues from a state.

    A quantised activation buffer is given as its elements times their scales.
    """
    other = machine.fork()
    other.cache = {}
    other.trace = {}
    other.patch([item, Instruction(Opcode.END)], machine.memory)
    other.step(0, position, None if not item.sampled_only else GREEDY)
    if item.destination is Destination.QUERY:
        return other.query
    if item.destination in (Destination.KEY, Destination.VALUE):
        return next(iter(other.cache.values()))[:, position].reshape(-1).astype(np.int64)
    if item.destination is Destination.LOGITS:
        return other.trace[0]
    source = Source.H if item.destination is Destination.SWIGLU else Source.X
    buffer = other.buffers[source]
    return np.asarray((buffer.elements << buffer.shifts[:, None]).reshape(-1))


def _aligned(number: int) -> int:
    return -(-number // ALIGNMENT) * ALIGNMENT

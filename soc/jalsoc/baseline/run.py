"""Builds the baseline's program and runs it in the simulator."""

import dataclasses
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jalfirmware.baseline.build import IMAGE, baseline_sources, compile_baseline
from jalfirmware.baseline.layout import ENTRY_BYTES, REPORT_OFFSET, Report, State
from jalfirmware.build import COMPILER, litedram_sources
from jalgateware.contract.c_header import c_header
from jalgateware.contract.memory_map import IMAGE_OFFSET
from jalhost.errors import DeviceError, UsageError
from jalhost.models.architecture import Architecture
from jalsoc.baseline.export import build_image
from jalsoc.baseline.quantised import QuantisedModel
from jalsoc.cache import cache_root, cached, digest, digest_files, program_identity
from jalsoc.export import HEADERS
from jalsoc.guard import run_guarded
from jalsoc.sim.build import SimulatorBuild
from jalsoc.sim.config import MIB, SimulatorConfig
from jalsoc.sim.process import Simulator

POLL_S = 0.2

BOOT_CYCLES = 2_000_000
"""More than DRAM's initialisation and the search for the image take."""

CYCLES_PER_WEIGHT = 1000
"""More than a pass takes, per parameter of the model or value in its KV cache."""


@dataclass(frozen=True)
class Measurement:
    """What a run did.

    ``tokens``: generated. ``cycles``: of each pass that generated one. ``positions``: of these.
    """

    tokens: list[int]
    cycles: list[int]
    positions: list[int]

    @property
    def cycles_per_token(self) -> float:
        """Mean."""
        return sum(self.cycles) / len(self.cycles)


def build_program(system: Path) -> Path:
    """The ROM's image for a system, from the cache if it is there.

    Raises:
        BuildError: the compiler failed.
        EnvironmentProblem: it is missing.
    """
    headers = sorted((system / HEADERS).iterdir())
    sources = [*baseline_sources(), *litedram_sources(), *headers]
    key = digest(digest_files(sources), c_header(), program_identity(COMPILER))

    def make(folder: Path) -> None:
        log = cache_root() / "logs" / f"baseline-{key}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text("", encoding="utf-8")
        compile_baseline(
            system / HEADERS, folder, lambda command, place: run_guarded(command, place, log)
        )

    return cached("baseline", key, make)[0] / IMAGE


def check_room(a: Architecture, image: bytes, positions: int, config: SimulatorConfig) -> None:
    """Refuses a model for which the DRAM is too small.

    Raises:
        UsageError: with the size that is enough.
    """
    cache = 2 * 4 * a.layers * positions * a.kv_heads * a.head_dim
    # The largest vectors may end up in DRAM, too.
    needed = IMAGE_OFFSET + len(image) + cache + 4 * 8 * (a.dim + a.hidden + positions)
    if needed > config.dram_mib * MIB:
        mib = 1 << (-(-needed // MIB) - 1).bit_length()
        raise UsageError(
            f"the model needs {needed / MIB:.1f} MiB of {config.dram_mib} MiB of DRAM",
            f"--dram-mib {mib}",
        )


class _Reader:
    """Reads the report without using the system's bus."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def words(self, offset: int, count: int) -> tuple[int, ...]:
        data = self._simulator.peek(REPORT_OFFSET + offset, 4 * count)
        return struct.unpack(f"<{count}I", data)

    def entries(self, count: int) -> list[tuple[int, int]]:
        """Tokens with their cycle stamps."""
        words = self.words(Report.ENTRIES, count * ENTRY_BYTES // 4)
        triples = zip(words[0::3], words[1::3], words[2::3], strict=True)
        return [(token, low | high << 32) for token, low, high in triples]


def measure(
    build: SimulatorBuild,
    model: QuantisedModel,
    prompt: tuple[int, ...],
    count: int,
    depth: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> Measurement:
    """Lets the CPU generate ``count`` tokens behind ``prompt``, from position ``depth`` on.

    Args:
        build: the simulator; its firmware is replaced.
        model: what to run.
        prompt: read first; its tokens but the last do not count.
        count: tokens to generate.
        depth: positions that count as read before, with keys and values of zero.
        report: takes each position that is done, and the cycle.

    Raises:
        UsageError: the run does not fit the model or the DRAM.
        BuildError: the program cannot be compiled.
        DeviceError: the program failed or does not come to an end.
        SimulatorError: the simulator did.
    """
    image = build_image(model, prompt, count, depth)
    passes = len(prompt) + count - 1
    check_room(model.architecture, image, depth + passes, build.config)
    build = dataclasses.replace(build, firmware=build_program(build.system))
    with Simulator(build, image) as simulator:
        entries = _follow(simulator, model.architecture, depth + passes, passes, depth, report)
    first = len(prompt) - 1
    stamps = [cycle for _, cycle in entries]
    return Measurement(
        tokens=[token for token, _ in entries[first + 1 :]],
        cycles=[stamps[i + 1] - stamps[i] for i in range(first, passes)],
        positions=[depth + i for i in range(first, passes)],
    )


def _follow(
    simulator: Simulator,
    a: Architecture,
    positions: int,
    passes: int,
    depth: int,
    report: Callable[[int, int], None] | None,
) -> list[tuple[int, int]]:
    """Waits for the end of a run; returns the entries of its report."""
    reader = _Reader(simulator)
    values = a.parameters + 2 * a.layers * positions * a.heads * a.head_dim
    limit = BOOT_CYCLES + (passes + 1) * CYCLES_PER_WEIGHT * values
    seen = 1
    while True:
        state, count = reader.words(Report.STATE, 2)
        for entry in range(seen, count):
            if report is not None:
                report(depth + entry - 1, reader.entries(entry + 1)[entry][1])
        seen = max(seen, count)
        if state == State.DONE:
            return reader.entries(count)
        if state in (State.NO_IMAGE, State.TRAPPED):
            raise DeviceError(f"the CPU's program ended with {State(state).name}")
        cycles = simulator.cycles()
        if cycles > limit or (cycles > BOOT_CYCLES and state != State.RUNNING):
            raise DeviceError(f"the CPU's program hangs: {count} entries after {cycles} cycles")
        time.sleep(POLL_S)

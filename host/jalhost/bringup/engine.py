"""Stages ``engine`` and ``dram-bandwidth``: what needs the engine, but no model of anybody's."""

from dataclasses import asdict, replace

from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN
from jalgateware.golden.sampler import Sampling
from jalhost.bringup.bench import Bench
from jalhost.bringup.compare import (
    Difference,
    first_difference,
    most_telling,
    run_device,
    run_golden,
)
from jalhost.bringup.stages import Evidence, Stage, StageFailure
from jalhost.bringup.vectors import Case, architecture, cases, random_model
from jalhost.errors import DeviceError, DeviceRestarted
from jalhost.models.architecture import Architecture
from jalhost.models.blob import build_blob
from jalhost.models.convert import convert
from jalhost.models.tokenizer import Tokenizer

BANDWIDTH_BYTES = 1 << 19
"""Weights that a token reads, at least, where the gateware's limits allow."""

BANDWIDTH_TOKENS = 4

LEAST_SHARE = 0.7
"""Of the port's peak; refreshes and the gaps between matrices take the rest."""


def engine(bench: Bench, evidence: Evidence) -> str:
    """Runs all cases; what differs first in the engine's own order names the unit."""
    config = bench.device.identity.config
    results: dict[str, str] = {}
    evidence["cases"] = results
    differences: list[tuple[Case, Difference]] = []
    for case in cases(config):
        try:
            found = run_device(case, bench.device, bench.link, bench.report)
        except DeviceRestarted:
            raise
        except DeviceError as error:
            raise _hangs(bench, case, error) from error
        difference = first_difference(case, config, found, run_golden(case, config))
        results[case.name] = "pass" if difference is None else difference.where
        differences += [(case, difference)] if difference else []
    if differences:
        case, difference = most_telling(differences)
        evidence["first_difference"] = {"case": case.name} | asdict(difference)
        raise _differs(bench, case, difference, results)
    return f"{len(results)} cases bit for bit: {', '.join(results)}"


def _hangs(bench: Bench, case: Case, error: DeviceError) -> StageFailure:
    return StageFailure(
        f"the engine does not get through the case {case.name}: {error.what}",
        (
            f"it hangs in {case.unit}",
            "DRAM does not answer its port: see dram-bandwidth",
        ),
        bench.command(Stage.ENGINE, "--debug"),
    )


def _differs(
    bench: Bench, case: Case, difference: Difference, results: dict[str, str]
) -> StageFailure:
    wrong = [name for name, result in results.items() if result != "pass"]
    return StageFailure(
        f"{difference.unit}: case {case.name} has {difference.wrong:,} of {difference.of:,} wrong "
        f"in the {difference.where}; {len(wrong)} of {len(results)} cases fail",
        (
            f"a defect in {difference.unit}, where it is the same each time",
            "timing: the unit's slowest path does not meet the clock, where it differs "
            "(`jalhost bundle info` has the slack)",
            "a supply that drops while the multipliers work",
        ),
        bench.command(Stage.ENGINE, "--repeat", "3"),
    )


def bandwidth(bench: Bench, evidence: Evidence) -> str:
    """Has the engine stream a large model's weights, and compares with the port's peak.

    What the weights are does not matter, so nothing but header and program is sent.
    """
    identity = bench.device.identity
    config = identity.config
    shape = _bandwidth_shape(architecture(config, 1), config.max_dim, config.max_hidden)
    pieces = tuple(b"%d" % token for token in range(shape.vocabulary))
    tokenizer = Tokenizer(pieces, (0.0,) * len(pieces))
    image = convert(random_model(shape, 20), tokenizer, "bandwidth")
    blob = build_blob(replace(image, stop_tokens=()), config)
    start = blob.header.tape_offset
    words = [int.from_bytes(blob.data[i : i + 4], "little") for i in range(0, start, 4)]
    bench.link.write(MAIN_RAM_ORIGIN + identity.image_offset, words)
    bench.device.load()
    greedy = Sampling.from_temperature(0.0, 0)
    for _ in bench.device.run([(0,)], BANDWIDTH_TOKENS, greedy):
        pass
    counters = bench.device.counters()
    moved = counters["dram_words"] * config.lanes
    share = moved / (counters["cycles"] * identity.port_bytes)
    peak = identity.port_bytes * identity.clock_hz
    evidence |= {
        "bytes": moved,
        "cycles": counters["cycles"],
        "bytes_per_s": share * peak,
        "peak_bytes_per_s": peak,
        "share": share,
    }
    if share < LEAST_SHARE:
        raise StageFailure(
            f"the engine reads {share:.0%} of what the DRAM port can move",
            (
                "somebody else reads or writes DRAM all the time",
                "DRAM is refreshed far too often, or its timings are a slower chip's",
            ),
            "jalhost bench --breakdown --target " + bench.target,
        )
    return (
        f"{share * peak / 1e6:,.0f} MB/s, {share:.1%} of the port's {peak / 1e6:,.0f} MB/s "
        f"({moved / 1e6:.1f} MB by the engine)"
    )


def _bandwidth_shape(a: Architecture, max_dim: int, max_hidden: int) -> Architecture:
    """Wider matrices: in these the engine streams longest."""
    dim = min(256, max_dim)
    hidden = min(max_hidden, max(96, (BANDWIDTH_BYTES // dim // 3) & ~31))
    return replace(a, dim=dim, hidden=hidden)

"""Stages ``dram-*``: lines, random words, march, retention."""

from collections.abc import Callable

from jalgateware.contract.mailbox import Command, Field, MemoryTest, Result
from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN
from jalhost.bringup.access import pause
from jalhost.bringup.bench import Bench
from jalhost.bringup.lines import address_line, aliases, diagnose
from jalhost.bringup.probe import data_bits, probe_data
from jalhost.bringup.stages import Evidence, Stage, StageFailure, StageSkip

RANDOM_WORDS = 1 << 18
MARCH_WORDS = 1 << 16
RETENTION_WORDS = 1 << 18
"""Words that a device's CPU looks at in about a second."""

SIMULATED_WORDS = 1 << 10
"""The same for a simulated one."""

RETENTION_S = 5.0
"""Without refresh, most DRAM has forgotten something after seconds at room temperature."""

SIMULATED_RETENTION_S = 0.015
"""Longer than the fault ``refresh-off`` takes where nothing else is said."""

PLACE = 0x0020_0000
"""Where march and retention look: row by row in all banks."""

SEEDS = (0x1234_5678, 0xEDCB_A987)

BACKGROUNDS = (0x0000_0000, 0x5555_5555)


def dram_data(bench: Bench, evidence: Evidence) -> str:
    """Data lines, at one address: constants, walking bits, noise."""
    observed = probe_data(bench.link)
    lines = data_bits(bench)
    finding = diagnose(observed, lines)
    evidence |= {
        "data_lines": lines,
        "words": observed.words,
        "wrong_words": observed.wrong_words,
        "wrong_lines": list(finding.lines),
    }
    if finding.lines:
        raise StageFailure(finding.what, finding.causes, bench.command(Stage.LEVELLING))
    return f"{finding.what}, in {observed.words} words"


def dram_address(bench: Bench, evidence: Evidence) -> str:
    """Address lines: a word of its own at each power of two, read back when all are written."""
    size = bench.mailbox.read_steady(Field.DRAM_BYTES)[0]
    places = [0, *(1 << bit for bit in range(2, (size - 1).bit_length()))]
    words = {place: _mark(place) for place in places}
    for place, word in words.items():
        bench.link.write(MAIN_RAM_ORIGIN + place, [word])
    owners = {word: place for place, word in words.items()}
    found = {place: bench.link.read(MAIN_RAM_ORIGIN + place)[0] for place in places}
    pairs = aliases({place: owners.get(word) for place, word in found.items()})
    lost = [place for place, word in found.items() if word not in owners]
    evidence |= {
        "dram_bytes": size,
        "addresses": len(places),
        "aliases": [list(pair) for pair in pairs],
        "lost": lost,
    }
    if pairs:
        raise _aliased(bench, pairs)
    if lost:
        raise StageFailure(
            f"words at {', '.join(f'{place:#x}' for place in lost[:4])} do not keep their content",
            ("an address or bank line that floats", "a chip select that comes and goes"),
            bench.command(Stage.DRAM_ADDRESS, "--repeat", "5"),
        )
    return f"{len(places) - 1} address bits of {size >> 20} MiB are independent"


def _mark(place: int) -> int:
    """A word that no other place has, with bits all over."""
    return (place * 0x9E37_79B1 ^ 0xA5A5_5A5A) & 0xFFFF_FFFF


def _aliased(bench: Bench, pairs: list[tuple[int, int]]) -> StageFailure:
    build = bench.build
    geometry = build.geometry if build else None
    bits = sorted(
        {(place ^ other).bit_length() - 1 for place, other in pairs if 0 in (place, other)}
    )
    if bits:
        shown = ", ".join(f"{bit} ({line})" if (line := address_line(bit, geometry)) else str(bit)
                          for bit in bits)  # fmt: skip
        what = f"address bit {shown} does nothing: what is written to one half is in the other"
        causes = (
            "the line is stuck or open: look at its ball, its resistor, its constraint",
            "the DRAM has fewer rows, columns or banks than the build's",
        )
    else:
        shown = ", ".join(f"{place:#x} and {other:#x}" for place, other in pairs[:4])
        what = f"addresses {shown} are one place"
        causes = ("two address lines are shorted to each other", "they are swapped in part")
    return StageFailure(what, causes, bench.command(Stage.DRAM_ADDRESS, "--repeat", "5"))


def dram_random(bench: Bench, evidence: Evidence) -> str:
    """Words all over DRAM, by the CPU: written in one order, read in the same."""
    size = bench.mailbox.read_steady(Field.DRAM_BYTES)[0]
    words = SIMULATED_WORDS if bench.simulated else RANDOM_WORDS
    reach = 1 << (size // 4).bit_length() - 1
    evidence |= {"words": 0, "wrong_words": 0}
    for seed in SEEDS:
        arguments = (0, words, seed, reach)
        _test(bench, MemoryTest.SCATTER, *arguments)
        _check(bench, evidence, MemoryTest.GATHER, arguments, Stage.DRAM_RANDOM, _explain_random)
    return f"{evidence['words']:,} random words in {size >> 20} MiB as written"


def dram_march(bench: Bench, evidence: Evidence) -> str:
    """March C-, by the CPU: stuck cells, transitions, couplings between neighbours."""
    words = SIMULATED_WORDS // 2 if bench.simulated else MARCH_WORDS
    evidence |= {"words": 0, "wrong_words": 0}
    for background in BACKGROUNDS:
        arguments = (PLACE, words, background)
        _check(bench, evidence, MemoryTest.MARCH, arguments, Stage.DRAM_MARCH, _explain_march)
    kib = 4 * words // 1024
    return f"{kib} KiB, {len(BACKGROUNDS)} backgrounds, 10 operations for each word"


def dram_retention(bench: Bench, evidence: Evidence) -> str:
    """Writes, leaves DRAM alone for a while, and reads."""
    words = SIMULATED_WORDS if bench.simulated else RETENTION_WORDS
    seconds = SIMULATED_RETENTION_S if bench.access.simulated else RETENTION_S
    evidence |= {"words": 0, "wrong_words": 0, "left_alone_s": seconds}
    arguments = (PLACE, words, SEEDS[0])
    _test(bench, MemoryTest.FILL, *arguments)
    _check(bench, evidence, MemoryTest.CHECK, arguments, Stage.DRAM_RETENTION, _explain_march)
    # Reading opens rows, which refreshes them: what counts is the time from here on.
    pause(bench.access, seconds)
    _check(bench, evidence, MemoryTest.CHECK, arguments, Stage.DRAM_RETENTION, _explain_retention)
    return f"{4 * words // 1024} KiB kept for {seconds:g} s"


def _test(bench: Bench, kind: MemoryTest, *arguments: int) -> tuple[int, ...]:
    accept = (Result.OK, Result.FAILED, Result.UNKNOWN_COMMAND)
    answer = bench.mailbox.command(Command.TEST_MEMORY, kind, *arguments, accept=accept)
    if answer.result is Result.UNKNOWN_COMMAND:
        raise StageSkip("this firmware is older: it cannot test memory")
    return answer.words


def _check(
    bench: Bench,
    evidence: Evidence,
    kind: MemoryTest,
    arguments: tuple[int, ...],
    stage: Stage,
    explain: Callable[[], tuple[str, tuple[str, ...]]],
) -> None:
    """Has words checked, and fails where some are wrong."""
    wrong, even, odd, address, expected, found = _test(bench, kind, *arguments)[:6]
    evidence["words"] += arguments[1]
    evidence["wrong_words"] += wrong
    if not wrong:
        return
    lines = data_bits(bench)
    bits = even | odd << 32
    broken = sorted({bit % lines for bit in range(64) if bits >> bit & 1})
    evidence |= {
        "wrong_lines": broken,
        "first_wrong": {"address": address, "expected": expected, "found": found},
    }
    kind_of, causes = explain()
    shown = ", ".join(f"D{line}" for line in broken) if len(broken) < lines else "all data lines"
    raise StageFailure(
        f"{kind_of}: {wrong:,} of {arguments[1]:,} words, on {shown}; first at {address:#010x}: "
        f"{found:08x} instead of {expected:08x}",
        causes,
        bench.command(stage, "--repeat", "5"),
    )


def _explain_random() -> tuple[str, tuple[str, ...]]:
    return "words are wrong all over DRAM", (
        "margins: calibration, termination, supply; --repeat shows whether it is always the same",
        "timing of the DRAM (tRCD, tRP, tRFC) is another chip's",
        "rows are not refreshed in time",
    )


def _explain_march() -> tuple[str, tuple[str, ...]]:
    return "cells do not hold both values next to each other", (
        "the chip has broken cells, where it is always the same address",
        "margins, where it is another one each time",
    )


def _explain_retention() -> tuple[str, tuple[str, ...]]:
    return "DRAM forgets: data was right, and is not after it was left alone", (
        "DRAM is not refreshed, or too seldom: the refresher is off, or its interval counts"
        " another clock",
        "the chip is hot (above 85 degrees it needs refreshing twice as often)",
    )

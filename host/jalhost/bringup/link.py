"""Stage ``link``: patterns through a register, time of an access, throughput."""

import random
import statistics
import time
from contextlib import closing

from jalgateware.contract.mailbox import RING_ENTRIES, RING_ENTRY_WORDS, Field
from jalgateware.contract.memory_map import CSR_BANK_BYTES, CSR_LOCATIONS, CSR_ORIGIN, MAILBOX
from jalhost.bringup.bench import Bench
from jalhost.bringup.stages import Evidence, Stage, StageFailure
from jalhost.errors import LinkError
from jalhost.links.link import Link
from jalhost.links.uartbone import UartBone

SCRATCH = CSR_ORIGIN + CSR_LOCATIONS["ctrl"] * CSR_BANK_BYTES + 4
"""LiteX's register that does nothing; the one behind it counts errors on the bus."""

BUS_ERRORS = SCRATCH + 4

RANDOM_PATTERNS = 28

PATTERNS = (0, 0xFFFFFFFF, 0xAAAAAAAA, 0x55555555, *(1 << bit for bit in range(32)))

TIMED_READS = 32

BLOCK_WORDS = RING_ENTRIES * RING_ENTRY_WORDS

TROUBLES = 3
"""After so many errors nothing new is to be learnt."""


def link(bench: Bench, evidence: Evidence) -> str:
    """Tests the link with retries counted: one that only works by them is broken."""
    try:
        opened = bench.access.open(probing=True)
    except LinkError as error:
        raise _dead(bench, error) from error
    with closing(opened):
        evidence["link"] = opened.description
        try:
            _patterns(opened, evidence)
            if not _troubles(opened, evidence):
                _timing(bench, opened, evidence)
                _throughput(opened, evidence)
            evidence["bus_errors"] = opened.read(BUS_ERRORS)[0]
        except LinkError as error:
            if _troubles(opened, evidence) == 0:
                raise _dead(bench, error) from error
            evidence["last_error"] = error.what
    if _troubles(opened, evidence):
        raise _damaged(bench, evidence)
    return (
        f"{len(PATTERNS) + RANDOM_PATTERNS} patterns unharmed, "
        f"{1e3 * evidence['round_trip_s']:.2f} ms per access, "
        f"{evidence['read_bytes_per_s'] / 1e3:,.0f} kB/s in, "
        f"{evidence['write_bytes_per_s'] / 1e3:,.0f} kB/s out"
    )


def _patterns(opened: Link, evidence: Evidence) -> None:
    """Writes and reads a register; counts what differs."""
    source = random.Random(1)
    evidence |= {"words": 0, "wrong_words": 0, "wrong_bytes": 0}
    values = [*PATTERNS, *(source.getrandbits(32) for _ in range(RANDOM_PATTERNS))]
    for value in values:
        opened.write(SCRATCH, [value])
        _compare(opened.read(SCRATCH), [value], evidence)
        if _troubles(opened, evidence) >= TROUBLES:
            return


def _compare(found: list[int], expected: list[int], evidence: Evidence) -> None:
    for got, wanted in zip(found, expected, strict=True):
        difference = (got ^ wanted).to_bytes(4, "little")
        evidence["words"] += 1
        evidence["wrong_words"] += any(difference)
        evidence["wrong_bytes"] += sum(map(bool, difference))


def _troubles(opened: Link, evidence: Evidence) -> int:
    """Words that came wrong, and accesses that had to be repeated."""
    if isinstance(opened, UartBone):
        evidence |= {"accesses": opened.accesses, "repeated": opened.failures}
    return int(evidence.get("wrong_words", 0)) + int(evidence.get("repeated", 0))


def _timing(bench: Bench, opened: Link, evidence: Evidence) -> None:
    times = []
    cycles = bench.access.time()[0]
    for _ in range(TIMED_READS):
        start = time.monotonic()
        opened.read(SCRATCH)
        times.append(time.monotonic() - start)
    evidence |= {"round_trip_s": statistics.median(times), "longest_round_trip_s": max(times)}
    if cycles is not None:
        passed = (bench.access.time()[0] or cycles) - cycles
        evidence["round_trip_cycles"] = passed // TIMED_READS


def _throughput(opened: Link, evidence: Evidence) -> None:
    """Fills a part of the mailbox that rests while nothing runs, and reads it back."""
    source = random.Random(2)
    words = [source.getrandbits(32) for _ in range(BLOCK_WORDS)]
    place = MAILBOX.origin + Field.OUTPUT_RING
    start = time.monotonic()
    opened.write(place, words)
    opened.read(SCRATCH)  # behind what was written
    middle = time.monotonic()
    found = opened.read(place, BLOCK_WORDS)
    end = time.monotonic()
    _compare(found, words, evidence)
    _troubles(opened, evidence)
    evidence["write_bytes_per_s"] = 4 * BLOCK_WORDS / (middle - start)
    evidence["read_bytes_per_s"] = 4 * BLOCK_WORDS / (end - middle)


def _dead(bench: Bench, error: LinkError) -> StageFailure:
    kind = bench.target.partition(":")[0]
    causes = {
        "eth": ("another address or network", "no network cable", "a firewall drops UDP"),
        "pcie": ("the kernel has not looked since the FPGA was configured", "no such slot"),
    }.get(kind, ("another port or baud rate", "transmit and receive swapped", "no ground"))
    hint = (error.hint,) if error.hint else ()
    return StageFailure(
        error.what,
        (*hint, "the FPGA is not configured, or held in reset", *causes),
        {"pcie": "sudo jalhost pcie rescan"}.get(kind, "jalhost targets"),
    )


def _damaged(bench: Bench, evidence: Evidence) -> StageFailure:
    repeated = evidence.get("repeated", 0)
    return StageFailure(
        f"the link damages what it carries: {evidence['wrong_bytes']} wrong bytes in "
        f"{evidence['words']} words, {repeated} of {evidence.get('accesses', 0)} accesses repeated",
        (
            "bytes change on the cable: a poor ground, a long or unshielded cable, a hub",
            "the baud rate is beyond the adapter, or the two ends' rates differ by percents",
            "the signal's levels do not fit (3.3 V against 1.8 V)",
        ),
        bench.command(Stage.LINK, "--repeat", "10"),
    )

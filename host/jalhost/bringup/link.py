"""Stage ``link``: patterns through a register, time of an access, throughput."""

import random
import statistics
import time
from contextlib import closing
from dataclasses import dataclass

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


@dataclass
class Probe:
    """A link under test. ``before``: its own counts of accesses and failures when it was opened.

    A serial port's link tries rates while it is opened; these failures say nothing.
    """

    link: Link
    evidence: Evidence
    before: tuple[int, int]

    def compare(self, found: list[int], expected: list[int]) -> None:
        """Counts what differs."""
        for got, wanted in zip(found, expected, strict=True):
            difference = (got ^ wanted).to_bytes(4, "little")
            self.evidence["words"] += 1
            self.evidence["wrong_words"] += any(difference)
            self.evidence["wrong_bytes"] += sum(map(bool, difference))

    @property
    def troubles(self) -> int:
        """Words that came wrong, and accesses that had to be repeated."""
        now = _counts(self.link)
        if now is not None:
            self.evidence["accesses"] = now[0] - self.before[0]
            self.evidence["repeated"] = now[1] - self.before[1]
        return int(self.evidence["wrong_words"]) + int(self.evidence.get("repeated", 0))


def _counts(opened: Link) -> tuple[int, int] | None:
    """Accesses and failures, where the link counts them."""
    return (opened.accesses, opened.failures) if isinstance(opened, UartBone) else None


def link(bench: Bench, evidence: Evidence) -> str:
    """Tests the link with retries counted: one that only works by them is broken."""
    try:
        opened = bench.access.open(probing=True)
    except LinkError as error:
        raise _dead(bench, error) from error
    evidence |= {"link": opened.description, "words": 0, "wrong_words": 0, "wrong_bytes": 0}
    with closing(opened):
        probe = Probe(opened, evidence, _counts(opened) or (0, 0))
        try:
            _patterns(probe)
            if not probe.troubles:
                _timing(bench, probe)
                _throughput(probe)
            evidence["bus_errors"] = opened.read(BUS_ERRORS)[0]
        except LinkError as error:
            if not probe.troubles:
                raise _dead(bench, error) from error
            evidence["last_error"] = error.what
    if probe.troubles:
        raise _damaged(bench, evidence)
    return (
        f"{len(PATTERNS) + RANDOM_PATTERNS} patterns unharmed, "
        f"{1e3 * evidence['round_trip_s']:.2f} ms per access, "
        f"{evidence['read_bytes_per_s'] / 1e3:,.0f} kB/s in, "
        f"{evidence['write_bytes_per_s'] / 1e3:,.0f} kB/s out"
    )


def _patterns(probe: Probe) -> None:
    """Writes and reads a register."""
    source = random.Random(1)
    for value in [*PATTERNS, *(source.getrandbits(32) for _ in range(RANDOM_PATTERNS))]:
        probe.link.write(SCRATCH, [value])
        probe.compare(probe.link.read(SCRATCH), [value])
        if probe.troubles >= TROUBLES:
            return


def _timing(bench: Bench, probe: Probe) -> None:
    times = []
    cycles = bench.access.time()[0]
    for _ in range(TIMED_READS):
        start = time.monotonic()
        probe.link.read(SCRATCH)
        times.append(time.monotonic() - start)
    probe.evidence["round_trip_s"] = statistics.median(times)
    probe.evidence["longest_round_trip_s"] = max(times)
    if cycles is not None:
        passed = (bench.access.time()[0] or cycles) - cycles
        probe.evidence["round_trip_cycles"] = passed // TIMED_READS


def _throughput(probe: Probe) -> None:
    """Fills a part of the mailbox that rests while nothing runs, and reads it back."""
    source = random.Random(2)
    words = [source.getrandbits(32) for _ in range(BLOCK_WORDS)]
    place = MAILBOX.origin + Field.OUTPUT_RING
    start = time.monotonic()
    probe.link.write(place, words)
    probe.link.read(SCRATCH)  # behind what was written
    middle = time.monotonic()
    found = probe.link.read(place, BLOCK_WORDS)
    end = time.monotonic()
    probe.compare(found, words)
    probe.evidence["write_bytes_per_s"] = 4 * BLOCK_WORDS / (middle - start)
    probe.evidence["read_bytes_per_s"] = 4 * BLOCK_WORDS / (end - middle)


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

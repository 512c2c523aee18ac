"""``jalhost mem``: memories by name, and tests of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jalhost.cli.bus import BundleFile, open_bus, show
from jalhost.cli.options import Debug, GatewareText, Json, TargetName, say, show_help_alone
from jalhost.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from jalhost.engine.access import Access
    from jalhost.engine.memory_test import Outcome
    from jalhost.engine.records import MemoryRecord, OutcomeRecord

LINE_WORDS = 4
"""Words in a line of a dump."""

BURST_WORDS = 256
"""Words that a dump reads together."""

mem = typer.Typer(
    help="Read, write, dump and test memories.",
    rich_markup_mode=None,
    invoke_without_command=True,
    callback=show_help_alone,
)

Place = Annotated[str, typer.Argument(help="A number, or MEMORY[+OFFSET], or a register.")]


@mem.command("read")
def mem_read(
    address: Place,
    words: Annotated[int, typer.Argument(min=1, help="How many.")] = 1,
    target: TargetName = None,
    bundle: BundleFile = None,
    gateware: GatewareText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Read words. For example: jalhost mem read main_ram+0x1000 4."""
    with open_bus(target, bundle, gateware) as access:
        record = _read(access, address, words)
    show(record, [" ".join(f"{word:08x}" for word in record.words)], as_json)


@mem.command("write")
def mem_write(
    address: Place,
    values: Annotated[list[str], typer.Argument(help="Words, one behind the other.")],
    target: TargetName = None,
    bundle: BundleFile = None,
    gateware: GatewareText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write words. For example: jalhost mem write main_ram+0x1000 0xdeadbeef 7."""
    from jalhost.engine.records import MemoryRecord
    from jalhost.register_map import parse_number

    words = [parse_number(value) for value in values]
    for word in words:
        if not 0 <= word < 1 << 32:
            raise UsageError(f"a word is 0 to 0xffffffff, not {word:#x}")
    with open_bus(target, bundle, gateware) as access:
        start = access.memories.address(address)
        memory = access.memories.region(start, 4 * len(words))
        if memory.name == "rom":
            raise UsageError("the ROM is read-only", "it holds the firmware")
        access.link.write(start, words)
        access.link.read(start)  # returns when the words before it are there
        name = access.name
    record = MemoryRecord(target=name, memory=memory.name, address=start, words=words, written=True)
    show(record, [f"{len(words)} words written to {start:#010x} ({memory.name})"], as_json)


@mem.command("dump")
def mem_dump(
    address: Place,
    size: Annotated[str, typer.Argument(help="Bytes, for example 256, 0x100 or 4K.")] = "256",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the bytes.", show_default="as text"),
    ] = None,
    target: TargetName = None,
    bundle: BundleFile = None,
    gateware: GatewareText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show memory as text, or save it. For example: jalhost mem dump mailbox 64."""
    from jalhost.files import atomic_path
    from jalhost.register_map import parse_number

    count = parse_number(size)
    with open_bus(target, bundle, gateware) as access:
        if count % 4:
            raise UsageError(f"{count} bytes are no whole words", "the size is a multiple of 4")
        record = _read(access, address, count // 4)
    if output:
        with atomic_path(output) as path:
            path.write_bytes(b"".join(word.to_bytes(4, "little") for word in record.words))
        say(f"{count:,} bytes from {record.address:#010x} in {output}")
        if as_json:
            print(record.model_dump_json(indent=2))
    else:
        show(record, _dump(record.address, record.words), as_json)


def _read(access: "Access", place: str, words: int) -> "MemoryRecord":
    """Reads words, in bursts."""
    from jalhost.engine.records import MemoryRecord
    from jalhost.progress import Meter

    start = access.memories.address(place)
    memory = access.memories.region(start, 4 * words)
    found: list[int] = []
    meter = Meter(4 * words, "read")
    while len(found) < words:
        part = min(BURST_WORDS, words - len(found))
        found += access.link.read(start + 4 * len(found), part)
        if words > BURST_WORDS:
            say(meter.progress(4 * len(found)))
    return MemoryRecord(
        target=access.name, memory=memory.name, address=start, words=found, written=False
    )


def _dump(address: int, words: list[int]) -> list[str]:
    lines = []
    for first in range(0, len(words), LINE_WORDS):
        part = words[first : first + LINE_WORDS]
        content = b"".join(word.to_bytes(4, "little") for word in part)
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in content)
        numbers = " ".join(f"{word:08x}" for word in part)
        lines.append(f"{address + 4 * first:08x}  {numbers:<{9 * LINE_WORDS}} {text}")
    return lines


@mem.command("test")
def mem_test(
    address: Annotated[
        str | None,
        typer.Argument(help="Start, in main_ram.", show_default="a region kept for tests"),
    ] = None,
    size: Annotated[str, typer.Option("--size", help="Bytes, for example 8K or 1M.")] = "8K",
    tests: Annotated[
        str, typer.Option("--tests", help="Of data-bus, address-bus, random and march.")
    ] = "data-bus,address-bus,random,march",
    block: Annotated[
        int,
        typer.Option(min=1, max=128, help="Words that move together; 1 is the strict march C-."),
    ] = 64,
    seed: Annotated[int, typer.Option(help="Of the random test.")] = 0,
    target: TargetName = None,
    bundle: BundleFile = None,
    gateware: GatewareText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Test DRAM; what is in it is lost. For example: jalhost mem test main_ram --size 1M."""
    from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN, SCRATCH_BYTES, SCRATCH_OFFSET
    from jalhost.engine.memory_test import TESTS, MemoryTest
    from jalhost.engine.records import MemoryTestRecord
    from jalhost.register_map import parse_number

    names, count = _tests(tests, list(TESTS)), parse_number(size)
    with open_bus(target, bundle, gateware) as access:
        start = MAIN_RAM_ORIGIN + SCRATCH_OFFSET
        if address is not None:
            start = access.memories.address(address)
        elif count > SCRATCH_BYTES:
            raise UsageError(
                f"the region for tests has {SCRATCH_BYTES:,} bytes", "name the start, too"
            )
        memory = access.memories.region(start, count)
        if memory.name != "main_ram":
            raise UsageError(f"{memory.name} is in use by the firmware", "test main_ram")
        tester = MemoryTest(access.link, start, count, say, block, seed)
        outcomes = []
        for name in names:
            outcomes.append(tester.run(name))
            if not as_json:
                print("\n".join(_verdict(outcomes[-1])), flush=True)
        where = access.name
    passed = all(outcome.passed for outcome in outcomes)
    record = MemoryTestRecord(
        target=where, memory=memory.name, address=start, size=count, seed=seed, block_words=block,
        passed=passed, tests=[_outcome(outcome) for outcome in outcomes],
    )  # fmt: skip
    if as_json:
        print(record.model_dump_json(indent=2))
    if not passed:
        failed = ", ".join(outcome.test for outcome in outcomes if not outcome.passed)
        raise DeviceError(f"{where}: {memory.name} failed the test {failed}", _advice(outcomes))


def _tests(text: str, known: list[str]) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no memory test {name!r}", f"tests: {', '.join(known)}")
    return names


def _verdict(outcome: "Outcome") -> list[str]:
    if outcome.passed:
        return [f"{outcome.test:<11} passed, {outcome.accesses:,} accesses"]
    lines = [f"{outcome.test:<11} FAILED, {outcome.failures:,} of {outcome.accesses:,} accesses"]
    lines[0] += f", bits {outcome.wrong_bits:08x}"
    for failure in outcome.first:
        kind = "" if failure.lasting else " (right when read again)"
        lines.append(
            f"  {failure.address:#010x}: {failure.got:08x}, not {failure.expected:08x}{kind}"
        )
    return lines


def _advice(outcomes: "list[Outcome]") -> str:
    if not any(failure.lasting for outcome in outcomes for failure in outcome.first):
        return "all was right when read again: check the link first"
    return "a few bits hint at a line of the data bus, whole words at addresses or timing"


def _outcome(outcome: "Outcome") -> "OutcomeRecord":
    from jalhost.engine.records import FailureRecord, OutcomeRecord

    return OutcomeRecord(
        name=outcome.test,
        passed=outcome.passed,
        accesses=outcome.accesses,
        failures=outcome.failures,
        wrong_bits=outcome.wrong_bits,
        first=[
            FailureRecord(
                address=item.address,
                expected=item.expected,
                got=item.got,
                again=item.again,
                lasting=item.lasting,
            )
            for item in outcome.first
        ],
    )

"""Stages ``identity`` and ``firmware``: which build answers, and whether its CPU runs."""

import time

from jalgateware.contract.mailbox import (
    LIMITS,
    MAGIC,
    PROTOCOL,
    BootReason,
    Command,
    Field,
    Result,
    State,
)
from jalhost.bringup.bench import Bench
from jalhost.bringup.build import Build
from jalhost.bringup.stages import Evidence, Stage, StageFailure
from jalhost.errors import DeviceError
from jalhost.identity import read_device_fingerprint
from jalhost.links.open import read_identifier

NO_TRAP = 0xFFFFFFFF

TRAPS = {
    0: "instruction address misaligned",
    1: "instruction access fault",
    2: "illegal instruction",
    4: "load address misaligned",
    5: "load access fault",
    6: "store address misaligned",
    7: "store access fault",
}
"""``mcause`` of RISC-V's exceptions."""

HEARTBEATS = 8
"""Looks at the heartbeat; it changes at least every millisecond."""


def identity(bench: Bench, evidence: Evidence) -> str:
    """Compares gateware, register map and firmware with the build that they should be."""
    found = read_device_fingerprint(bench.link)
    name = read_identifier(bench.link)
    evidence |= {"gateware_hash": f"{found:016x}", "identifier": name}
    expected = bench.build
    if expected is not None:
        evidence["expected_hash"] = f"{expected.fingerprint:016x}"
        if expected.fingerprint != found:
            raise StageFailure(
                f"the gateware is another build: its hash is {found:016x}, expected "
                f"{expected.fingerprint:016x}",
                (
                    "the board still has an older bitstream: flash memory was not written, or the "
                    "FPGA was not loaded from it",
                    "the bundle is not the one that was flashed",
                ),
                bench.flash_command(),
            )
        if expected.registers:
            _check_registers(bench, expected, evidence)
    against = "as expected" if expected else "of any build: --bundle says which it should be"
    if bench.mailbox.read_steady(Field.MAGIC)[0] != MAGIC:
        return f"{name}, {found:016x} {against}, firmware not ready yet"
    version = bench.mailbox.read_steady(Field.FIRMWARE_VERSION)[0]
    evidence["firmware"] = ".".join(str(version >> shift & 0xFF) for shift in (16, 8, 0))
    return f"{name}, {found:016x} {against}, firmware {evidence['firmware']}"


def _check_registers(bench: Bench, build: Build, evidence: Evidence) -> None:
    """Reads what must be the same at two addresses: in the map, and in the mailbox.

    The hash covers the map already; this finds a map that is not the hash's.
    """
    evidence["csr_map_hash"] = build.registers_hash
    if bench.mailbox.read_steady(Field.MAGIC)[0] != MAGIC:
        return  # the firmware has not said its part
    words = bench.mailbox.read_steady(Field.LIMITS, len(LIMITS))
    for name, expected in zip(LIMITS, words, strict=True):
        address = build.registers.get(f"engine_max_{name}")
        if address is None:
            continue
        (value,) = bench.link.read(address)
        if value != expected:
            raise StageFailure(
                f"the register map is not the gateware's: engine_max_{name} at {address:#010x} "
                f"reads {value}, the firmware says {expected}",
                ("csr.json is of another build than the bitstream: the bundle was put together"
                 " by hand",),
                bench.flash_command(),
            )  # fmt: skip


def firmware(bench: Bench, evidence: Evidence) -> str:
    """Looks whether the CPU runs, and why it started last."""
    try:
        bench.mailbox.wait_until_ready(bench.access.boot_timeout_s)
    except DeviceError as error:
        magic = bench.mailbox.read_steady(Field.MAGIC)[0]
        raise _not_ready(bench, error, magic) from error
    read = bench.mailbox.read_steady
    reason = BootReason(read(Field.BOOT_REASON)[0])
    cause, place = read(Field.LAST_TRAP_CAUSE, 2)
    evidence |= {
        "protocol": PROTOCOL,
        "boots": read(Field.BOOTS)[0],
        "boot_reason": reason.name,
        "boot_cycles": read(Field.BOOT_CYCLES)[0],
        "state": State(bench.mailbox.steady_status().state).name,
        "fault": Result(read(Field.FAULT)[0]).name,
    }
    if cause != NO_TRAP:
        evidence |= {"trap": TRAPS.get(cause, f"mcause {cause}"), "trap_pc": f"{place:#010x}"}
    if reason is BootReason.WATCHDOG or cause != NO_TRAP:
        raise _died(bench, evidence)
    _check_heartbeat(bench)
    if evidence["fault"] == Result.WRONG_FIRMWARE.name:
        raise StageFailure(
            "the firmware was built for other gateware",
            ("firmware and bitstream come from two builds",),
            bench.flash_command(),
        )
    bench.mailbox.command(Command.STATUS)
    started = f"started {evidence['boots']} times, last by {reason.name}"
    note = "" if evidence["fault"] == "OK" else f"; it reports {evidence['fault']}"
    return f"{started}, {evidence['boot_cycles']:,} cycles to ready{note}"


def _not_ready(bench: Bench, error: DeviceError, magic: int) -> StageFailure:
    if magic == MAGIC:
        return StageFailure(error.what, (error.hint,), bench.flash_command())
    return StageFailure(
        error.what,
        (
            "the CPU has no clock or stays in reset: does the clocks' PLL lock?",
            "the ROM is empty: the bitstream was built without firmware",
            "the firmware hangs before it is ready",
        ),
        bench.flash_command(),
    )


def _died(bench: Bench, evidence: Evidence) -> StageFailure:
    if "trap" in evidence:
        what = f"the firmware died of a trap ({evidence['trap']} at {evidence['trap_pc']})"
    else:
        what = "the CPU hung, and its watchdog reset it"
    return StageFailure(
        f"{what}; it has started {evidence['boots']} times",
        (
            "an access to the bus that never ended: DRAM that is not ready, a peripheral's clock",
            "the supply drops under load, or timing is not met: `jalhost bundle info` has slack",
            "a defect in the firmware: its console shows where (litex_term crossover)",
        ),
        "power the board off and on, then: " + bench.command(Stage.FIRMWARE, "--repeat", "5"),
    )


def _check_heartbeat(bench: Bench) -> None:
    seen: set[int] = set()
    deadline = time.monotonic() + bench.access.patience_s
    while len(seen) < 2 and time.monotonic() < deadline:
        seen |= {bench.mailbox.status().heartbeat for _ in range(HEARTBEATS)}
    if len(seen) < 2:
        raise StageFailure(
            "the firmware was ready and stopped: its heartbeat stands still",
            ("the CPU waits for a bus access that never ends", "its watchdog is off"),
            bench.flash_command(),
        )

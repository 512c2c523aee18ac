"""Seeded faults in the simulated gateware: what a diagnosis has to find.

A fault is one of

- ``lane:ROW.LANE:BIT=VALUE``: in token row ROW, bit BIT of the product that lane LANE (byte of a
  word of weights) computes is stuck at VALUE.
- ``table:NAME:INDEX:BIT``: bit BIT of entry INDEX of a look-up table of
  :mod:`jalgateware.contract.tables` is inverted.
- ``drop-word:PORT.N``: of each run, the engine's read port PORT loses its word N (counted from 0,
  and not that one, as none is before it) and gives the word before it twice.

All faults share a build. Tables lie in files that the simulator reads when it starts, and so does a
small memory that faults of the other kinds are read from, which only this build has. What selects a
fault is thus a folder with other files, which is made in a moment.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jalgateware.contract import tables
from jalgateware.contract.config import EngineConfig
from jalhost.errors import UsageError
from jalsoc.sim.system_faults import forms

FORMS = "lane:ROW.LANE:BIT=VALUE, table:NAME:INDEX:BIT or drop-word:PORT.N"

ANY_FAULT = "drop-word:0.1"
"""Stands for all faults where a system is elaborated: any engine has it."""

MEMORY = "faults"
"""Name of the memory that an instrumented system reads its fault from."""

WORDS = 8
"""Of that memory: 0: row and lane, 1: stuck bits, 2: their values, 3: port, 4: word."""

ROW_BITS = LANE_BITS = PORT_BITS = 8

ENABLE = 1 << 31
"""Of the words that choose a place: a system without a fault has zeros there."""


@dataclass(frozen=True)
class Fault:
    """One fault: ``words`` of the memory, or a bit of ``table``, as entries and their index."""

    words: tuple[int, ...] = (0,) * WORDS
    table: tuple[int, ...] = ()
    index: int = 0
    bit: int = 0


def parse_fault(text: str, engine: EngineConfig) -> Fault:
    """What a fault's text stands for.

    Raises:
        UsageError: there is no such kind of fault, or no such place in this engine.
    """
    if found := re.fullmatch(r"lane:(\d+)\.(\d+):(\d+)=([01])", text):
        row, lane, bit, value = map(int, found.groups())
        bits = 26 if engine.mxfp4 else 16
        _below("token row", row, engine.tokens, text)
        _below("lane", lane, engine.lanes, text)
        _below("bit", bit, bits, text)
        place = ENABLE | row | lane << ROW_BITS
        return Fault((place, 1 << bit, value << bit) + (0,) * (WORDS - 3))
    if found := re.fullmatch(r"drop-word:(\d+)\.(\d+)", text):
        port, word = map(int, found.groups())
        _below("read port", port, engine.read_ports, text)
        _below("word", word, 1 << 32, text)
        if word == 0:
            raise UsageError(f"fault {text}: there is no word before word 0", "choose a later one")
        return Fault((0, 0, 0, ENABLE | port, word) + (0,) * (WORDS - 5))
    if found := re.fullmatch(r"table:(\w+):(\d+):(\d+)", text):
        entries, width = _table(found[1])
        index, bit = int(found[2]), int(found[3])
        _below("entry", index, len(entries), text)
        _below("bit", bit, width, text)
        return Fault(table=entries, index=index, bit=bit)
    raise UsageError(f"no fault {text!r}", f"faults are {forms()}, {FORMS}")


def _below(what: str, number: int, end: int, text: str) -> None:
    if number >= end:
        raise UsageError(f"fault {text}: there is no {what} {number}", f"0 to {end - 1}")


def _table(name: str) -> tuple[tuple[int, ...], int]:
    """A table's entries as the gateware stores them, and their width."""
    if name == "exp2":
        return tables.EXP2, max(tables.EXP2).bit_length()
    found = {item.name: item for item in vars(tables).values() if isinstance(item, tables.Table)}
    if name not in found:
        names = ", ".join(sorted([*found, "exp2"]))
        raise UsageError(f"there is no table {name!r}", f"tables are {names}")
    table = found[name]
    pairs = zip(table.base, table.delta, strict=True)
    entries = tuple(base | delta << table.base_bits for base, delta in pairs)
    return entries, table.base_bits + table.delta_bits


def instrument(soc: Any) -> None:
    """Adds the places of faults to a system that is not finalised yet.

    The units themselves know nothing of faults: statements of theirs are replaced here.
    """
    from migen import Memory, Signal

    memory = Memory(32, WORDS, init=[0] * WORDS)
    memory.name_override = MEMORY
    soc.specials += memory
    words = []
    for address in range(WORDS):
        port = memory.get_port(async_read=True)
        soc.specials += port
        soc.comb += port.adr.eq(address)
        word = Signal(32, name="fault_word")
        soc.comb += word.eq(port.dat_r)
        words.append(word)
    _instrument_lanes(soc.engine.datapath.lanes, soc.engine_config, words)
    _instrument_ports(soc.engine, words)


def _instrument_lanes(lanes: Any, config: EngineConfig, words: list[Any]) -> None:
    """Second product registers take what the first one has, but for the stuck bits."""
    from migen import Mux, Signal
    from migen.fhdl.structure import _Assign, _Operator

    place, mask, values = words[:3]
    for row in range(config.tokens):
        lane = 0
        for part in range(config.rows_parallel):
            dot = getattr(lanes, f"dot{part}_{row}")
            statements = [item for item in _sync(dot) if isinstance(item, _Assign)]
            firsts = [
                item.l for item in statements if isinstance(item.r, _Operator) and item.r.op == "*"
            ]
            for first in firsts:
                (second,) = [item for item in statements if item.r is first]
                stuck = Signal(len(first), name="stuck")
                chosen = place == (ENABLE | row | lane << ROW_BITS)
                dot.comb += stuck.eq(Mux(chosen, mask, 0))
                second.r = (first & ~stuck) | (values & stuck)
                lane += 1
        if lane != config.lanes:
            raise ValueError(f"{lane} products of {config.lanes} lanes: their statements changed")


def _instrument_ports(engine: Any, words: list[Any]) -> None:
    """Words of a read port are counted in each run; one of them is the word before it."""
    from migen import If, Mux, Signal

    place, number = words[3:5]
    for index, reader in enumerate(engine.fetch.reader.readers):
        sink = reader.fifo.sink
        (taken,) = [item for item in _comb(reader) if getattr(item, "l", None) is sink.data]
        count = Signal(32, name="fault_count")
        before = Signal(len(sink.data), name="fault_before")
        reader.sync += [
            If(sink.valid, count.eq(count + 1), before.eq(taken.r)),
            If(engine.registers.start, count.eq(0)),
        ]
        lost = (place == (ENABLE | index)) & (count == number)
        taken.r = Mux(lost, before, taken.r)


def _sync(module: Any) -> list[Any]:
    statements: list[Any] = module._fragment.sync["sys"]
    return statements


def _comb(module: Any) -> list[Any]:
    statements: list[Any] = module._fragment.comb
    return statements


def faulty_system(system: Path, fault: Fault, folder: Path) -> None:
    """Copies what a simulator reads when it starts to ``folder``, with the fault in it.

    Raises:
        UsageError: this engine does not have the table.
    """
    for path in system.iterdir():
        if path.is_file() and path.suffix != ".v":
            shutil.copy(path, folder)
    memory = folder / f"sim_{MEMORY}.init"
    memory.write_text("".join(f"{word:x}\n" for word in fault.words), encoding="utf-8")
    if not fault.table:
        return
    found = [path for path in folder.glob("*.init") if _content(path) == fault.table]
    if not found:
        raise UsageError("this engine does not have that table", "choose another fault")
    entries = list(fault.table)
    entries[fault.index] ^= 1 << fault.bit
    for path in found:
        path.write_text("".join(f"{entry:x}\n" for entry in entries), encoding="utf-8")


def _content(path: Path) -> tuple[int, ...]:
    return tuple(int(line, 16) for line in path.read_text(encoding="utf-8").split())

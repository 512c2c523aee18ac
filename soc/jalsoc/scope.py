"""LiteScope's logic analyzer on what tells why the engine is not faster, or stands still."""

from pathlib import Path
from typing import Any

from litescope import LiteScopeAnalyzer
from migen import Cat, Signal

CSR_LOCATION = 26
"""Place of the CSR bank, below those of Ethernet and PCIe: all others lie where they lie without a
scope."""

DEPTH = 1024
"""Samples that are kept, one per cycle."""

ANALYZER_CSV = "analyzer.csv"
"""What ``litescope_cli`` knows the signals by."""

PREFIX = "scope_"
"""What the names of all signals begin with."""


def probes(soc: Any) -> dict[str, Any]:
    """What is watched, by name: signals, or expressions of them.

    ``loop_*``, ``execute_*``: the state of the token loop and of the execute unit, a bit each;
    ``stall_*``: why the lanes or attention stand; ``read*``, ``write``: handshakes of the engine's
    ports to DRAM.
    """
    engine, ports = soc.engine, soc.engine_ports
    loop, data, fetch = engine.token_loop, engine.datapath, engine.fetch
    found = {}
    for name, fsm in (("loop", loop.fsm), ("execute", data.sequencer.fsm)):
        for state in list(fsm.actions):
            found[f"{name}_{state.lower()}"] = fsm.ongoing(state)
    found |= {
        "stall_weights": data.lanes.stall_weights,
        "stall_vector": data.lanes.stall_vector,
        "stall_kv": data.attention.stall,
        "stall_host": loop.waits,
        "lanes_busy": data.lanes.busy,
        "attention_busy": data.attention.busy,
        "pass_start": loop.pass_start,
        "pass_done": data.pass_done,
        "last_row": loop.last_row,
        "sample": loop.sample,
        "fetch_walking": fetch.walking,
        "tape_valid": fetch.source.valid,
        "tape_ready": fetch.source.ready,
        "output_valid": engine.output.source.valid,
        "error": engine.registers.error,
    }
    for number, port in enumerate(ports[:-1]):
        found[f"read{number}"] = _handshakes(port.cmd, port.rdata)
    found["write"] = _handshakes(ports[-1].cmd, ports[-1].wdata)
    return {name: part for name, item in found.items() for name, part in _split(name, item)}


def _handshakes(command: Any, data: Any) -> dict[str, Signal]:
    return {
        "cmd_valid": command.valid,
        "cmd_ready": command.ready,
        "data_valid": data.valid,
        "data_ready": data.ready,
    }


def _split(name: str, item: Any) -> list[tuple[str, Any]]:
    if isinstance(item, dict):
        return [(f"{name}_{end}", part) for end, part in item.items()]
    return [(name, item)]


def add_scope(soc: Any) -> None:
    """Gives a system the analyzer ``analyzer``, in the system's clock domain.

    Args:
        soc: a :class:`jalsoc.soc.JalSoC`, before it is finalised.
    """
    watched = probes(soc)
    signals = []
    for name, source in watched.items():
        # Names of their own: those of the units' signals depend on what else is in the design.
        signal = Signal(len(Cat(source)), name_override=PREFIX + name)
        soc.comb += signal.eq(source)
        signals.append(signal)
    soc.csr.add("analyzer", n=CSR_LOCATION)
    soc.analyzer = LiteScopeAnalyzer(
        signals,
        depth=DEPTH,
        samplerate=soc.sys_clk_freq,
        # The engine's paths must not become longer for being watched.
        register=True,
        csr_csv=None,
    )


def write_analyzer(soc: Any, names: Any, folder: Path) -> None:
    """Writes ``analyzer.csv`` of a system with a scope; ``names``: as Verilog was written with."""
    soc.analyzer.export_csv(names, str(folder / ANALYZER_CSV))

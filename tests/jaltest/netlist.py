"""An engine as the boards' synthesis leaves it, in ECP5 cells, simulated by Verilator."""

import copy
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from litex.gen import LiteXModule
from litex.gen.fhdl.verilog import convert
from litex.soc.interconnect import csr_bus
from migen import Cat, ClockDomain, Signal

from jalboards import tools
from jalboards.board import Flow
from jalboards.elaborate import PROJECT, TOP
from jalgateware.contract import isa
from jalgateware.contract.mailbox import COUNTERS, PROMPT_FINAL
from jalgateware.units.counters import Counters
from jaltest.ecp5_cells import block_ram, multiplier
from jaltest.engine import CACHE, TAPE, Bench, Run
from jaltest.side_by_side import run, yosys

END, WRITE, TAKE, READ = range(4)
"""Steps of the bench's script."""

LIBRARY = "read_verilog -overwrite +/lattice/cells_sim_ecp5.v"

FLATTEN = f"{LIBRARY}; read_json broken.json; hierarchy -top {TOP}; proc; flatten; "
FLATTEN += "rename -hide; opt_expr; opt_clean"


@dataclass(frozen=True)
class Design:
    """An engine behind a CSR bus, its DRAM ports side by side, the one that writes last.

    ``pins`` by name, as ``netlist_bench.v`` has them; ``registers``: their numbers on the bus.
    """

    unit: Any
    pins: dict[str, Any]
    registers: dict[str, int]

    def write(self, folder: Path) -> None:
        """Writes the Verilog, and what the boards' tools want to know of it."""
        result = convert(self.unit, ios=set(self.pins.values()), name=TOP)
        (folder / f"{TOP}.v").write_text(result.main_source, encoding="utf-8")
        for name, content in result.data_files.items():
            (folder / name).write_text(content, encoding="utf-8")
        project = json.dumps({"sources": [f"{TOP}.v"]})
        (folder / PROJECT).write_text(project, encoding="utf-8")


def design(bench: Bench) -> Design:
    """The bench's engine with pins."""
    ports = [state.port for state in bench.memory.ports]
    count, bits = len(ports), bench.config.word_bits
    unit = LiteXModule()
    unit.cd_sys = ClockDomain()
    unit.engine = bench.unit
    bus = csr_bus.Interface(data_width=32, address_width=14)
    unit.bank = csr_bus.CSRBank(bench.unit.get_csrs(), bus=bus)
    # LiteX numbers the words of a register that can be written, and each has one here.
    names = [csr.name.removesuffix("0") for csr in unit.bank.simple_csrs]
    pins = {"clk": unit.cd_sys.clk, "rst": unit.cd_sys.rst}
    pins |= {name: getattr(bus, name) for name in ("adr", "we", "re", "dat_w", "dat_r")}

    def side_by_side(path: str) -> Cat:
        return Cat(*(reduce(getattr, path.split("_"), port) for port in ports))

    for name in ("cmd_valid", "cmd_we", "rdata_ready", "wdata_valid"):
        pins[name] = Signal(count)
        unit.comb += pins[name].eq(side_by_side(name))
    for name in ("cmd_ready", "rdata_valid", "wdata_ready"):
        pins[name] = Signal(count)
        unit.comb += side_by_side(name).eq(pins[name])
    pins |= {"cmd_addr": Signal(len(side_by_side("cmd_addr"))), "rdata": Signal(bits * count)}
    pins |= {"wdata": Signal(bits), "wdata_we": Signal(bits // 8)}
    unit.comb += [
        pins["cmd_addr"].eq(side_by_side("cmd_addr")),
        side_by_side("rdata_data").eq(pins["rdata"]),
        pins["wdata"].eq(ports[-1].wdata.data),
        pins["wdata_we"].eq(ports[-1].wdata.we),
    ]
    for name, pin in pins.items():
        pin.name_override = name
    return Design(unit, pins, {name: index for index, name in enumerate(names)})


@dataclass(frozen=True)
class Site:
    """A bit of a cell's output that can be inverted."""

    cell: str
    kind: str
    port: str
    bit: int = 0


def sites(netlist: dict[str, Any], counts: dict[str, int], seed: int = 0) -> list[Site]:
    """So many outputs of cells of each type, by chance; each is read by some other cell."""
    pick = random.Random(seed)
    cells = netlist["modules"][TOP]["cells"]
    read = {
        bit
        for cell in cells.values()
        for port, bits in cell["connections"].items()
        if cell["port_directions"][port] == "input"
        for bit in bits
    }
    found = []
    for kind, count in counts.items():
        outputs = [
            Site(name, kind, port, index)
            for name, cell in sorted(cells.items())
            if cell["type"] == kind
            for port, bits in cell["connections"].items()
            for index, bit in enumerate(bits)
            if cell["port_directions"][port] == "output" and bit in read
        ]
        found += pick.sample(outputs, count)
    return found


def breakable(netlist: dict[str, Any], found: Sequence[Site]) -> dict[str, Any]:
    """The netlist with an input ``fault``, each bit of which inverts one of the outputs."""
    module = copy.deepcopy(netlist["modules"][TOP])
    cells = module["cells"]
    used = [bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits]
    used += [bit for port in module["ports"].values() for bit in port["bits"]]
    newest = max(bit for bit in used if isinstance(bit, int)) + 1
    faults = list(range(newest, newest + len(found)))
    module["ports"]["fault"] = {"direction": "input", "bits": faults}
    for fault, site in zip(faults, found, strict=True):
        connections = cells[site.cell]["connections"]
        net, before = connections[site.port][site.bit], fault + len(found)
        connections[site.port][site.bit] = before
        cells[f"fault{fault}"] = {
            "hide_name": 0,
            "type": "LUT4",
            "parameters": {"INIT": f"{0x6666:016b}"},  # A xor B
            "attributes": {},
            "port_directions": dict.fromkeys("ABCD", "input") | {"Z": "output"},
            "connections": {"A": [before], "B": [fault], "C": ["0"], "D": ["0"], "Z": [net]},
        }
    # Without their names nets are single bits: of vectors a simulator believes that bits depend on
    # each other.
    module["netnames"] = {}
    return {"modules": {TOP: module}}


class NetlistSimulator:
    """A bench's engine, synthesised as for boards, in Verilator.

    Args:
        bench: the engine, its model and the golden machine; its own simulation is not used.
        folder: where everything is written.
        counts: how many outputs of cells can be broken, by the cells' type.
    """

    def __init__(self, bench: Bench, folder: Path, counts: dict[str, int]) -> None:
        self.bench = bench
        self.folder = folder
        self.design = design(bench)
        self.design.write(folder)
        tools.synthesise(folder, Flow.ECP5, lambda command, where: print(run(where, command)))
        self.netlist: dict[str, Any] = json.loads((folder / tools.NETLIST).read_text("utf-8"))
        self.sites = sites(self.netlist, counts)
        broken = breakable(self.netlist, self.sites)
        (folder / "broken.json").write_text(json.dumps(broken), encoding="utf-8")
        self._compile()

    def _compile(self) -> None:
        script = f"{FLATTEN}; write_verilog -noattr flat.v"
        yosys(self.folder, script)
        # Verilator gets these two as they are; yosys has flattened all others.
        (self.folder / "cells.v").write_text(multiplier() + block_ram(), encoding="utf-8")
        bench = Path(__file__).with_name("netlist_bench.v")
        registers = self.design.registers
        parameters = {
            "PORTS": len(self.bench.memory.ports),
            "BITS": self.bench.config.word_bits,
            "FAULTS": len(self.sites),
            "TAPE": TAPE,
            "STATUS": registers["status"],
            "TOKEN": registers["output_token"],
            "POP": registers["output_pop"],
        }
        options = "--binary --timing -Wno-fatal --flatten --x-initial fast --top-module bench"
        # Compiling takes the most time: no optimisation, small functions, and few files, as each
        # reads the header with all nets.
        options += " -o bench --Mdir obj -CFLAGS -O0 -j 2"
        options += " --output-split 100000 --output-split-cfuncs 500"
        run(
            self.folder,
            [
                "verilator",
                *options.split(),
                *(f"-G{name}={value}" for name, value in parameters.items()),
                str(bench),
                "cells.v",
                "flat.v",
            ],
        )

    def script(self, task: Run) -> list[tuple[int, int, int]]:
        """What the host does for a run: steps of kind, register and value."""
        steps: list[tuple[int, int, int]] = []

        def write(name: str, value: int) -> None:
            steps.append((WRITE, self.design.registers[name], value))

        write("program_address", 0)
        for item in self.bench.program:
            for word in isa.encode(item):
                write("program_data", word)
        for name, value in (
            ("tape_base", TAPE),
            ("kv_base", CACHE),
            ("position", task.position),
            ("context", task.context or self.bench.architecture.context),
            ("generate_count", task.count),
            ("inverse_temperature", task.sampling.inverse_temperature),
            ("seed", task.sampling.seed),
            ("streams", 1),
            ("control", 1),
        ):
            write(name, value)
        for number, token in enumerate(task.prompt, 1):
            write("prompt", token | (PROMPT_FINAL if number == len(task.prompt) else 0))
        steps.append((TAKE, 0, 0))
        write("counters_latch", 1)
        for _ in range(len(COUNTERS) + Counters.COPY):
            write("seed", task.sampling.seed)  # as many cycles as the copy takes
        steps += [(READ, self.design.registers[f"{name}_low"], 0) for name in COUNTERS]
        return [*steps, (END, 0, 0)]

    def go(self, task: Run, fault: int | None = None) -> str:
        """Simulates a run, from switching on, and fills in what came of it.

        The bench's memory has what the engine wrote. Returns the last line, which is ``end`` if all
        went well; ``fault`` is the number of a site that is broken.
        """
        words = self.bench.image
        digits = self.bench.config.word_bits // 4
        lines = [f"{words[address]:0{digits}x}\n" for address in sorted(words)]
        (self.folder / "tape.hex").write_text("".join(lines), encoding="utf-8")
        steps = [
            f"{kind:04x}{register:04x}{value:08x}\n" for kind, register, value in self.script(task)
        ]
        (self.folder / "script.hex").write_text("".join(steps), encoding="utf-8")
        arguments = [] if fault is None else [f"+fault={fault}"]
        text = run(self.folder, ["./obj/bench", *arguments])
        task.tokens = [int(found) for found in re.findall(r"^token (\d+)$", text, re.M)]
        self.bench.memory.memory = {
            int(address, 16): int(word, 16)
            for address, word in re.findall(r"^write (\w+) (\w+)$", text, re.M)
        }
        values = [int(found) for found in re.findall(r"^register (\d+)$", text, re.M)]
        task.counters = dict(zip(COUNTERS, values, strict=False))
        return [line for line in text.splitlines() if not line.startswith("- ")][-1]

"""Hardware around one unit, so that it can be placed and routed alone.

The pins of an FPGA would limit a unit with a thousand ports, and tools drop logic whose result
nobody reads. So every input comes from a register of one long shift register, and every output is
registered and leaves through another one.
"""

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from litedram.common import LiteDRAMNativePort
from litex.gen import LiteXModule
from litex.soc.interconnect import csr_bus
from migen import Cat, ClockDomain, If, Record, Signal
from migen.fhdl.tools import list_signals, list_special_ios, list_targets

from jalgateware.contract import tables
from jalgateware.contract.config import EngineConfig
from jalgateware.units.engine import Engine
from jalhost.errors import UsageError

DRAM_WORD_ADDRESS_BITS = 25
"""Address width of the DRAM ports of a wrapped unit: 512 MiB in words of 128 bits."""


@dataclass(frozen=True)
class UnitEntry:
    """Where a unit's class lives, and the arguments of its constructor that are not standard.

    Standard arguments are recognised by name: ``config`` and any of its fields, ``read_ports`` or
    ``ports``, ``write_port``, ``table``, ``packer``.
    """

    module: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


UNITS = {
    "attention": UnitEntry("attention", "Attention"),
    "drafter": UnitEntry("drafter", "Drafter"),
    "engine": UnitEntry("engine", "Engine"),
    "fetch": UnitEntry("fetch", "Fetch"),
    "fifo": UnitEntry("fifo", "BlockFifo", {"width": 128, "depth": 256}),
    "gumbel": UnitEntry("gumbel", "Gumbel"),
    "hash": UnitEntry("hash", "Hash32"),
    "interpolate": UnitEntry("interpolate", "InterpolatedTable"),
    "kv_writer": UnitEntry("kv_writer", "KVWriter"),
    "lanes": UnitEntry("lanes", "Lanes"),
    "loader": UnitEntry("loader", "Loader"),
    "log2": UnitEntry("log2", "Log2", {"bits": 32}),
    "quantiser": UnitEntry("quantiser", "Quantiser"),
    "reader": UnitEntry("reader", "StreamReader"),
    "reciprocal": UnitEntry("reciprocal", "Reciprocal"),
    "rotary": UnitEntry("rotary", "Rotary"),
    "row_packer": UnitEntry("row_packer", "RowPacker"),
    "rsqrt": UnitEntry("rsqrt", "ReciprocalRoot"),
    "sampler": UnitEntry("sampler", "Sampler"),
    "scaler": UnitEntry("scaler", "Scaler"),
    "sigmoid": UnitEntry("sigmoid", "Sigmoid"),
    "standard": UnitEntry("engine", "Engine"),
    "swiglu": UnitEntry("swiglu", "SwiGlu"),
    "token_loop": UnitEntry("token_loop", "TokenLoop"),
    "vector_unit": UnitEntry("vector_unit", "VectorUnit"),
}
"""Units by their name on the command line. A unit is imported only when it is asked for."""


def find_class(name: str) -> tuple[type[LiteXModule], dict[str, Any]]:
    """The class of a unit, and the arguments that its entry names.

    ``name`` is a key of :data:`UNITS` or ``module:Class``, a module of ``jalgateware.units``.

    Raises:
        UsageError: no such unit, or it cannot be imported.
    """
    if ":" in name:
        module_name, class_name = name.split(":", 1)
        entry = UnitEntry(module_name, class_name)
    elif name in UNITS:
        entry = UNITS[name]
    else:
        raise UsageError(f"there is no unit {name!r}", hint=f"one of {', '.join(UNITS)}")
    try:
        module = importlib.import_module(f"jalgateware.units.{entry.module}")
        return getattr(module, entry.name), entry.arguments
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the unit {name!r} cannot be imported: {error}") from error


def build_unit(name: str, config: EngineConfig) -> tuple[LiteXModule, list[Any]]:
    """Constructs a unit by name; returns it and the DRAM ports that were made for it.

    Raises:
        UsageError: the unit does not exist, or its constructor needs an argument that nobody knows.
    """
    unit, extra = find_class(name)
    standard = {
        "config": lambda: config,
        "ports": lambda: [dram_port("read", config) for _ in range(config.read_ports)],
        "read_ports": lambda: [dram_port("read", config) for _ in range(config.read_ports)],
        "write_port": lambda: dram_port("write", config),
        "table": lambda: tables.RECIPROCAL,
        # A neighbour that stays outside: what the unit reads of it becomes its inputs.
        "packer": lambda: find_class("row_packer")[0](config),
    }
    arguments: dict[str, Any] = {}
    for parameter in inspect.signature(unit).parameters.values():
        if parameter.name in extra:
            arguments[parameter.name] = extra[parameter.name]
        elif parameter.name in standard:
            arguments[parameter.name] = standard[parameter.name]()
        elif hasattr(config, parameter.name):
            arguments[parameter.name] = getattr(config, parameter.name)
        elif parameter.default is inspect.Parameter.empty:
            raise UsageError(
                f"the unit {name!r} needs an argument {parameter.name!r}", hint="name it in UNITS"
            )
    return unit(**arguments), list(arguments.values())


def dram_port(mode: str, config: EngineConfig) -> LiteDRAMNativePort:
    """A native port as wide as an engine word."""
    return LiteDRAMNativePort(mode, DRAM_WORD_ADDRESS_BITS, config.word_bits)


def public_signals(thing: Any, attributes: bool = True) -> Iterator[Signal]:
    """Signals that a unit or port shows: its attributes, records, lists and dictionaries."""
    if isinstance(thing, Signal):
        yield thing
    elif isinstance(thing, Record):
        yield from thing.flatten()
    elif isinstance(thing, (list, tuple)):
        for item in thing:
            yield from public_signals(item, attributes=False)
    elif isinstance(thing, dict):
        for item in thing.values():
            yield from public_signals(item, attributes=False)
    elif isinstance(thing, LiteDRAMNativePort):
        for part in (thing.cmd, thing.wdata, thing.rdata):
            yield from part.flatten()
    elif attributes:
        for name, item in getattr(thing, "__dict__", {}).items():
            if not name.startswith("_"):
                yield from public_signals(item, attributes=False)


def directions(unit: LiteXModule, ports: list[Any]) -> tuple[list[Signal], list[Signal]]:
    """The signals at a unit's border: (inputs, outputs), sorted as they were made.

    Inputs are those that the unit reads and does not drive, outputs those that it drives.
    """
    fragment = unit.get_fragment()
    driven = list_targets(fragment) | list_special_ios(fragment, ins=False, outs=True, inouts=True)
    used = list_signals(fragment) | list_special_ios(fragment, ins=True, outs=False, inouts=False)
    shown = set(public_signals(unit))
    for port in ports:
        if not isinstance(port, EngineConfig):
            shown |= set(public_signals(port, attributes=isinstance(port, LiteXModule)))
    order = sorted(shown, key=lambda signal: signal.duid)
    inputs = [signal for signal in order if signal in used and signal not in driven]
    return inputs, [signal for signal in order if signal in driven]


class Wrapper(LiteXModule):
    """A unit between two shift registers.

    Interface: ``serial_in`` shifts through the registers that drive the unit's inputs; while
    ``load`` is set, the unit's outputs are captured, otherwise they shift to ``serial_out``. All of
    it changes every cycle.
    Cost: ``input_bits`` + 2 x ``output_bits`` flip-flops and ``output_bits`` LUTs, besides the
    unit.
    """

    def __init__(self, unit: LiteXModule, ports: list[Any]) -> None:
        self.serial_in = Signal()
        self.load = Signal()
        self.serial_out = Signal()

        # # #

        inputs, outputs = directions(unit, ports)
        if isinstance(unit, Engine):
            # Without a bus its registers would be constants, and most of it would be dropped.
            self.bus = bus = csr_bus.Interface(data_width=32, address_width=14)
            self.bank = csr_bus.CSRBank(unit.get_csrs(), bus=bus)
            inputs += [bus.adr, bus.we, bus.re, bus.dat_w]
            outputs += [bus.dat_r]
        if not inputs or not outputs:
            raise UsageError(f"{type(unit).__name__} has no ports that could be wrapped")
        self.cd_sys = ClockDomain()
        # Asking for the fragment marked the unit as part of something; it becomes part of this.
        unit.get_fragment_called = False
        self.unit = unit
        self.input_bits = sum(len(signal) for signal in inputs)
        self.output_bits = sum(len(signal) for signal in outputs)

        # Without reset: its net has no global routing, and thousands of pins more would choke it.
        stimulus = Signal(self.input_bits, reset_less=True)
        self.sync += stimulus.eq(Cat(self.serial_in, stimulus))
        self.comb += Cat(*inputs).eq(stimulus)

        response, chain = (Signal(self.output_bits, reset_less=True) for _ in range(2))
        load = Signal(reset_less=True)
        self.sync += [
            response.eq(Cat(*outputs)),
            load.eq(self.load),
            chain.eq(Cat(0, chain)),
            If(load, chain.eq(response)),
        ]
        self.comb += self.serial_out.eq(chain[-1])

    def ios(self) -> set[Signal]:
        """The signals that become pins."""
        return {self.cd_sys.clk, self.cd_sys.rst, self.serial_in, self.load, self.serial_out}

"""A simulated system with its bus and its mailbox at hand."""

import json
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from jalgateware.contract.mailbox import Command, Field, Result
from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN
from jalhost.links.open import open_uart
from jalhost.mailbox import Answer, Mailbox
from jalsoc.sim.build import SimulatorBuild
from jalsoc.sim.process import Simulator, SimulatorOptions

PATIENCE_S = 60.0
"""However busy this computer is: a system that lives makes progress within this time."""


class System:
    """A simulator, and a link to the system in it.

    Args:
        build: a :class:`SimulatorBuild`.
        preload: an image to place in DRAM.
        options: fields of :class:`SimulatorOptions`.
    """

    def __init__(self, build: object, preload: bytes | None = None, **options: Any) -> None:
        assert isinstance(build, SimulatorBuild)
        self.build = build
        self.simulator = Simulator(build, preload, SimulatorOptions(**options))
        self.simulator.start()

    @cached_property
    def mailbox(self) -> Mailbox:
        """The mailbox, once the firmware is ready."""
        host, port = self.simulator.tcp_address
        mailbox = Mailbox(open_uart(f"tcp://{host}:{port}", PATIENCE_S), PATIENCE_S)
        mailbox.wait_until_ready(PATIENCE_S)
        return mailbox

    @cached_property
    def registers(self) -> dict[str, int]:
        """Addresses of all registers, by name."""
        content = json.loads(self.build.csr_json.read_text())
        return {name: int(item["addr"]) for name, item in content["csr_registers"].items()}

    def close(self) -> None:
        """Ends the simulator."""
        if "mailbox" in self.__dict__:
            self.mailbox.link.close()
        self.simulator.stop()

    def read(self, address: int, words: int = 1) -> list[int]:
        """Words from the bus."""
        return self.mailbox.link.read(address, words)

    def write(self, address: int, *values: int) -> None:
        """Words to the bus; returns when they are there."""
        self.mailbox.link.write(address, values)
        self.mailbox.link.read(self.registers["ctrl_scratch"])

    def register(self, name: str) -> int:
        """Content of a register."""
        return self.read(self.registers[name])[0]

    def set_register(self, name: str, value: int) -> None:
        """Writes a register."""
        self.write(self.registers[name], value)

    def dram(self, offset: int, words: int = 1) -> list[int]:
        """Words of DRAM, by the bus."""
        return self.read(MAIN_RAM_ORIGIN + offset, words)

    def field(self, field: Field) -> int:
        """A word of the mailbox."""
        return self.mailbox.read(field)[0]

    def command(self, command: Command, *arguments: int) -> Answer:
        """Has a command carried out, whatever its result."""
        return self.mailbox.command(command, *arguments, accept=tuple(Result))

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Waits until a condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"never: {what}"

    def console(self, text: str, until: str) -> str:
        """Types a text and returns what appears, up to and including ``until``."""
        shown = ""
        for character in text:
            self.wait_for(lambda: not self.register("uart_xover_txfull"), "console takes input")
            self.set_register("uart_xover_rxtx", ord(character))

        def complete() -> bool:
            nonlocal shown
            if not self.register("uart_xover_rxempty"):
                shown += chr(self.register("uart_xover_rxtx"))
            return until in shown

        self.wait_for(complete, f"{until!r} behind {text!r}; the console shows {shown!r}")
        return shown

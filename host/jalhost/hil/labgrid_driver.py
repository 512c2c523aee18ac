"""A labgrid resource and driver for boards: loaded by ``imports:`` of a labgrid environment.

It needs labgrid and nothing else, so it works in labgrid's own virtual environment: what a board
does is done by the program ``jalhost``, which the environment's ``tools:`` names.
"""

import json
import shutil
import subprocess
from typing import Any

import attr
from labgrid.driver.common import Driver
from labgrid.driver.exception import ExecutionError
from labgrid.factory import target_factory
from labgrid.resource.common import Resource
from labgrid.step import step

PROGRAM = "jalhost"


@target_factory.reg_resource
@attr.s(eq=False)
class JalhostBoard(Resource):
    """A board with jalhost's gateware.

    ``address``: how clients reach it, as ``jalhost --target`` takes it: ``eth:192.168.1.50``, or a
    serial port of the client's own computer. ``cable``, ``cable_serial``: openFPGALoader's name of
    the cable that flashes it, and its serial number.
    """

    address: str = attr.ib(validator=attr.validators.instance_of(str))
    cable: str | None = attr.ib(default=None)
    cable_serial: str | None = attr.ib(default=None)


@target_factory.reg_driver
@attr.s(eq=False)
class JalhostDriver(Driver):
    """Runs ``jalhost`` on a board: a :class:`JalhostBoard`, or a port that an exporter serves."""

    bindings = {"board": {"JalhostBoard", "NetworkSerialPort"}}  # noqa: RUF012 - labgrid's way

    @property
    def address(self) -> str:
        """What ``--target`` is told."""
        board = self.board
        if isinstance(board, JalhostBoard):
            return board.address
        scheme = "tcp" if board.protocol == "raw" else "rfc2217"
        return f"uart:{scheme}://{board.host}:{board.port}"

    @Driver.check_active
    @step(args=["arguments"], result=True)
    def run(self, *arguments: str) -> str:
        """Runs a command of jalhost's on the board; returns its standard output.

        Raises:
            ExecutionError: it failed; with the one line that it says.
        """
        command = [self._program(), *arguments, "--target", self.address]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = done.stderr.strip().rpartition("\n")[2]
            raise ExecutionError(f"jalhost {arguments[0]}: {last}", stdout=[], stderr=[last])
        return done.stdout

    @Driver.check_active
    def generate(self, *prompts: str, **options: Any) -> dict[str, Any]:
        """Generates text; returns what ``jalhost generate --json`` prints.

        ``options``: its options, for example ``max_tokens=20``.
        """
        pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in options.items())
        words = [word for pair in pairs for word in pair]
        result: dict[str, Any] = json.loads(self.run("generate", "--json", *words, *prompts))
        return result

    @Driver.check_active
    def flash(self, bundle: str) -> str:
        """Flashes a bundle with the cable of this computer, and waits for the board."""
        options = []
        if isinstance(self.board, JalhostBoard):
            options += ["--cable", self.board.cable] if self.board.cable else []
            serial = self.board.cable_serial
            options += ["--serial", serial] if serial else []
        return str(self.run("flash", bundle, *options))

    def _program(self) -> str:
        environment = self.target.env
        if environment:
            return str(environment.config.get_tool(PROGRAM))
        return shutil.which(PROGRAM) or PROGRAM

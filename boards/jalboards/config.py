"""What a board is built for."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from jalboards.board import Board
from jalboards.catalogue import all_boards, find_board
from jalboards.links import DEFAULT_IP, check_address
from jalgateware.contract.config import EngineConfig
from jalhost.errors import UsageError

BAUD_RATE = 115_200
"""Of the UART after reset, where nothing else is said."""

TRIES = 3
"""Seeds that a build tries, where nothing else is said."""

SLOWEST_HZ, FASTEST_HZ = 10_000_000, 250_000_000


@dataclass(frozen=True)
class BuildConfig:
    """One bitstream: the board, its clock, the engine, the UART's rate, the placer's first seed.

    ``tries``: how many seeds are tried, until wires find their way and clocks are met;
    ``ethernet``: its address on the network, where it has Ethernet; ``pcie``: whether it has PCIe;
    ``scope``: whether it has LiteScope's logic analyzer; ``sensors``: whether what the board
    measures by itself is in.

    Raises:
        UsageError: a value is out of range, or does not fit the board.
    """

    board: str
    clock_hz: int
    engine: EngineConfig
    baud: int = BAUD_RATE
    seed: int = 1
    tries: int = TRIES
    ethernet: str | None = None
    pcie: bool = False
    scope: bool = False
    sensors: bool = False

    def __post_init__(self) -> None:
        """Checks what can be checked without LiteX."""
        port_bytes = self.facts.dram.port_bytes
        if self.engine.lanes < port_bytes:
            raise UsageError(
                f"{self.engine.lanes} lanes read less than a word of the DRAM on {self.board}",
                f"choose at least {port_bytes} lanes",
            )
        if not SLOWEST_HZ <= self.clock_hz <= FASTEST_HZ:
            raise UsageError(
                f"the clock is {SLOWEST_HZ / 1e6:g} to {FASTEST_HZ / 1e6:g} MHz,"
                f" not {self.clock_hz / 1e6:g}"
            )
        if not 9600 <= self.baud <= self.clock_hz // 8:
            raise UsageError(f"the UART's rate is 9600 to {self.clock_hz // 8}, not {self.baud}")
        if self.seed < 0:
            raise UsageError(f"the seed is a number from 0, not {self.seed}")
        if self.tries < 1:
            raise UsageError(f"a build tries at least one seed, not {self.tries}")
        self._check_links()

    def _check_links(self) -> None:
        for link, title in (("eth", "Ethernet"), ("pcie", "PCIe")):
            if link in self.links and link not in self.facts.links:
                others = [board.name for board in all_boards() if link in board.links]
                raise UsageError(
                    f"{self.board} has no {title}", f"boards with {title}: {', '.join(others)}"
                )
        if self.ethernet is not None:
            check_address(self.ethernet)
        if self.sensors and self.facts.sensors is None:
            others = [board.name for board in all_boards() if board.sensors]
            raise UsageError(
                f"{self.board} has no sensors that are known",
                f"boards with sensors: {', '.join(others)}",
            )

    @property
    def facts(self) -> Board:
        """The board."""
        return find_board(self.board)

    @property
    def links(self) -> tuple[str, ...]:
        """What the gateware can be reached by."""
        return ("uart", *("eth",) * (self.ethernet is not None), *("pcie",) * self.pcie)

    @property
    def seeds(self) -> range:
        """The seeds to try, in this order."""
        return range(self.seed, self.seed + self.tries)

    def hardware_json(self) -> str:
        """All that the Verilog depends on, in an order that does not change."""
        values = asdict(self)
        del values["seed"], values["tries"]
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "BuildConfig":
        """Inverse of :meth:`hardware_json`."""
        values = json.loads(text)
        return cls(**values | {"engine": EngineConfig(**values["engine"])})


def configure(
    board: Board,
    engine: Mapping[str, Any],
    clock_hz: int | None = None,
    baud: int | None = None,
    seed: int | None = None,
    tries: int | None = None,
    ethernet: bool = False,
    ip: str | None = None,
    pcie: bool | None = None,
    scope: bool = False,
    sensors: bool = False,
) -> BuildConfig:
    """The board's own configuration with what is different.

    Raises:
        UsageError: a value is out of range, or does not fit the board.
    """
    if ip is not None and not ethernet:
        raise UsageError("--ip is the address of Ethernet, which is off", "add --with-ethernet")
    try:
        sizes = replace(board.engine, **engine)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the engine cannot be built: {error}") from error
    return BuildConfig(
        board=board.name,
        clock_hz=clock_hz or board.clock_hz,
        engine=sizes,
        baud=baud or BAUD_RATE,
        seed=board.seed if seed is None else seed,
        tries=TRIES if tries is None else tries,
        ethernet=(ip or DEFAULT_IP) if ethernet else None,
        pcie=bool(board.pcie and board.pcie.default) if pcie is None else pcie,
        scope=scope,
        sensors=sensors,
    )

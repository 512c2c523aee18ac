"""What a bundle says about itself: its ``manifest.json`` as types, strictly checked."""

import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from jalgateware.contract.config import EngineConfig

FORMAT = 3
"""Changes when an older jalhost could not read, or would misread, what a newer one writes. What has
been added since 1 is optional: ``ethernet`` in 2, ``seed`` in 3."""

Hex32 = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{8}$")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
UsbId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.+-]+$", max_length=64)]
Mhz = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_MEMBER_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*(/[A-Za-z0-9_+-][A-Za-z0-9_.+-]*)*")


def is_member_name(name: str) -> bool:
    """Whether a name is a plain relative path: it cannot leave a folder, whatever unpacks it."""
    return bool(_MEMBER_NAME.fullmatch(name)) and len(name) <= 200


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Clock(_Record):
    """A clock's frequency after place and route (None: not placed), and what was asked for."""

    achieved_mhz: Mhz | None
    constraint_mhz: Mhz


class Resource(_Record):
    """How much of one kind of the FPGA's resources is used."""

    used: Annotated[int, Field(ge=0)]
    available: Annotated[int, Field(ge=0)] | None


class FlashSettings(_Record):
    """How to reach the board with openFPGALoader.

    ``openfpgaloader_board``: its name there, None where it does not know the board. ``cable``: of
    its cables, None for the board's own. ``usb``: vendor and product that the board's cable has.
    """

    openfpgaloader_board: Name | None
    cable: Name | None
    usb: tuple[UsbId, ...]


class Manifest(_Record):
    """``manifest.json``.

    ``seed``: of the placement, where there is one. ``idcode``: what the FPGA answers on JTAG.
    ``bitstream``: the member to flash, None where the bundle has only sources. ``engine``: fields
    of :class:`EngineConfig`. ``ethernet``: its address on the network, where it has Ethernet.
    ``files``: SHA-256 of each other member.
    """

    format: int
    board: Name
    part: str
    idcode: Hex32
    bitstream: str | None
    fingerprint: Fingerprint
    git_revision: str
    tools: dict[str, str]
    seed: Annotated[int, Field(ge=0)] | None = None
    clocks: dict[str, Clock]
    utilisation: dict[str, Resource]
    engine: dict[str, bool | int]
    links: tuple[str, ...]
    ethernet: str | None = None
    flash: FlashSettings
    files: dict[str, Digest]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 1 <= self.format <= FORMAT:
            raise ValueError(f"format is 1 to {FORMAT}, not {self.format}")
        try:
            assert self.engine_config
        except TypeError as error:
            raise ValueError(f"engine: {error}") from error
        for name in self.files:
            if not is_member_name(name) or name == "manifest.json":
                raise ValueError(f"{name!r} cannot be a member's name")
        if self.bitstream is not None and self.bitstream not in self.files:
            raise ValueError(f"bitstream {self.bitstream!r} is not among the files")
        return self

    @property
    def engine_config(self) -> EngineConfig:
        """The engine in the gateware."""
        fields: dict[str, Any] = self.engine
        return EngineConfig(**fields)

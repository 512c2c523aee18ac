"""Stages of a bring-up: what each looks at, what it needs, and how it ends."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jalhost.bringup.bench import Bench

Evidence = dict[str, Any]
"""What a stage found, by names that end with their units; numbers, texts, and lists of these."""


class Stage(StrEnum):
    """Layers from the cable to the tokens, in the order in which they are looked at."""

    CABLE = "cable"
    IDCODE = "idcode"
    CONFIGURATION = "configuration"
    LINK = "link"
    IDENTITY = "identity"
    FIRMWARE = "firmware"
    CLOCKS = "clocks"
    LEVELLING = "levelling"
    DRAM_DATA = "dram-data"
    DRAM_ADDRESS = "dram-address"
    DRAM_RANDOM = "dram-random"
    DRAM_MARCH = "dram-march"
    DRAM_RETENTION = "dram-retention"
    DRAM_BANDWIDTH = "dram-bandwidth"
    ENGINE = "engine"
    TOKEN = "token"
    TOKENS = "tokens"
    SENSORS = "sensors"


TITLES: Mapping[Stage, str] = {
    Stage.CABLE: "programming cable and permissions",
    Stage.IDCODE: "the FPGA is the bundle's",
    Stage.CONFIGURATION: "the FPGA is configured",
    Stage.LINK: "bytes pass the link unharmed",
    Stage.IDENTITY: "gateware, registers and firmware are one build",
    Stage.FIRMWARE: "the CPU runs",
    Stage.CLOCKS: "the clock is the nominal one",
    Stage.LEVELLING: "DRAM is calibrated, with margin",
    Stage.DRAM_DATA: "DRAM data lines",
    Stage.DRAM_ADDRESS: "DRAM address lines",
    Stage.DRAM_RANDOM: "random words all over DRAM",
    Stage.DRAM_MARCH: "march C-",
    Stage.DRAM_RETENTION: "DRAM keeps data across refreshes",
    Stage.DRAM_BANDWIDTH: "DRAM bandwidth against its peak",
    Stage.ENGINE: "the engine's units against the golden model",
    Stage.TOKEN: "one token as the golden model's",
    Stage.TOKENS: "32 tokens as the golden model's",
    Stage.SENSORS: "temperatures and rails within limits",
}

_DRAM = (Stage.DRAM_DATA, Stage.DRAM_ADDRESS, Stage.FIRMWARE)
_ENGINE = (*_DRAM, Stage.IDENTITY, Stage.LEVELLING, Stage.DRAM_RANDOM, Stage.DRAM_MARCH)

NEEDS: Mapping[Stage, tuple[Stage, ...]] = {
    Stage.IDCODE: (Stage.CABLE,),
    Stage.CONFIGURATION: (Stage.IDCODE,),
    Stage.IDENTITY: (Stage.LINK,),
    Stage.FIRMWARE: (Stage.LINK,),
    Stage.CLOCKS: (Stage.FIRMWARE,),
    Stage.LEVELLING: (Stage.FIRMWARE,),
    Stage.DRAM_DATA: (Stage.LINK, Stage.LEVELLING),
    Stage.DRAM_ADDRESS: (Stage.DRAM_DATA,),
    Stage.DRAM_RANDOM: _DRAM,
    Stage.DRAM_MARCH: _DRAM,
    Stage.DRAM_RETENTION: _DRAM,
    Stage.DRAM_BANDWIDTH: (*_ENGINE, Stage.DRAM_RETENTION),
    Stage.ENGINE: (*_ENGINE, Stage.DRAM_RETENTION),
    Stage.TOKEN: (Stage.ENGINE,),
    Stage.TOKENS: (Stage.TOKEN,),
    Stage.SENSORS: (Stage.LINK, Stage.FIRMWARE),
}
"""Stages without which another one tells nothing: where they failed, it is not tried."""


class StageFailure(Exception):  # noqa: N818 - the verdict of a stage, not an error of this program
    """A stage found its layer broken.

    Args:
        what: in one sentence.
        causes: what it may come from, the likeliest first.
        next_command: what to call next, as a shell takes it.
        layer: what is broken, where that is not what the stage looks at.
    """

    def __init__(
        self,
        what: str,
        causes: tuple[str, ...],
        next_command: str,
        layer: Stage | None = None,
    ) -> None:
        super().__init__(what)
        self.layer = layer
        self.what = what
        self.causes = causes
        self.next_command = next_command


class StageSkip(Exception):  # noqa: N818 - likewise
    """A stage has nothing to look at here; its text says why."""


StageFunction = Callable[["Bench", Evidence], str]
"""Looks at a layer: fills the evidence, returns what it found in one sentence.

Raises:
    StageFailure: the layer is broken.
    StageSkip: there is nothing to look at.
    JalError: it failed in a way that only the error itself explains.
"""

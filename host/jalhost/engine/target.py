"""What every target offers: it loads an image, and runs token sequences."""

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from jalgateware.golden.sampler import Sampling
from jalhost.models.image import Image


class Provenance(StrEnum):
    """What kind of figures a target's figures are."""

    EMULATED = "emulated"
    """By the bit-exact model: the tokens are true, the times are those of this computer."""
    SIMULATED = "simulated"
    """Cycles of the whole system in a Verilog simulator, converted by its nominal clock."""
    MEASURED = "measured"
    """Cycles of a device."""


@dataclass(frozen=True)
class TargetInfo:
    """What a target is.

    ``clock_hz``, ``port_bytes`` (bytes per cycle that the DRAM controller can deliver) and
    ``lanes`` (weights per cycle) are None where there is no hardware. ``gateware``: how it differs
    from the default one, as ``--gateware`` was given.
    """

    name: str
    provenance: Provenance
    clock_hz: int | None = None
    port_bytes: int | None = None
    lanes: int | None = None
    gateware: str = ""


@dataclass(frozen=True)
class Request:
    """What to run: prompt tokens (BOS first), and how many tokens to sample and how.

    ``position``: of the prompt's first token. Above 0, the KV cache in front of it holds whatever
    memory held, so the tokens mean nothing; what they cost is the same.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    position: int = 0


@dataclass(frozen=True)
class Sampled:
    """A sampled token. ``cycles`` and ``seconds`` count from the start of the request."""

    token: int
    seconds: float
    cycles: int | None = None


class Target(Protocol):
    """Where programs run. A target serves one request at a time, and many in turn."""

    @property
    def info(self) -> TargetInfo:
        """What the target is; complete once an image is loaded."""

    def load(self, image: Image) -> None:
        """Makes an image the one to run.

        Raises:
            JalError: the target cannot run it, or loading failed.
        """

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        """Yields tokens as they are sampled, a stop token included.

        Ends at ``max_tokens``, at a stop token, or where the context is full. Closing the iterator
        early stops the engine.

        Raises:
            JalError: the target failed.
        """

    def counters(self) -> dict[str, int] | None:
        """The engine's counters since the last run began; None where there is no hardware."""

    def close(self) -> None:
        """Gives everything back: processes, ports. May be called twice."""

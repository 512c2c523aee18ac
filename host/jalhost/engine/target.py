"""What every target offers: it loads an image, and runs token sequences."""

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from jalgateware.golden.rounding import Integers
from jalgateware.golden.sampler import Sampling
from jalhost.errors import UsageError
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
    ``lanes`` (weights per cycle) are None where there is no hardware. ``token_rows``: tokens that
    share each weight, and so most streams of a request. ``gateware``: how it differs from the
    default one, as ``--gateware`` was given. ``mxfp4``: whether it takes matrices in MXFP4.
    ``logits``: whether those of a run can be read. ``noise``: whether it samples at temperatures
    above 0.
    """

    name: str
    provenance: Provenance
    clock_hz: int | None = None
    port_bytes: int | None = None
    lanes: int | None = None
    token_rows: int = 1
    gateware: str = ""
    mxfp4: bool = True
    logits: bool = True
    noise: bool = True


@dataclass(frozen=True)
class Request:
    """What to run: prompts, and how many tokens to sample for each of them and how.

    ``prompts``: tokens (BOS first) of each stream. ``sampling``: stream s draws with seed + s, so
    its text is that of a request of its own. ``drafts``: most tokens that the engine guesses in a
    pass, only with one stream; the tokens are the same, they only come sooner. ``position``: of
    the prompts' first tokens. Above 0, the KV cache in front of it holds what earlier requests
    left there: a text that is being continued, or else what memory held; then the tokens mean
    nothing, and without drafts cost what they cost. ``logits``: those of the one token that the
    request samples are kept, for :meth:`Target.logits`.
    """

    prompts: tuple[tuple[int, ...], ...]
    max_tokens: int
    sampling: Sampling
    drafts: int = 0
    position: int = 0
    logits: bool = False

    def check(self, token_rows: int, noise: bool = True) -> None:
        """Refuses what gateware with so many token rows, and with noise or not, cannot run.

        Raises:
            UsageError: too many streams or drafts, logits of more than one token, or a temperature
                above 0 without noise.
        """
        if self.sampling.inverse_temperature and not noise:
            raise UsageError(
                "this gateware takes the likeliest token: it has no noise for a temperature",
                "leave --temperature out, or use gateware with noise=true",
            )
        check_streams(len(self.prompts), token_rows)
        most = token_rows - 1 if len(self.prompts) == 1 else 0
        if not 0 <= self.drafts <= most:
            raise UsageError(
                f"with {len(self.prompts)} of {token_rows} token rows in use, a pass has room for"
                f" {most} drafted tokens, not {self.drafts}"
            )
        if self.logits and (len(self.prompts) > 1 or self.drafts or self.max_tokens != 1):
            raise UsageError("logits are kept of one token, of one stream without drafts")


@dataclass(frozen=True)
class Sampled:
    """A token sampled for a stream.

    ``cycles`` and ``seconds`` count from the start of the request.
    """

    token: int
    seconds: float
    cycles: int | None = None
    stream: int = 0


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
        """Yields tokens as they are sampled, stop tokens included.

        The first token of each stream comes first, stream by stream; then all streams go on
        together. A stream ends at ``max_tokens``, at a stop token, or where the context is full.
        Closing the iterator early stops the engine.

        Raises:
            UsageError: the gateware has too few token rows, or cannot keep logits as asked.
            JalError: the target failed.
        """

    def counters(self) -> dict[str, int] | None:
        """The engine's counters since the last run began; None where there is no hardware."""

    def logits(self) -> Integers:
        """Logits (vocabulary,) VECTOR that the last run's token was drawn from.

        Raises:
            UsageError: it kept none.
            JalError: the target failed.
        """

    def close(self) -> None:
        """Gives everything back: processes, ports. May be called twice."""


def read_sampling(temperature: float, seed: int) -> Sampling:
    """How to sample at a temperature (0 = greedy).

    Raises:
        UsageError: temperature or seed is out of range.
    """
    if not 0 <= seed < 1 << 32:
        raise UsageError(f"the seed is 0 to {(1 << 32) - 1}, not {seed}")
    try:
        return Sampling.from_temperature(temperature, seed)
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_streams(streams: int, token_rows: int) -> None:
    """Refuses more streams than the gateware has token rows.

    Raises:
        UsageError: it has too few.
    """
    if streams > token_rows:
        raise UsageError(
            f"this gateware decodes at most {token_rows} stream{'s'[: token_rows > 1]} together,"
            f" not {streams}",
            "lower --streams, or use gateware with more token rows",
        )


def choose_drafts(
    speculate: bool | None, streams: int, token_rows: int, by_host: bool = False
) -> int:
    """Drafted tokens in a pass: as many as there is room for; None speculates where that is some.

    ``by_host``: the host samples, which it does for one text, token by token.

    Raises:
        UsageError: there is no room, or for one token of each stream only.
    """
    if by_host and (speculate or streams > 1):
        option = "--speculate" if speculate else "--streams"
        raise UsageError(
            f"{option} needs the engine to sample, which knows temperature and seed alone",
            f"leave {option} out, or --top-k, --top-p, --min-p and --repetition-penalty",
        )
    if by_host:
        return 0
    if speculate and streams > 1:
        raise UsageError(
            f"--speculate works on one stream, not on {streams}",
            "leave --speculate or --streams out",
        )
    if speculate and token_rows == 1:
        raise UsageError(
            "this gateware cannot speculate: it has one token row",
            "leave --speculate out, or use gateware with more token rows",
        )
    return 0 if streams > 1 or speculate is False else token_rows - 1

"""Stages ``token`` and ``tokens``: a model on the device, against the golden model."""

from collections.abc import Iterator
from contextlib import closing

from jalgateware.contract.mailbox import Command
from jalgateware.golden.sampler import Sampling
from jalhost.bringup.bench import Bench
from jalhost.bringup.stages import Evidence, Stage, StageFailure
from jalhost.device import Device
from jalhost.engine import defaults
from jalhost.engine.emulator import Emulator
from jalhost.engine.hardware import run_on
from jalhost.engine.target import Request
from jalhost.models.blob import build_blob

TOKENS = 32

GREEDY = Sampling.from_temperature(0.0, 0)


def token(bench: Bench, evidence: Evidence) -> str:
    """The first token behind a prompt."""
    return _compare(bench, evidence, Stage.TOKEN, 1)


def tokens(bench: Bench, evidence: Evidence) -> str:
    """32 tokens, greedily, with the figures of their run."""
    return _compare(bench, evidence, Stage.TOKENS, TOKENS)


def _compare(bench: Bench, evidence: Evidence, stage: Stage, count: int) -> str:
    device, image = bench.device, bench.image
    request = Request((tuple(image.tokenizer.encode(defaults.PROMPT)),), count, GREEDY)
    _place(bench, device)
    found, cycles = [], 0
    with closing(run_on(device, request)) as samples:
        for sampled in samples:
            found.append(sampled.token)
            cycles = sampled.cycles or 0
    expected = list(_golden(bench, request))
    evidence |= {
        "model": image.name,
        "prompt_tokens": list(request.prompts[0]),
        "tokens": found,
        "golden_tokens": expected,
        "cycles": cycles,
    }
    if found != expected:
        pairs = zip(found, expected, strict=False)
        first = next(
            (i for i, (a, b) in enumerate(pairs) if a != b), min(len(found), len(expected))
        )
        raise StageFailure(
            f"token {first + 1} of {image.name} is not the golden model's: "
            f"{found[first : first + 1]} instead of {expected[first : first + 1]}",
            (
                "a unit of the engine at sizes that the engine's own test does not have",
                "the image changed in DRAM while it was used: margins, refresh",
            ),
            bench.command(Stage.ENGINE, "--repeat", "3"),
        )
    hertz = device.identity.clock_hz
    rate = f", {len(found) * hertz / cycles:,.0f} tokens/s" if count > 1 and cycles else ""
    return f"{len(found)} of {count} as the golden model's ({image.name}{rate})"


def _golden(bench: Bench, request: Request) -> Iterator[int]:
    emulator = Emulator(bench.device.identity.config)
    emulator.load(bench.image)
    with closing(emulator.run(request)) as samples:
        yield from (sampled.token for sampled in samples)
    emulator.close()


def _place(bench: Bench, device: Device) -> None:
    """Sends what DRAM does not hold already; its CRCs are checked there."""
    device.transfer_image(build_blob(bench.image, device.identity.config), bench.report)
    device.load()
    bench.mailbox.command(Command.STATUS)

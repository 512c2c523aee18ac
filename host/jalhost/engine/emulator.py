"""The target ``emu``: the golden model in this process, bit for bit what the gateware computes."""

import time
from collections.abc import Generator, Iterator

from jalgateware.contract.config import STANDARD, EngineConfig
from jalgateware.golden.machine import Machine
from jalgateware.golden.rounding import Integers
from jalhost.engine.target import Provenance, Request, Sampled, TargetInfo
from jalhost.errors import NO_LOGITS, UsageError
from jalhost.models.convert import prepare
from jalhost.models.image import Image


class Emulator:
    """Runs images on the golden model of a gateware.

    Args:
        config: its sizes.
        gateware: how these differ from the default, for people.
    """

    def __init__(self, config: EngineConfig = STANDARD, gateware: str = "") -> None:
        self.config = config
        self._gateware = gateware
        self._machine: Machine | None = None
        self._logits: Integers | None = None
        self._stop_tokens: frozenset[int] = frozenset()

    @property
    def info(self) -> TargetInfo:
        """No clock, no DRAM: nothing that could be mistaken for hardware."""
        return TargetInfo(
            "emu",
            Provenance.EMULATED,
            token_rows=self.config.tokens,
            gateware=self._gateware,
            mxfp4=self.config.mxfp4,
            logits=self.config.logits,
            noise=self.config.noise,
        )

    def load(self, image: Image) -> None:
        """Lays the image out in memory.

        Raises:
            ModelError: the model is beyond the gateware's limits.
        """
        executable = prepare(image, self.config)
        context = image.plan.architecture.context
        self._machine = Machine(self.config, executable.memory, executable.program, context)
        self._stop_tokens = frozenset(image.stop_tokens)

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        """Yields sampled tokens, in the gateware's order; times are this computer's.

        Drafts change nothing here: there are no passes to save.

        Raises:
            UsageError: no image is loaded, or the gateware has too few token rows or no noise.
        """
        machine = self._machine
        if machine is None:
            raise UsageError("no model is loaded")
        request.check(self.config.tokens, self.config.noise)
        self._logits = None
        start = time.perf_counter()
        live = {i: self._stream(machine, request, i) for i in range(len(request.prompts))}
        while live:
            for stream, tokens in list(live.items()):
                token = next(tokens, None)
                if token is None:
                    del live[stream]
                else:
                    yield Sampled(token, time.perf_counter() - start, stream=stream)

    def _stream(self, machine: Machine, request: Request, stream: int) -> Iterator[int]:
        """Sampled tokens of one stream; the first one takes its whole prompt."""
        *prefix, token = request.prompts[stream]
        sampling = request.sampling.of_stream(stream)
        for position, prompt_token in enumerate(prefix, request.position):
            machine.step(prompt_token, position, None, stream)
        first = request.position + len(prefix)
        for position in range(first, min(first + request.max_tokens, machine.context)):
            sampled = machine.step(token, position, sampling, stream)
            assert sampled is not None, "a sampling pass samples"
            if request.logits:
                self._logits = machine.logits
            yield sampled
            if sampled in self._stop_tokens:
                return
            token = sampled

    def counters(self) -> None:
        """None: the golden model computes results, not cycles."""

    def logits(self) -> Integers:
        """Logits (vocabulary,) VECTOR that the last run's token was drawn from.

        Raises:
            UsageError: it kept none.
        """
        if self._logits is None:
            raise UsageError(NO_LOGITS)
        return self._logits

    def close(self) -> None:
        """Frees the memory."""
        self._machine = self._logits = None

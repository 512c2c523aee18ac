"""Sampling by the host: a run for each token, whose logits the host reads and chooses from."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

from jalgateware.golden.sampler import Sampling, sample
from jalhost.engine.filters import Filters
from jalhost.engine.target import Request, Sampled, Target
from jalhost.errors import DeviceError, DeviceRestarted, UsageError
from jalhost.models.image import Image

GREEDY = Sampling()


class HostSampler:
    """Runs requests as a target does, but chooses their tokens itself.

    The token that was chosen is the prompt of the next run, behind the keys and values that the
    runs before have left in the cache.

    Args:
        target: where to run; nothing else may run there meanwhile.
        image: what it has loaded, or will have by the first run.
        filters: what narrows the choice.

    Raises:
        UsageError: the target's gateware gives no logits.
    """

    def __init__(self, target: Target, image: Image, filters: Filters) -> None:
        if not target.info.logits:
            raise UsageError(
                f"{target.info.name} has gateware that keeps no logits: top-k, top-p, min-p and"
                " repetition penalty need them",
                "build gateware with logits, or leave these options out",
            )
        self._target, self._image, self._filters = target, image, filters
        self._text: list[int] = []
        """Tokens of the positions that were run last, and the one chosen behind them."""
        self.restarted = False
        """Whether the target lost the last request's text, and ran it a second time."""

    def check(self, request: Request) -> None:
        """Refuses what cannot be run so.

        Raises:
            UsageError: there are several streams, or drafts.
        """
        one = replace(request, max_tokens=1, sampling=GREEDY, logits=True)
        one.check(self._target.info.token_rows, self._target.info.noise)

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        """Yields tokens as they are chosen, stop tokens included, like :meth:`Target.run`.

        A request with a position continues the text of those before. Cycles and seconds are the
        sum of those of the runs: the engine's time, without that of reading logits and choosing.
        Where the target starts again and loses the text, the text runs once more from its first
        token, with all tokens chosen so far as the prompt; one that an earlier request has begun
        does not.

        Raises:
            UsageError: there are several streams or drafts, or the target refuses the request.
            JalError: the target failed.
        """
        self.check(request)
        assert request.position <= len(self._text), "a text that was run here"
        self._text = text = [*self._text[: request.position], *request.prompts[0]]
        self.restarted = False
        context = self._image.plan.architecture.context
        start, seconds, cycles = request.position, 0.0, 0
        for _ in range(request.max_tokens):
            try:
                token, last = self._step(start, request.sampling)
            except DeviceRestarted:
                if request.position or self.restarted:
                    raise
                self.restarted = True
                token, last = self._step(0, request.sampling)
            start = len(text)
            text.append(token)
            seconds, cycles = seconds + last.seconds, cycles + (last.cycles or 0)
            yield Sampled(token, seconds, None if last.cycles is None else cycles)
            if token in self._image.stop_tokens or start == context:
                return

    def _step(self, start: int, sampling: Sampling) -> tuple[int, Sampled]:
        """Runs the text's tokens from a position on; returns the next one, and the engine's own.

        Raises:
            DeviceError: the logits are not those that the engine's own token was drawn from.
        """
        request = Request((tuple(self._text[start:]),), 1, GREEDY, position=start, logits=True)
        with closing(self._target.run(request)) as samples:
            last = list(samples)[-1]
        logits = self._target.logits()
        if sample(logits, GREEDY, start) != last.token:
            raise DeviceError(
                f"{self._target.info.name} sampled token {last.token}, which is not the likeliest"
                " by the logits that it gives",
                "its engine computes nonsense",
            )
        position = len(self._text) - 1
        return self._filters.choose(logits, self._text, sampling, position), last

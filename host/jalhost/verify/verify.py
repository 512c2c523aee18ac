"""A target against the golden model: image in DRAM, tokens, KV cache, and what explains a fault."""

from collections.abc import Sequence

from jalgateware.contract.config import EngineConfig
from jalgateware.golden.sampler import Sampling
from jalhost.device import Device
from jalhost.dram import DeviceDram
from jalhost.engine.target import Request, Target, choose_drafts
from jalhost.errors import DeviceError, LinkError, UsageError
from jalhost.models.blob import Blob, build_blob
from jalhost.models.image import Image
from jalhost.progress import Report
from jalhost.verify.cache import compare_cache
from jalhost.verify.diagnose import Diagnosis, Text
from jalhost.verify.golden import Golden
from jalhost.verify.report import Cause, Finding, Place, Stage, Verification
from jalhost.verify.weights import damage_finding, find_damage, holds


def device_of(target: Target) -> Device | None:
    """The device behind a target, where there is one already."""
    device: Device | None = getattr(target, "device", None)
    return device


class Verifier:
    """Verifies one target with one image.

    Args:
        target: with a device; the emulator is the golden model itself.
        image: the model to run.
        report: takes lines of progress.

    Raises:
        UsageError: the target has no device.
    """

    def __init__(self, target: Target, image: Image, report: Report) -> None:
        if not hasattr(target, "device"):
            raise UsageError(
                "the emulator is the golden model that targets are compared with",
                "verify --target sim, or a board",
            )
        self._target, self._image, self._report = target, image, report
        self._stages: list[Stage] = []
        self._findings: list[Finding] = []
        self._dram: DeviceDram | None = None
        self._counts = (0, 0)

    def run(self, prompt: str, max_tokens: int, temperature: float, seed: int) -> Verification:
        """Verifies; what is wrong with the target is in the result.

        Raises:
            UsageError: the prompt or a parameter makes no sense.
            ModelError: the target cannot run the model.
            LinkError: the connection is lost.
            DeviceError: the device does not work at all.
        """
        if max_tokens < 1:
            raise UsageError(f"the number of tokens is 1 or more, not {max_tokens}")
        try:
            sampling = Sampling.from_temperature(temperature, seed)
        except ValueError as error:
            raise UsageError(str(error)) from error
        tokens = self._image.tokenizer.encode(prompt)
        if not tokens or len(tokens) >= self._image.plan.architecture.context:
            raise UsageError(f"the prompt has {len(tokens)} tokens", "give one that fits the model")
        try:
            self._compare(tokens, max_tokens, sampling)
        except LinkError as error:
            if self._dram is None or not self._dram.damaged:
                raise
            self._stage("link", False, error.what)
            self._findings.append(Finding(Cause.LINK, error.what, error.hint))
        return self._verification()

    def _compare(self, tokens: Sequence[int], max_tokens: int, sampling: Sampling) -> None:
        if device_of(self._target) is None:
            self._target.load(self._image)
        device = device_of(self._target)
        assert device is not None, "a target that is loaded has one"
        config = device.identity.config
        blob = build_blob(self._image, config)
        self._report("computing what the golden model says ...")
        golden = Golden(self._image, config)
        expected = golden.generate(tokens, max_tokens, sampling)
        self._dram = dram = DeviceDram(device)
        if not self._check_weights(device, dram, blob, golden):
            return
        drafts = choose_drafts(None, 1, config.tokens)
        request = Request((tuple(tokens),), max_tokens, sampling, drafts)
        right = self._check_tokens(self._generate(request), expected)
        # What was read is the same up to here, and so must be what was computed from it.
        length = min(len(tokens) + right, len(tokens) + len(expected) - 1)
        wrong = compare_cache(golden, dram, blob.header, 0, length)
        what = f"keys and values of {length} positions are right"
        if wrong:
            what = f"{len(wrong):,} elements differ: first {wrong[0]}"
        self._stage("cache", not wrong, what)
        self._counts = len(expected), length
        diagnosis = Diagnosis(golden, device, dram, blob, self._report)
        if right == len(expected) and not wrong:
            self._check_lanes(diagnosis, config)
            return
        read = (*tokens, *expected)[:length]
        text = Text(tuple(read), expected[length - len(tokens)], sampling)
        try:
            found = diagnosis.findings(text, wrong)
        except DeviceError as error:
            found = [Finding(Cause.UNIT, f"it stops: {error.what}", error.hint)]
        passing = found[0].cause is Cause.SPORADIC and right < len(expected)
        if passing and self._generate(request) != expected:
            found = [self._loop_finding(request)]
        self._findings += found

    def _loop_finding(self, request: Request) -> Finding:
        """Reading a text is right, generating it is not, each time."""
        parts = "token loop or drafter" if request.drafts else "token loop"
        return Finding(
            Cause.UNIT,
            f"{parts}: generating gives a wrong token each time, reading the same text does not",
            "does the bitstream meet its clock? compare jalhost generate with --no-speculate",
            Place(unit=parts),
        )

    def _check_lanes(self, diagnosis: Diagnosis, config: EngineConfig) -> None:
        """What no text may show: bits of products that are the same each time."""
        try:
            found = diagnosis.lanes()
        except DeviceError as error:
            self._report(f"lanes have no test of their own here: {error.what}")
            return
        what = f"{config.lanes} lanes multiply right in {config.tokens} token rows"
        self._stage("lanes", not found, found[0].what if found else what)
        self._findings += found

    def _check_weights(self, device: Device, dram: DeviceDram, blob: Blob, golden: Golden) -> bool:
        """Compares the image in DRAM, and mends it for what follows; False where that fails."""
        if not holds(dram, blob):
            self._target.load(self._image)
            self._stage("weights", True, "DRAM had no such image: sent, and checked by its CRCs")
            return True
        damage = find_damage(device, dram, blob, golden)
        if not damage:
            self._target.load(self._image)
            self._stage("weights", True, f"{len(blob.data):,} bytes in DRAM are right")
            return True
        self._stage("weights", False, f"damaged bytes in DRAM: {len(damage):,}")
        try:
            self._target.load(self._image)
        except DeviceError as error:
            self._report(error.what)
            self._findings.append(damage_finding(damage, dram.origin, True))
            return False
        self._findings.append(damage_finding(damage, dram.origin, False))
        return True

    def _generate(self, request: Request) -> list[int]:
        try:
            return [sampled.token for sampled in self._target.run(request)]
        except DeviceError as error:
            self._report(f"the run failed: {error.what}")
            return []

    def _check_tokens(self, got: Sequence[int], expected: Sequence[int]) -> int:
        """Returns how many are right; more or fewer than expected are no more right than others."""
        right = _common(got, expected)
        if len(got) == right == len(expected):
            self._stage("tokens", True, f"{right} tokens are right")
        elif right < min(len(got), len(expected)):
            what = f"token {right} is {got[right]} instead of {expected[right]}"
            self._stage("tokens", False, what)
        else:
            what = f"{len(got)} tokens came instead of {len(expected)}"
            self._stage("tokens", False, what)
            return min(right, len(expected) - 1)
        return right

    def _stage(self, name: str, passed: bool, what: str) -> None:
        self._stages.append(Stage(name, passed, what))
        self._report(f"{name}: {'' if passed else 'WRONG: '}{what}")

    def _verification(self) -> Verification:
        dram = self._dram
        damaged, readings = (dram.damaged, dram.readings) if dram else (0, 0)
        if damaged and not any(item.cause is Cause.LINK for item in self._findings):
            what = f"{damaged} of {readings} pieces of DRAM arrived damaged, and were read again"
            self._stage("link", False, what)
            hint = "check the cable, or lower the baud rate"
            self._findings.append(Finding(Cause.LINK, what, hint))
        info = self._target.info
        return Verification(
            target=info.name,
            provenance=str(info.provenance),
            model=self._image.name,
            passed=not self._findings and all(stage.passed for stage in self._stages),
            tokens=self._counts[0],
            positions=self._counts[1],
            readings=readings,
            damaged_readings=damaged,
            stages=tuple(self._stages),
            findings=tuple(self._findings),
        )


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens agree before the first that differs."""
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))

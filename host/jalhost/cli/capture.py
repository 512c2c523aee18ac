"""``jalhost capture``: waveforms from the gateware's logic analyzer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jalhost.cli.bus import BundleFile, open_bus, show
from jalhost.cli.options import (
    Debug,
    GatewareText,
    Json,
    ModelFile,
    TargetName,
    TokenizerFile,
    open_model,
    say,
)
from jalhost.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jalhost.engine.access import Access
    from jalhost.models.image import Image

WAIT_S = 10.0


def capture(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File: .vcd, .sr (sigrok) or .csv.")
    ] = None,
    trigger: Annotated[
        list[str] | None,
        typer.Option(
            "--trigger",
            "-t",
            help="NAME or rising:NAME, falling:NAME, NAME=VALUE,...; several come true in turn.",
            show_default="at once",
        ),
    ] = None,
    offset: Annotated[int, typer.Option(help="Samples before the trigger.")] = 16,
    length: Annotated[int, typer.Option(help="Samples in all.")] = 256,
    subsampling: Annotated[int, typer.Option(help="Cycles from a sample to the next.")] = 1,
    prompt: Annotated[
        str | None, typer.Option(help="Generate from this meanwhile.", show_default="nothing")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens to generate meanwhile.")] = 4,
    model: ModelFile = None,
    tokenizer: TokenizerFile = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the trigger.")] = WAIT_S,
    list_signals: Annotated[bool, typer.Option("--list", help="List the signals.")] = False,
    target: TargetName = None,
    bundle: BundleFile = None,
    gateware: GatewareText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Save what the engine's signals do around a trigger.

    For example: jalhost capture -t pass_start -o x.vcd --prompt "Once" --gateware scope=true
    """
    from jalhost.engine.access import bundle_maps, require_scope
    from jalhost.engine.capture import FORMATS, Plan, parse_trigger, read_scope
    from jalhost.engine.capture import capture as run
    from jalhost.engine.records import CaptureRecord, SignalRecord
    from jalhost.files import atomic_path, check_writable

    if not list_signals and (output is None or output.suffix not in FORMATS):
        raise UsageError("where to?", f"-o FILE, whose name ends with {' or '.join(FORMATS)}")
    if output and not list_signals:
        check_writable(output)
    if bundle:
        require_scope(bundle_maps(bundle), str(bundle))
    image = open_model(model, tokenizer) if prompt is not None else None
    samples = 0
    with open_bus(target, bundle, gateware) as access:
        scope = read_scope(require_scope(access.maps, access.name))
        triggers = [parse_trigger(text, scope) for text in trigger or []]
        plan = Plan(triggers, offset, length, subsampling)
        plan.check(scope)
        armed = _runner(access, image, prompt, max_tokens)
        if output and not list_signals:
            with atomic_path(output) as path:
                # The format goes by the name's end, which a temporary file does not have.
                named = path.with_suffix(output.suffix)
                try:
                    samples = run(access, plan, named, timeout, armed)
                    named.replace(path)
                finally:
                    named.unlink(missing_ok=True)
        name = access.name
    record = CaptureRecord(
        target=name, output=str(output) if samples else None, samples=samples, offset=offset,
        subsampling=subsampling, samplerate=scope.samplerate / subsampling,
        signals=[SignalRecord(name=item, bits=bits) for item, bits in scope.signals.items()],
    )  # fmt: skip
    if list_signals:
        show(record, [f"{bits:3}  {item}" for item, bits in scope.signals.items()], as_json)
    else:
        show(record, [f"{samples} samples of {len(scope.signals)} signals in {output}"], as_json)


def _runner(
    access: "Access", image: "Image | None", prompt: str | None, max_tokens: int
) -> "Callable[[], None]":
    """What runs the engine once the analyzer is armed; the image is loaded before."""
    from jalhost.engine.capture import AttachedTarget
    from jalhost.engine.generation import Generation

    if image is None or prompt is None:
        return lambda: say("armed; waiting for the trigger")
    target = AttachedTarget(access.name, access.device, say)
    target.load(image)
    generation = Generation(target, image, prompt, max_tokens, 0.0, 0, 0)

    def generate() -> None:
        for _ in generation:
            continue
        say(f"generated {max_tokens} tokens at most")

    return generate

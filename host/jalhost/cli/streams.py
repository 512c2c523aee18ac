"""Several streams of text at once: live on a terminal, one after the other elsewhere."""

import sys
from contextlib import closing
from typing import TYPE_CHECKING

from jalhost.cli.render import printable, stream_length

if TYPE_CHECKING:
    from rich.console import RenderableType

    from jalhost.engine.generation import Generation
    from jalhost.engine.summary import Summary

REFRESHES_PER_S = 8


def show_streams(generation: "Generation") -> "Summary":
    """Runs a generation and prints its texts to standard output."""
    if sys.stdout.isatty():
        _show_live(generation)
        return generation.summary()
    for _ in generation:
        pass
    summary = generation.summary()
    for number, stream in enumerate(summary.streams, 1):
        print(f"[{number}] {stream_length(stream)}, seed {stream.seed}\n{stream.text}")
    return summary


def _show_live(generation: "Generation") -> None:
    """A panel per stream that grows with its text; the last state stays on the screen."""
    from rich.console import Console
    from rich.live import Live

    console = Console(markup=False, highlight=False)
    with (
        Live(
            console=console,
            get_renderable=lambda: _panels(generation),
            refresh_per_second=REFRESHES_PER_S,
        ),
        closing(iter(generation)) as events,
    ):
        for _ in events:
            pass


def _panels(generation: "Generation") -> "RenderableType":
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    return Group(
        *(
            Panel(Text(printable(stream.text)), title=f"[{number}]", title_align="left")
            for number, stream in enumerate(generation.streams, 1)
        )
    )

"""Options that narrow the choice of tokens, and what turns them into filters."""

from typing import TYPE_CHECKING, Annotated

import typer

from jalhost.cli.options import say

if TYPE_CHECKING:
    from jalhost.engine.filters import Filters

TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k", help="Choose among the K likeliest tokens (0: all).", show_default="all"
    ),
]

TopP = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        help="Choose among the fewest tokens that have this probability together.",
        show_default="all",
    ),
]

MinP = Annotated[
    float | None,
    typer.Option(
        "--min-p",
        help="Choose among tokens with at least this share of the likeliest one's probability.",
        show_default="all",
    ),
]

RepetitionPenalty = Annotated[
    float | None,
    typer.Option(
        "--repetition-penalty",
        help="Make tokens that are in the text already less likely, by a factor above 1.",
        show_default="none",
    ),
]


def read_filters(
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    repetition_penalty: float | None,
    temperature: float,
) -> "Filters | None":
    """The filters, or None where all tokens pass as they are: then the engine samples by itself.

    Says so where temperature 0 makes some useless.

    Raises:
        UsageError: a value is out of range.
    """
    from jalhost.engine.filters import Filters

    filters = Filters(top_k or None, top_p, min_p, repetition_penalty).needed()
    penalty = Filters(repetition_penalty=filters.repetition_penalty)
    if temperature == 0 and filters != penalty:
        say("--top-k, --top-p and --min-p change nothing without --temperature")
        filters = penalty
    return None if filters == Filters() else filters

"""Results of a benchmark as a table, Markdown, CSV or JSON."""

import csv
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jalhost.engine.bench import Result

if TYPE_CHECKING:
    from jalhost.models.image import Image

HEADINGS = (
    "model",
    "params",
    "test",
    "tokens/s",
    "cycles/token",
    "DRAM",
    "lanes",
    "tokens/pass",
    "TTFT ms",
    "target",
    "figures",
)
"""``DRAM``: share of the port's bytes that the tokens needed; ``lanes``: of the multiplications."""

CAUSES: tuple[tuple[str, str, Callable[[dict[str, int]], int]], ...] = (
    ("lanes", "weights", lambda c: c["dram_words"] - c["kv_words"]),
    ("lanes", "wait for DRAM", lambda c: c["stall_weights"]),
    ("lanes", "wait for vector unit", lambda c: c["stall_vector"]),
    ("attention", "keys and values", lambda c: c["kv_words"]),
    ("attention", "wait for DRAM", lambda c: c["stall_kv"]),
    ("token loop", "wait for host", lambda c: c["stall_host"]),
)
"""Unit, what it does in a cycle, and how many cycles that is by the engine's counters."""

POWER_HEADINGS = ("W", "J/token", "power")
"""Columns that are there where power was asked for; the last one says who tells."""

LONGEST_LINE = 400

REST = ("all", "pipelines fill and drain")


def print_results(image: "Image", results: list[Result], output: str) -> None:
    """Prints to standard output; ``output`` is ``table``, ``md``, ``csv`` or ``json``."""
    parameters = image.plan.architecture.parameters
    records = [
        {"model": image.name, "parameters": parameters} | result.as_dict() for result in results
    ]
    if output == "json":
        print(json.dumps(records, indent=2))
        return
    if output == "csv":
        _print_csv(records)
        return
    show = _print_markdown if output == "md" else _print_table
    powered = any(result.power for result in results)
    headings = (*HEADINGS, *POWER_HEADINGS) if powered else HEADINGS
    show(headings, [_row(image.name, parameters, result) for result in results])
    for result in results:
        if result.breakdown:
            print()
            causes = (f"{result.test.name}: unit", "cause", "cycles/token", "share")
            show(causes, _causes(result.breakdown, result.test.tokens))


def _row(name: str, parameters: int, result: Result) -> tuple[str, ...]:
    mean, deviation = result.tokens_per_s
    clock = result.info.clock_hz
    return (
        name,
        f"{parameters:,}",
        result.test.name,
        f"{mean:,.2f} ± {deviation:,.2f}",
        _optional(result.cycles_per_token, ",.0f"),
        _optional(result.dram_utilisation, ".1%"),
        _optional(result.lanes_utilisation, ".1%"),
        _optional(result.tokens_per_pass, ".2f"),
        "-" if result.ttft_s is None else f"{1000 * result.ttft_s:,.2f}",
        result.info.name + (f" ({result.info.gateware})" if result.info.gateware else ""),
        result.info.provenance.value
        + (f" at {clock / 1e6:g} MHz" if clock else "")
        + (", cold cache" if result.cold_cache else ""),
        *_power(result),
    )


def _power(result: Result) -> tuple[str, ...]:
    """Cells of POWER_HEADINGS; none where power was not asked for."""
    report = result.power
    if report is None:
        return ()
    from jalhost.power.report import si, source_text

    energy = "-" if report.j_per_token is None else si(report.j_per_token, "J")
    return si(report.mean_w, "W"), energy, source_text(report)


def _optional(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _causes(counters: dict[str, int], tokens: int) -> list[tuple[str, ...]]:
    """A token's cycles by unit and cause; the last line is what no counter explains."""
    cycles = counters["cycles"]
    parts = [(unit, cause, count(counters)) for unit, cause, count in CAUSES]
    parts.append((*REST, cycles - sum(part for _, _, part in parts)))
    return [
        (unit, cause, f"{round(part / tokens):,}", f"{round(1000 * part / cycles) / 10}%")
        for unit, cause, part in [*parts, ("", "all", cycles)]
    ]


def _print_csv(records: list[dict[str, Any]]) -> None:
    """One line per test; lists and breakdowns as JSON."""
    names = list(dict.fromkeys(name for record in records for name in record))
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    for record in records:
        nested = {k: json.dumps(v) for k, v in record.items() if isinstance(v, list | dict)}
        writer.writerow(record | nested)


def _print_markdown(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    for cells in (headings, ("---",) * len(headings), *rows):
        print(f"| {' | '.join(cells)} |")


def _print_table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for index, heading in enumerate(headings):
        number = all(row[index].lstrip("-")[:1].isdigit() or row[index] == "-" for row in rows)
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # Lines are as long as they must be: a figure that is cut off is none.
    Console(markup=False, highlight=False, width=LONGEST_LINE).print(table)

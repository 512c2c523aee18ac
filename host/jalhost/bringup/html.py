"""A report as one HTML page: no scripts, and nothing that is fetched."""

from collections.abc import Iterator
from html import escape
from typing import Any

from jalhost.bringup.report import Report, RoundReport, StageReport, Verdict
from jalhost.bringup.stages import Stage
from jalhost.bringup.svg import Bar, bars, curve

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em;
  color: #1d2430; background: #fff; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .35em .6em;
  border-top: 1px solid #d9dee6; }
th { font-weight: 600; } td.seconds { text-align: right; white-space: nowrap; }
.verdict { font-weight: 600; border-radius: .3em; padding: .05em .5em; color: #fff; }
.verdict.pass { background: #1f7a3f; } .verdict.fail { background: #b3261e; }
.verdict.skip { background: #6b7280; }
.banner { padding: .8em 1em; border-radius: .5em; border-left: .5em solid #1f7a3f;
  background: #eef7f0; } .banner.fail { border-color: #b3261e; background: #fcefee; }
details { color: #4a5361; } dl { display: grid; grid-template-columns: max-content 1fr;
  gap: .1em 1em; margin: .4em 0; } dt { color: #4a5361; } dd { margin: 0; word-break: break-word; }
code { background: #f1f3f6; padding: .1em .3em; border-radius: .25em; }
svg { display: block; max-width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: #1d2430; } svg text.label { text-anchor: end; }
rect.room { fill: #f1f3f6; } rect.pass { fill: #3b7dd8; } rect.fail { fill: #b3261e; }
rect.skip { fill: #c3c9d2; } line.mark { stroke: #1d2430; stroke-width: 2; }
line.axis { stroke: #6b7280; } polyline.curve { fill: none; stroke: #3b7dd8; stroke-width: 2; }
"""


def html_page(report: Report) -> str:
    """The page's text."""
    title = f"Bring-up of {report.target}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        _banner(report),
        _facts(_head(report)),
    ]
    for entry in report.rounds:
        if len(report.rounds) > 1:
            parts.append(f"<h2>Round {entry.number}</h2>")
        parts += [_table(entry), *_pictures(entry)]
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _banner(report: Report) -> str:
    if report.broken is None:
        return '<p class="banner">Nothing is broken.</p>'
    first = next(
        stage for entry in report.rounds for stage in entry.stages if stage.layer is report.broken
    )
    causes = "".join(f"<li>{escape(cause)}</li>" for cause in first.causes)
    command = (
        f"<p>Next: <code>{escape(first.next_command)}</code></p>" if first.next_command else ""
    )
    return (
        f'<div class="banner fail"><p><b>Broken: {escape(report.broken)}.</b> '
        f"{escape(first.summary)}</p><ul>{causes}</ul>{command}</div>"
    )


def _head(report: Report) -> dict[str, Any]:
    rows = {
        "started": report.started,
        "took": f"{report.seconds:.1f} s",
        "figures": report.provenance or "none: the device was not reached",
        "jalhost": report.jalhost,
        "bundle": report.bundle,
        "fault on purpose": report.fault,
    }
    return {name: value for name, value in rows.items() if value}


def _facts(rows: dict[str, Any]) -> str:
    items = (
        f"<dt>{escape(name)}</dt><dd>{escape(_text(value))}</dd>" for name, value in rows.items()
    )
    return f"<dl>{''.join(items)}</dl>"


def _text(value: Any) -> str:
    """A value of the evidence, on one line."""
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return "; ".join(map(_text, value)) or "none"
    return str(value)


def _table(entry: RoundReport) -> str:
    rows = "".join(map(_row, entry.stages))
    return f"<table><tr><th>stage</th><th></th><th>s</th><th>found</th></tr>{rows}</table>"


def _row(stage: StageReport) -> str:
    causes = "".join(f"<li>{escape(cause)}</li>" for cause in stage.causes)
    more = f"<ul>{causes}</ul>" if causes else ""
    if stage.next_command:
        more += f"<p>Next: <code>{escape(stage.next_command)}</code></p>"
    if stage.evidence:
        more += f"<details><summary>evidence</summary>{_facts(dict(stage.evidence))}</details>"
    return (
        f'<tr><td title="{escape(stage.title)}">{escape(stage.stage)}</td>'
        f'<td><span class="verdict {stage.verdict}">{stage.verdict}</span></td>'
        f'<td class="seconds">{stage.seconds:.1f}</td><td>{escape(stage.summary)}{more}</td></tr>'
    )


def _pictures(entry: RoundReport) -> Iterator[str]:
    found = {stage.stage: stage for stage in entry.stages}
    if Stage.LEVELLING in found:
        yield from _eyes(found[Stage.LEVELLING])
    if Stage.DRAM_BANDWIDTH in found:
        yield from _bandwidth(found[Stage.DRAM_BANDWIDTH])
    yield from _power(entry)
    yield "<h2>Time of each stage</h2>"
    ran = [stage for stage in entry.stages if stage.seconds or stage.verdict is not Verdict.SKIP]
    yield bars(
        "Time of each stage",
        [Bar(s.stage, s.seconds, f"{s.seconds:.1f} s", kind=s.verdict) for s in ran],
    )


def _eyes(stage: StageReport) -> Iterator[str]:
    """A bar for each lane: taps that work, with the delay in use as a mark."""
    eyes: Any = stage.evidence.get("eyes")
    if not eyes:
        return
    rows = []
    for eye in eyes:
        line = "" if eye["line"] is None else f" line {eye['line']}"
        label = f"lane {eye['lane']}{line}"
        if eye["centre"] is None:
            rows.append(Bar(label, 0.0, "closed", kind="fail"))
            continue
        start, end = eye["centre"] - eye["margin"], eye["centre"] + eye["margin"] + 1
        text = f"{eye['width']} taps, bitslip {eye['bitslip']}"
        rows.append(Bar(label, end, text, start=max(0, start), mark=eye["centre"] + 0.5,
                        kind="pass" if eye["margin"] else "fail"))  # fmt: skip
    yield "<h2>Eyes of the DRAM's byte lanes, in taps</h2>"
    yield bars("Eyes of the DRAM's byte lanes", rows)


def _bandwidth(stage: StageReport) -> Iterator[str]:
    peak: Any = stage.evidence.get("peak_bytes_per_s")
    reached: Any = stage.evidence.get("bytes_per_s")
    if not peak or reached is None:
        return
    yield "<h2>DRAM bandwidth</h2>"
    yield bars(
        "DRAM bandwidth",
        [
            Bar("port's peak", peak, f"{peak / 1e6:,.0f} MB/s", kind="skip"),
            Bar("engine", reached, f"{reached / 1e6:,.0f} MB/s", kind=stage.verdict),
        ],
        most=peak,
    )


def _power(entry: RoundReport) -> Iterator[str]:
    """Power over time, where the device has sensors for it."""
    if not entry.power:
        return
    yield "<h2>Power over time</h2>"
    yield curve("Power over time", [(item.seconds, item.watts) for item in entry.power], "s", "W")

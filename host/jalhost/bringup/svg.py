"""Small pictures for reports, as SVG that stands in a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 720
LABEL = 150
ROW = 22
BAR = 14
END = 130
"""Room for values behind bars."""


@dataclass(frozen=True)
class Bar:
    """A bar from ``start`` to ``end``, with a mark, a label in front and a text behind it."""

    label: str
    end: float
    text: str
    start: float = 0.0
    mark: float | None = None
    kind: str = "pass"


def bars(title: str, rows: Sequence[Bar], most: float | None = None) -> str:
    """Horizontal bars on one scale, up to ``most`` or the largest of them."""
    top = most or max((row.end for row in rows), default=0.0) or 1.0
    scale = (WIDTH - LABEL - END) / top
    parts = [
        f'<svg role="img" viewBox="0 0 {WIDTH} {ROW * len(rows) + 6}" '
        f'width="{WIDTH}"><title>{escape(title)}</title>'
    ]
    for index, row in enumerate(rows):
        y = ROW * index + 4
        x = LABEL + row.start * scale
        width = max(1.0, (row.end - row.start) * scale)
        middle = y + BAR - 3
        parts.append(f'<text x="{LABEL - 8}" y="{middle}" class="label">{escape(row.label)}</text>')
        parts.append(
            f'<rect x="{LABEL}" y="{y}" width="{top * scale:.1f}" height="{BAR}" class="room"/>'
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" class="{row.kind}"/>'
        )
        if row.mark is not None:
            at = LABEL + row.mark * scale
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y - 2}" y2="{y + BAR + 2}" class="mark"/>'
            )
        parts.append(
            f'<text x="{LABEL + top * scale + 8:.1f}" y="{middle}">{escape(row.text)}</text>'
        )
    return "".join([*parts, "</svg>"])


def curve(title: str, points: Sequence[tuple[float, float]], x_unit: str, y_unit: str) -> str:
    """A line through points (x, y), from 0 up."""
    height, left, bottom = 160, 60, 24
    xs, ys = [x for x, _ in points], [y for _, y in points]
    first, last, top = min(xs), max(xs), max(*ys, 0.0) or 1.0
    span = (last - first) or 1.0
    places = " ".join(
        f"{left + (x - first) / span * (WIDTH - left - 10):.1f},"
        f"{height - bottom - y / top * (height - bottom - 10):.1f}"
        for x, y in points
    )
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">'
        f"<title>{escape(title)}</title>"
        f'<line x1="{left}" x2="{WIDTH - 10}" y1="{height - bottom}" y2="{height - bottom}" '
        f'class="axis"/><polyline points="{places}" class="curve"/>'
        f'<text x="4" y="16">{top:.3g} {escape(y_unit)}</text>'
        f'<text x="{left}" y="{height - 6}">{first:.3g}</text>'
        f'<text x="{WIDTH - 60}" y="{height - 6}">{last:.3g} {escape(x_unit)}</text></svg>'
    )

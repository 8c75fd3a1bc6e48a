"""Charts, drawn here as SVG: no script, no style attribute, so that the strict content policy holds. A table stands beside each.

Shapes carry classes that `leads.css` colours, light and dark. Every chart has a title and says its values in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from markupsafe import Markup

from dashboard.messages import gettext as _

WIDTH = 560
HEIGHT = 200
ROW = 30
MOST_LABELS = 8
"""Labels below a chart of columns: of more columns only some are named."""

LABEL_WIDTH = 170
LONGEST_LABEL = 24
LETTER = 7.5
"""Width of a letter at most, in the values."""

FOOT = 24


@dataclass(frozen=True)
class Bar:
    """A value from 0 upwards. part: how much of it stands out, such as what is overdue. words: the value, written."""

    label: str
    value: float
    part: float = 0
    words: str = ""

    @property
    def shown(self) -> str:
        return self.words or f"{self.value:g}"


def columns(title: str, bars: Sequence[Bar]) -> Markup:
    """Upright bars in their order, such as days. Any number of them: they grow thinner, and only some are named."""
    if not any(bar.value for bar in bars):
        return _empty(title)
    top = max(bar.value for bar in bars)
    step, room = WIDTH / len(bars), HEIGHT - FOOT - 20
    every = -(-len(bars) // MOST_LABELS)
    parts = [_line(0, HEIGHT - FOOT, WIDTH, HEIGHT - FOOT)]
    for place, bar in enumerate(bars):
        left, high, strong = place * step, room * bar.value / top, room * min(bar.part, bar.value) / top
        thick = min(step * 0.7, 64)
        middle, floor = left + step / 2, HEIGHT - FOOT
        parts.append(_rect("bar", middle - thick / 2, floor - high, thick, high, words=f"{bar.label}: {bar.shown}"))
        if bar.part:
            parts.append(_rect("part", middle - thick / 2, floor - strong, thick, strong))
        if place % every == 0:
            at_edge = place == 0 and step < 40  # in the middle of a thin bar it would begin outside
            parts.append(_text(0 if at_edge else middle, HEIGHT - 6, bar.label, "start" if at_edge else "middle"))
        if len(bars) <= MOST_LABELS * 2:
            parts.append(_text(middle, floor - high - 6, bar.shown, "middle", "value"))
    return _svg(title, bars, HEIGHT, parts)


def rows(title: str, bars: Sequence[Bar], *, top: float = 0) -> Markup:
    """Lying bars, each with its label and value, such as queues. top: the greatest possible value, the greatest of all for 0."""
    if not bars or not (top or any(bar.value for bar in bars)):
        return _empty(title)
    values = max(70, 16 + LETTER * max(len(bar.shown) for bar in bars))
    top, room, parts = top or max(bar.value for bar in bars), WIDTH - LABEL_WIDTH - values, []
    for place, bar in enumerate(bars):
        y, long, strong = place * ROW, room * bar.value / top, room * min(bar.part, bar.value) / top
        parts.append(_text(LABEL_WIDTH - 12, y + 20, _short(bar.label), "end"))
        parts.append(_rect("track", LABEL_WIDTH, y + 7, room, ROW - 12))
        parts.append(_rect("bar", LABEL_WIDTH, y + 7, long, ROW - 12, words=f"{bar.label}: {bar.shown}"))
        if bar.part:
            parts.append(_rect("part", LABEL_WIDTH, y + 7, strong, ROW - 12))
        parts.append(_text(LABEL_WIDTH + room + 8, y + 20, bar.shown, "start", "value"))
    return _svg(title, bars, len(bars) * ROW + 4, parts)


@dataclass(frozen=True)
class Point:
    """A value from 0 upwards at a place on the axis, in any unit that grows to the right."""

    label: str
    place: float
    value: float


def line(title: str, points: Sequence[Point]) -> Markup:
    """A line through points in order of their places, such as hours from now. One point is a dot."""
    if not any(point.value for point in points):
        return _empty(title)
    top = max(point.value for point in points)
    first, last = points[0].place, points[-1].place
    floor, room = HEIGHT - FOOT, HEIGHT - FOOT - 26
    at = [(20 + (WIDTH - 50) * (p.place - first) / ((last - first) or 1), floor - room * p.value / top) for p in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    parts = [_line(0, floor, WIDTH, floor), Markup('<polyline class="run" points="{}"/>').format(path)]
    every = -(-len(points) // MOST_LABELS)
    for place, ((x, y), point) in enumerate(zip(at, points, strict=True)):
        if len(points) <= MOST_LABELS * 2:
            parts.append(Markup('<circle class="dot" cx="{}" cy="{}" r="4"/>').format(f"{x:.1f}", f"{y:.1f}"))
        if place % every == 0:
            parts.append(_text(x, HEIGHT - 6, point.label, "middle"))
            parts.append(_text(x, y - 9, f"{point.value:g}", "middle", "value"))
    return _svg(title, [Bar(point.label, point.value) for point in points], HEIGHT, parts)


def _svg(title: str, bars: Sequence[Bar], height: float, parts: Sequence[Markup]) -> Markup:
    name = f"chart-{crc32(title.encode()):x}"
    words = "; ".join(f"{bar.label}: {bar.shown}" for bar in bars[:40])
    more = _(" … and %(count)d more, in the table") % {"count": len(bars) - 40} if len(bars) > 40 else ""
    head = Markup(
        '<svg class="chart" role="img" viewBox="0 0 {} {}" aria-labelledby="{}-title" aria-describedby="{}-desc">'
        '<title id="{}-title">{}</title><desc id="{}-desc">{}</desc>'
    ).format(WIDTH, f"{height:g}", name, name, name, title, name, words + more)
    return head + Markup("").join(parts) + Markup("</svg>")


def _empty(title: str) -> Markup:
    return Markup('<p class="no-chart">{}: {}</p>').format(title, _("nothing to draw yet."))


def _rect(kind: str, *place: float, words: str = "") -> Markup:
    """place: x, y, width and height."""
    told = Markup("<title>{}</title>").format(words) if words else Markup("")
    places = (f"{value:.1f}" for value in place)
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="2">{}</rect>').format(kind, *places, told)


def _line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="axis" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(x1, y1, x2, y2)


def _text(x: float, y: float, words: str, anchor: str, kind: str = "label") -> Markup:
    places = f"{x:.1f}", f"{y:.1f}"
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(kind, *places, anchor, words)


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"

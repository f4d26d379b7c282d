"""A drawing as SVG inside a page: its colours are the page's, nothing in it is loaded from anywhere."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise

from streamer.timestamps import NS
from trainer.report.drawing import Channel, Drawing, Numbers, Span

LEFT, WIDTH, RIGHT = 56.0, 908.0, 36.0
CURVE, STRIP, GAP, AXIS = 130.0, 44.0, 26.0, 22.0
TOP_SURPRISE = 12.0  # where students' surprises end
MOST_TICKS = 8
_STEPS_S = (
    *(1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600),
    *(86_400 * days for days in (1, 2, 4, 7, 14, 28, 56, 112, 364, 728)),
)  # fmt: skip


def svg(drawing: Drawing, title: str) -> str:
    """The whole picture: a curve a channel, the surprise below, one axis of time."""
    height = len(drawing.channels) * (CURVE + GAP) + STRIP + AXIS + GAP
    parts = [
        f'<svg class="picture" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {LEFT + WIDTH + RIGHT:.0f} {height:.0f}">'
    ]
    top = GAP
    for channel in drawing.channels:
        parts += _curve(drawing, channel, top)
        top += CURVE + GAP
    parts += _strip(drawing, top)
    parts += _axis(drawing, top + STRIP)
    return "".join([*parts, "</svg>"])


def _curve(drawing: Drawing, channel: Channel, top: float) -> Iterator[str]:
    known = [v for v in (*channel.low, *channel.high) if v is not None]
    bottom, ceiling = (min(known), max(known)) if known else (0.0, 1.0)
    room = 0.08 * (ceiling - bottom) or max(abs(ceiling), 1.0) * 0.05
    bottom, ceiling = bottom - room, ceiling + room

    def y(value: float) -> float:
        # far outside is as good as anything outside, and keeps numbers short
        return min(max(CURVE * (ceiling - value) / (ceiling - bottom), -CURVE), 2 * CURVE)

    yield f'<text class="name" x="{LEFT}" y="{top - 6:.0f}">{escape(channel.name)}</text>'
    for value in (ceiling - room, bottom + room):
        yield f'<text class="tick" x="{LEFT - 6}" y="{top + y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>'
    yield f'<svg x="{LEFT}" y="{top:.0f}" width="{WIDTH}" height="{CURVE}" viewBox="0 0 {WIDTH} {CURVE}">'
    yield from _shades(drawing, CURVE)
    for points in _runs(channel.band_low, channel.band_high):
        upper = [f"{_x(drawing, p):.1f},{y(high):.1f}" for p, _, high in points]
        lower = [f"{_x(drawing, p):.1f},{y(low):.1f}" for p, low, _ in reversed(points)]
        yield f'<polygon class="band" points="{" ".join(upper + lower)}"/>'
    for points in _runs(channel.low, channel.high):
        # a line through both extremes of every column: at this density what a line through all slots shows
        line = [f"{_x(drawing, p):.1f},{y(v):.1f}" for p, low, high in points for v in dict.fromkeys((low, high))]
        line += line[:1] if len(line) == 1 else []
        yield f'<polyline class="value" points="{" ".join(line)}"/>'
    yield "</svg>"


def _shades(drawing: Drawing, height: float) -> Iterator[str]:
    scale = WIDTH / drawing.slots
    if drawing.judged_from > 0:
        yield f'<rect class="learnt" width="{drawing.judged_from * scale:.1f}" height="{height}"/>'
    for span in sorted(drawing.spans, key=lambda span: span.severity is not None):
        yield _shade(span, scale, height)


def _shade(span: Span, scale: float, height: float) -> str:
    kind = f"incident {span.severity}" if span.severity else "label"
    width = max((span.end + 1 - span.begin) * scale, 2.0)
    return (
        f'<rect class="{escape(kind)}" x="{span.begin * scale:.1f}" width="{width:.1f}" height="{height}">'
        f"<title>{escape(span.text)}</title></rect>"
    )


def _strip(drawing: Drawing, top: float) -> Iterator[str]:
    highest = max(TOP_SURPRISE, drawing.threshold)  # a season's surprise has no end, and says no more above it
    limit = STRIP * (1 - drawing.threshold / highest)
    yield f'<text class="name" x="{LEFT}" y="{top - 6:.0f}">surprise, −log10 p; dashed: what opens an incident</text>'
    yield f'<svg x="{LEFT}" y="{top:.0f}" width="{WIDTH}" height="{STRIP}" viewBox="0 0 {WIDTH} {STRIP}">'
    for points in _runs(drawing.surprise, drawing.surprise):
        line = [f"{_x(drawing, p):.1f},{STRIP * (1 - min(max(high, 0.0) / highest, 1.0)):.1f}" for p, _, high in points]
        yield f'<polyline class="surprise" points="{" ".join(line)}"/>'
    yield f'<line class="limit" x2="{WIDTH}" y1="{limit:.1f}" y2="{limit:.1f}"/></svg>'


def _axis(drawing: Drawing, top: float) -> Iterator[str]:
    yield f'<line class="axis" x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{top:.0f}" y2="{top:.0f}"/>'
    for slot, text in _ticks(drawing):
        x = LEFT + WIDTH * slot / drawing.slots
        yield f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.0f}" y2="{top + 4:.0f}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{top + 16:.0f}" text-anchor="middle">{text}</text>'


def _ticks(drawing: Drawing) -> list[tuple[float, str]]:
    """Slots and what stands below them: round times of day, or round numbers of slots."""
    if drawing.start_ns is None:
        step = next(s for s in (10**e * k for e in range(12) for k in (1, 2, 5)) if drawing.slots / s <= MOST_TICKS)
        return [(float(slot), f"{slot:,}") for slot in range(0, drawing.slots, step)]
    interval_s, start_s = drawing.interval_ns / NS, drawing.start_ns / NS
    long_s = drawing.slots * interval_s
    every = next((s for s in _STEPS_S if long_s / s <= MOST_TICKS), _STEPS_S[-1])
    form = "%d %b" if every >= 86_400 else "%d %b %H:%M" if every >= 60 else "%H:%M:%S"
    first = -(-start_s // every) * every
    at = [first + i * every for i in range(int((start_s + long_s - first) // every) + 1)]
    return [((s - start_s) / interval_s, datetime.fromtimestamp(s, UTC).strftime(form)) for s in at]


def _x(drawing: Drawing, column: int) -> float:
    return WIDTH * min((column + 0.5) * drawing.size / drawing.slots, 1.0)


def _runs(low: Numbers, high: Numbers) -> Iterator[Sequence[tuple[int, float, float]]]:
    """Columns without a gap between them."""
    known = [(p, a, b) for p, (a, b) in enumerate(zip(low, high, strict=True)) if a is not None and b is not None]
    breaks = [i for i, (before, after) in enumerate(pairwise(known), 1) if after[0] != before[0] + 1]
    for begin, end in pairwise([0, *breaks, len(known)] if known else []):
        yield known[begin:end]

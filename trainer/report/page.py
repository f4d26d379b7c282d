"""One HTML file with all that a replay has found: no script, nothing loaded from anywhere, light and dark."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from trainer.report.drawing import Drawing
from trainer.report.svg import svg

Facts = list[tuple[str, str]]


def moment(at: str) -> str:
    """A time as people read it.

    >>> moment("2026-01-06T10:00:00.250Z")
    '2026-01-06 10:00:00'
    """
    return at[:19].replace("T", " ")


def span(begin: str, end: str | None) -> str:
    """From when to when.

    >>> span("2026-01-06T10:00:00Z", "2026-01-06T10:12:00Z"), span("2026-01-06T10:00:00Z", None)
    ('2026-01-06 10:00:00 to 10:12:00', '2026-01-06 10:00:00 on')
    """
    if end is None:
        return f"{moment(begin)} on"
    return f"{moment(begin)} to {moment(end)[11 if end[:10] == begin[:10] else 0 :]}"


@dataclass(frozen=True)
class Alert:
    """One incident as it was in the end."""

    span: str  # from when to when
    severity: str
    reason: str
    notes: str = ""


@dataclass(frozen=True)
class Stream:
    """One stream: its alerts, its picture, and what was learnt of it."""

    name: str
    alerts: Sequence[Alert] = ()
    drawing: Drawing | None = None
    learnt: Facts = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The whole page."""

    title: str
    lead: str
    summary: Facts
    streams: Sequence[Stream]
    errors: Sequence[str] = ()


def write(report: Report, file: Path) -> None:
    """Write the page."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(page(report)), encoding="utf-8")


def page(report: Report) -> Iterator[str]:
    """The page, part by part. Streams with alerts come first."""
    yield '<!doctype html>\n<html lang="en" data-ready><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield f"<title>{escape(report.title)}</title><style>{STYLE}</style></head>\n<body><main>"
    yield f"<h1>{escape(report.title)}</h1><p class=lead>{escape(report.lead)}</p>"
    yield _facts(report.summary)
    for error in report.errors:
        yield f"<p class=error>{escape(error)}</p>"
    streams = sorted(report.streams, key=lambda stream: -len(stream.alerts))
    if len(streams) > 1:
        yield "<nav><h2>Streams</h2><ul>"
        for at, stream in enumerate(streams):
            many = f" <b>{len(stream.alerts)}</b>" if stream.alerts else ""
            yield f'<li><a href="#s{at}">{escape(stream.name)}</a>{many}</li>'
        yield "</ul></nav>\n"
    for at, stream in enumerate(streams):
        yield from _stream(stream, at)
    yield "</main></body></html>\n"


def _stream(stream: Stream, at: int) -> Iterator[str]:
    count = len(stream.alerts)
    said = f"{count} alert{'' if count == 1 else 's'}" if count else "no alerts"
    yield f'<section id="s{at}"><h2>{escape(stream.name)} <small>{said}</small></h2>'
    if stream.note:
        yield f"<p class=note>{escape(stream.note)}</p>"
    if stream.drawing is not None:
        yield svg(stream.drawing, f"{stream.name}: values, expected band, {said}")
        if stream.drawing.left_out:
            many = stream.drawing.left_out
            yield f"<p class=note>{many} more channel{'' if many == 1 else 's'} not drawn: none of the loudest.</p>"
    if stream.alerts:
        yield "<table><thead><tr><th>when</th><th>severity</th><th>why</th></tr></thead><tbody>"
        for alert in stream.alerts:
            severity, notes = escape(alert.severity), f" <small>{escape(alert.notes)}</small>" if alert.notes else ""
            yield f"<tr><td class=when>{escape(alert.span)}{notes}</td><td class={severity}>{severity}</td>"
            yield f"<td>{escape(alert.reason)}</td></tr>"
        yield "</tbody></table>"
    if stream.learnt:
        yield f"<details><summary>What was learnt</summary>{_facts(stream.learnt)}</details>"
    yield "</section>\n"


def _facts(facts: Facts) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f"<dl>{rows}</dl>"


STYLE = """
:root { --bg: #f7f7f5; --surface: #fff; --text: #1d1d1b; --soft: #5f5f5a; --line: #e3e3de; --band: rgba(47, 98, 150, .22);
  --learnt: rgba(0, 0, 0, .035); --label: rgba(120, 90, 200, .2); --critical: #b3261e; --warning: #9a6200; --info: #2f6296;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --bg: #141413; --surface: #1b1b1a; --text: #ecece8; --soft: #a5a59e;
  --line: #2b2b29; --band: rgba(134, 180, 230, .24); --learnt: rgba(255, 255, 255, .05); --label: rgba(170, 140, 255, .25);
  --critical: #ff8a7e; --warning: #e9b24c; --info: #86b4e6; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--text); font: 15px/1.5 system-ui, sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 64px; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; } h2 { font-size: 17px; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 small, td small { color: var(--soft); font-weight: 400; }
.lead { color: var(--soft); margin: 0 0 16px; } .note { color: var(--soft); margin: 4px 0; } .error { color: var(--critical); }
section, nav { background: var(--surface); border: 1px solid var(--line); border-radius: 8px; padding: 16px; margin: 20px 0; }
nav ul { margin: 0; padding: 0; list-style: none; columns: 3 220px; } nav b { color: var(--critical); } a { color: inherit; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 8px 0; } dt { color: var(--soft); } dd { margin: 0;
  overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; margin-top: 8px; } th { text-align: left; color: var(--soft); font-weight: 500; }
td, th { padding: 5px 10px 5px 0; border-top: 1px solid var(--line); vertical-align: top; } th { border: 0; }
.when { white-space: nowrap; } td.critical { color: var(--critical); font-weight: 600; } td.warning { color: var(--warning); }
td.info { color: var(--info); } details { margin-top: 10px; } summary { cursor: pointer; color: var(--soft); }
.picture { display: block; width: 100%; height: auto; } .picture text { fill: var(--soft); font-size: 11px; }
.picture .name { fill: var(--text); font-size: 12px; } .band { fill: var(--band); } .learnt { fill: var(--learnt); }
.value { fill: none; stroke: var(--text); stroke-width: 1; } .surprise { fill: none; stroke: var(--info); stroke-width: 1; }
.limit { stroke: var(--critical); stroke-dasharray: 5 4; } .axis { stroke: var(--line); } rect.label { fill: var(--label); }
rect.incident { opacity: .25; } rect.critical { fill: var(--critical); } rect.warning { fill: var(--warning); } rect.info { fill: var(--info); }
@media (max-width: 640px) { .when { white-space: normal; } }
"""

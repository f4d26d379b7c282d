"""A replay's outcome for people: lines for a terminal, and the report for a browser.

Shapes: S slots, C channels
"""

from collections import Counter
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from detector.incidents.wording import duration
from streamer.cli.alerts import line
from streamer.cli.stream_picture import curves
from streamer.contracts import Incident, StreamSettings
from streamer.overview.bands import Look
from streamer.timestamps import NS, format_ns, parse_timestamp
from trainer.replay.run import Outcome
from trainer.report.drawing import Drawing, Span, draw
from trainer.report.page import Alert, Report, Stream, moment, span

MAX_PICTURES = 8  # in a terminal
MAX_LINES = 200


def shown(outcome: Outcome) -> Iterator[RenderableType]:
    """Alerts as `anomalyllm alerts` prints them, pictures of the streams that alert, and what it comes to."""
    events = outcome.events[:MAX_LINES]
    yield from (line(event) for event in events)
    if len(outcome.events) > len(events):
        yield f"and {len(outcome.events) - len(events):,} more: --json or --html FILE has all"
    names = list(dict.fromkeys(event.data.stream for event in outcome.alerts))
    for name in [name for name in names if name in outcome.looks][:MAX_PICTURES]:
        own = outcome.plan.own.get(name, StreamSettings())
        incidents = [event.data for event in outcome.alerts if event.data.stream == name]
        yield Group(Text(f"\n{name}", style="bold underline"), *curves(outcome.looks[name], own, [], incidents))
    for stream, why in outcome.unjudged.items():
        yield f"[yellow]{escape(stream)} was not judged: {escape(why)}[/]"
    for reason, count in outcome.dead.most_common(5):
        yield f"[yellow]{count:,} records refused ({escape(reason)}): {escape(outcome.dead_example[reason][:200])}[/]"
    yield f"\n[bold]{escape(summed_up(outcome))}[/]"


def summed_up(outcome: Outcome) -> str:
    """How many pages it would have been."""
    plan, alerts = outcome.plan, outcome.alerts
    span = duration(max(plan.end_ns - plan.judged_from_ns, 0) / NS)
    by = Counter(event.data.severity for event in alerts)
    said = ", ".join(f"{by[severity]} {severity}" for severity in ("critical", "warning", "info") if by[severity])
    streams = len({event.data.stream for event in alerts})
    judged = len(plan.recording.parts) - len(outcome.unjudged)
    count = f"{len(alerts)} alert{'' if len(alerts) == 1 else 's'}"
    where = f" on {streams} of {judged} streams" if alerts else f" on {judged} stream{'' if judged == 1 else 's'}"
    return f"{count}{f' ({said})' if said else ''}{where} in {span}; nobody was paged"


def report(outcome: Outcome) -> Report:
    """The page."""
    plan = outcome.plan
    begin, _ = plan.recording.span()
    facts = [
        ("learnt from", f"{_day(begin)} to {_day(plan.judged_from_ns)}"),
        ("judged", f"{_day(plan.judged_from_ns)} to {_day(plan.end_ns)}"),
        ("points", f"{plan.recording.points:,} of {len(plan.recording.parts):,} streams"),
    ]
    facts += [(f"refused: {reason}", f"{count:,} records") for reason, count in outcome.dead.most_common()]
    streams = [_stream(outcome, name) for name in plan.recording.parts]
    return Report("AnomalyLLM replay", f"{summed_up(outcome)}. Times are UTC.", facts, streams)


def _stream(outcome: Outcome, name: str) -> Stream:
    incidents = [event.data for event in outcome.events if event.data.stream == name]
    look = outcome.looks.get(name)
    note = f"not judged: {outcome.unjudged[name]}" if name in outcome.unjudged else ""
    return Stream(
        name, [_alert(incident) for incident in incidents],
        None if look is None else _drawing(look, incidents, outcome.plan.judged_from_ns),
        outcome.learnt.get(name, []), note,
    )  # fmt: skip


def _alert(incident: Incident) -> Alert:
    text = span(incident.started_at, incident.ended_at)
    notes: list[str] = [incident.state] if incident.state in ("open", "retracted") else []
    notes += [incident.kind.replace("_", " ")] if incident.kind != "anomaly" else []
    return Alert(
        text, incident.severity, incident.reason, " · ".join([*notes, *(["warming"] if incident.warming else [])])
    )


def _drawing(look: Look, incidents: list[Incident], judged_from_ns: int) -> Drawing:
    header = look.header
    last = header.hi - look.first
    spans = [
        Span(
            max(0, header.slot_at(parse_timestamp(i.started_at)) - look.first),
            min(last, header.slot_at(parse_timestamp(i.ended_at or i.updated_at)) - look.first), i.severity, f"{i.severity}: {i.reason}",
        )
        for i in incidents
        if i.state != "retracted" and i.kind in ("anomaly", "no_data")
    ]  # fmt: skip
    return draw(
        header.channels, look.values_SC, look.low_SC, look.high_SC, look.surprise_S, threshold=look.threshold,
        interval_ns=header.interval_ns, start_ns=header.slot_ns(look.first),
        judged_from=max(0, (judged_from_ns - header.slot_ns(look.first)) // header.interval_ns),
        spans=[span for span in spans if span.end >= span.begin and span.begin <= last],
    )  # fmt: skip


def _day(ns: int) -> str:
    return moment(format_ns(ns))

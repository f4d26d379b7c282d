"""What is told of a replay."""

import io
from collections import Counter
from html import escape

import numpy as np
from rich.console import Console

from streamer.contracts import AnomalyEvent, Incident
from streamer.overview.bands import Look
from streamer.timestamps import NS, format_ns
from streamer.windows.header import StreamHeader
from trainer.replay.outcome_text import report, shown, summed_up
from trainer.replay.recorded import Collector
from trainer.replay.run import Outcome, Plan
from trainer.report.page import page

T0 = 1_767_225_600
SLOTS = 100


def _at(slot: int) -> str:
    return format_ns((T0 + slot) * NS)


def _event(number: int, begin: int, end: int | None, **own: object) -> AnomalyEvent:
    fields = {
        "incident_id": f"id-{number}", "revision": 1, "state": "open" if end is None else "resolved", "stream": "a",
        "severity": "critical", "started_at": _at(begin), "updated_at": _at(end or begin + 3),
        "ended_at": None if end is None else _at(end), "grid_version": 1, "anchor_slot": 1, "slot": 1, "slots": 1,
        "score": 6.0, "tail_probability": 1e-6, "threshold": 4.0, "channels": [], "view": "forecast", "scale": 8,
        "depth": 0, "reason": f"a rose <{number}>.", **own,
    }  # fmt: skip
    incident = Incident.model_validate(fields)
    return AnomalyEvent(id=f"{number}:1", source="test", type="t", subject="a", time=_at(begin), data=incident)


def _outcome(*events: AnomalyEvent) -> Outcome:
    collector = Collector()
    for stream in ("a", "b"):
        collector.add(stream, ("value",), (T0 + np.arange(SLOTS)) * NS, np.ones((SLOTS, 1)))
    part_SC = np.sin(np.arange(SLOTS) / 5.0)[:, None]
    header = StreamHeader(
        state="grid", grid_version=1, interval_ns=NS, phase_ns=0, lo=T0, hi=T0 + SLOTS - 1, channels=["value"]
    )
    look = Look(header, T0, part_SC, part_SC - 1, part_SC, part_SC + 1, part_SC[:, 0], 4.0, "v1", None)
    plan = Plan(collector.made(), {}, (T0 + 40) * NS, (T0 + SLOTS) * NS)
    return Outcome(
        plan, "replay.x.", "al.replay.x", list(events), {"a": look}, {"a": [("season", "none")]},
        {"b": "too few points"}, Counter(late=3), {"late": "points lie before"},
    )  # fmt: skip


def _printed(outcome: Outcome) -> str:
    console = Console(width=90, record=True, file=io.StringIO(), soft_wrap=True)
    for part in shown(outcome):
        console.print(part)
    return console.export_text()


def test_a_terminal_has_alerts_with_dates_pictures_and_what_it_comes_to() -> None:
    outcome = _outcome(_event(1, 50, 60), _event(2, 70, None, severity="warning"), _event(3, 80, 81, state="retracted"))
    text = _printed(outcome)
    assert f"{_at(60)[:19]} resolved  critical a since {_at(50)[:19]}" in text
    assert "a rose <1>." in text
    assert "█ value" in text
    assert "b was not judged: too few points" in text
    assert "3 records refused (late): points lie before" in text
    assert text.rstrip().endswith("2 alerts (1 critical, 1 warning) on 1 of 1 streams in 60 s; nobody was paged")
    assert summed_up(_outcome()) == "0 alerts on 1 stream in 60 s; nobody was paged"
    assert "█" not in _printed(_outcome())  # pictures are of those that alert


def test_the_report_has_every_stream_and_incident() -> None:
    outcome = _outcome(
        _event(1, 50, 60), _event(2, 70, None, warming=True), _event(3, 90, 95, kind="no_data"),
        _event(4, 20, 30, state="retracted"),
    )  # fmt: skip
    made = report(outcome)
    a, b = made.streams
    assert a.drawing is not None
    assert a.drawing.judged_from == 40
    assert [(span.begin, span.end) for span in a.drawing.spans] == [(50, 60), (70, 73), (90, 95)]
    assert [alert.notes for alert in a.alerts] == ["", "open · warming", "no data", "retracted"]
    assert a.alerts[0].span == "2026-01-01 00:00:50 to 00:01:00"
    assert b.note == "not judged: too few points"
    text = "".join(page(made))
    assert escape("a rose <1>.") in text
    assert "refused: late" in text

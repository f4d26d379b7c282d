"""How the demo judges what it heard, and what its screen shows of it."""

import io
from typing import Any

import pytest
from rich.console import Console

from streamer.contracts import AnomalyEvent, Incident
from streamer.demo.run import Detection, Outcome, summary
from streamer.demo.screen import AlertView, DemoView, StreamView, render, sparkline
from streamer.demo.watch import Record
from streamer.timestamps import NS, format_ns

PROVOKED = 1_790_000_100.0


def _event(stream: str, at: float, number: int = 0, revision: int = 0, **fields: Any) -> AnomalyEvent:
    incident = Incident.model_validate(
        {
            "incident_id": f"{stream}-{number}",
            "revision": revision,
            "state": "open",
            "stream": stream,
            "severity": "warning",
            "started_at": format_ns(int(at * NS)),
            "updated_at": format_ns(int(at * NS)),
            "grid_version": 1,
            "anchor_slot": 1,
            "slot": 1,
            "slots": 1,
            "score": 6.0,
            "tail_probability": 1e-6,
            "threshold": 4.0,
            "channels": [],
            "view": "prototype",
            "scale": 16,
            "depth": 0,
            "reason": "because",
            **fields,
        }
    )
    return AnomalyEvent(
        id=f"{incident.incident_id}:{revision}", source="t", type="t", subject=stream, time=incident.updated_at,
        data=incident,
    )  # fmt: skip


def test_a_replayed_event_is_heard_once() -> None:
    record = Record()
    assert record.receive(_event("a", PROVOKED), PROVOKED)
    assert not record.receive(_event("a", PROVOKED), PROVOKED + 1)
    assert len(record.openings) == 1


def test_quiet_means_nothing_open_and_no_word_of_any_incident() -> None:
    record = Record()
    assert record.quiet("a", PROVOKED, 15)
    record.receive(_event("a", PROVOKED - 100), PROVOKED - 100)
    assert not record.quiet("a", PROVOKED, 15)
    record.receive(_event("a", PROVOKED - 100, revision=1, state="resolved"), PROVOKED - 10)
    assert not record.quiet("a", PROVOKED, 15)
    assert record.quiet("a", PROVOKED + 5, 15)


def test_what_opened_before_or_on_the_untouched_control_is_false() -> None:
    record = Record()
    record.receive(_event("before", PROVOKED - 1), PROVOKED + 1)  # heard late, but of the time before
    record.receive(_event("host", PROVOKED + 1), PROVOKED + 2)
    record.receive(_event("untouched", PROVOKED + 1), PROVOKED + 2)
    record.receive(_event("silent", PROVOKED - 5, kind="no_data"), PROVOKED - 5)
    record.receive(_event("old", PROVOKED - 9000, historic=True), PROVOKED - 5)
    assert record.false_alerts(PROVOKED, "untouched") == 2
    assert [opening.stream for opening in record.opened({"host", "before"}, PROVOKED)] == ["host"]


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({}, True),
        ({"provoked": Detection(False, None, [])}, False),
        ({"control": Detection(False, None, [])}, False),
        ({"students_trained": 7}, False),
        ({"false_alerts": 3}, False),
    ],
)
def test_the_verdict(change: dict[str, Any], passed: bool) -> None:
    fields: dict[str, Any] = {
        "points_in": 9,
        "windows_scored": 5,
        "students_trained": 8,
        "alerts": 3,
        "dead_letters": 0,
        "provoked": Detection(True, 1.2, ["host.cpu"]),
        "control": Detection(True, 2.3, ["control.injected"]),
        "false_alerts": 2,
        "seconds": 99.0,
    }
    outcome = Outcome(**{**fields, **change})
    assert outcome.passed == passed
    said = outcome.as_json()
    assert set(said) == set(fields)
    assert set(said["control"]) == {"detected", "delay_s"}  # type: ignore[call-overload]
    assert set(said["provoked"]) == {"detected", "delay_s", "streams"}  # type: ignore[call-overload]
    assert ("MISSED" in summary(outcome)) == ("provoked" in change or "control" in change)


def test_the_screen_shows_streams_students_and_the_reason_of_alerts() -> None:
    view = DemoView(phase="watching", points_in=12_345, students={"cold": 1, "warming": 2, "ready": 3})
    view.streams = {"host.cpu": StreamView("%", state="warming", open_incidents=1), "host.load": StreamView("")}
    view.streams["host.cpu"].values.extend([1.0, 5.0, 97.25])
    view.alerts.appendleft(AlertView("12:00:00", "host.cpu", "open", "critical", "busy is far [above] its band"))
    screen = Console(file=io.StringIO(), width=120, height=50)
    screen.print(render(view))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    for shown in ("12,345", "97.25 %", "warming · ALERT", "busy is far [above] its band", "watching"):
        assert shown in text


def test_a_flat_line_stays_flat() -> None:
    view = StreamView("")
    view.values.extend([3.0, 3.0, 3.0])
    assert sparkline(view.values) == "▁▁▁"

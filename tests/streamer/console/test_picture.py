"""What pages are shown of streams and incidents."""

import pytest

from streamer.console.picture import Picture, matching
from streamer.contracts import AnomalyEvent, Feedback, IncidentState, Severity, StreamSettings
from streamer.overview.rows import StreamRow

AT = "2026-01-31T12:00:00Z"


def event(
    stream: str, made: str, revision: int = 0, state: IncidentState = "open", severity: Severity = "warning"
) -> AnomalyEvent:
    """A revision of an incident."""
    return AnomalyEvent.model_validate(
        {
            "id": f"{made}:{revision}", "source": "test", "type": f"anomalyllm.incident.{state}", "subject": stream,
            "time": AT,
            "data": {
                "incident_id": made, "revision": revision, "state": state, "stream": stream, "severity": severity,
                "started_at": AT, "updated_at": AT, "ended_at": AT if state == "resolved" else None, "grid_version": 1,
                "anchor_slot": 1, "slot": 1, "slots": 1, "score": 6.0, "tail_probability": 1e-6, "threshold": 5.0,
                "channels": [], "view": "forecast", "scale": 8, "depth": 0, "reason": f"revision {revision}",
            },
        }
    )  # fmt: skip


def picture(*names: str) -> Picture:
    """Streams that are ready."""
    made = Picture()
    made.put_streams(StreamRow(name, 0, "ready", labels={"room": name[-1]}) for name in names)
    return made


def names(made: Picture, *given: object, **more: object) -> list[str]:
    """Of a page."""
    return [row.name for row in made.page(*given, **more).rows]  # type: ignore[arg-type]


def test_an_incident_stands_in_its_stream_s_row_at_once_and_leaves_it_when_it_is_over() -> None:
    made = picture("a", "b", "c")
    made.put_event(event("b", "x"), 10)
    made.put_event(event("c", "y", severity="critical"), 10)
    assert names(made) == ["c", "b", "a"]
    assert names(made, state="open") == ["c", "b"]
    assert made.summary()["open"] == {"critical": 1, "warning": 1, "info": 0}
    made.put_event(event("c", "y", 1, "resolved", "critical"), 10)
    assert names(made, state="open") == ["b"]
    assert made.summary()["open"] == {"critical": 0, "warning": 1, "info": 0}
    assert [line["open"] for line in made.newest()] == [True, False]


def test_an_older_revision_that_comes_late_changes_nothing_but_the_story() -> None:
    made = picture("a")
    made.put_event(event("a", "x", 1, "resolved"), 10)
    made.put_event(event("a", "x", 0, "open"), 10)
    assert made.streams["a"].open == []
    assert made.incidents["x"].reason == "revision 1"
    assert [step["revision"] for step in made.revisions["x"]] == [0, 1]


def test_of_too_many_the_oldest_are_forgotten_with_what_was_said_of_them() -> None:
    made = picture("a")
    for number in range(5):
        made.put_event(event("a", str(number)), 3)
        made.put_verdict(Feedback(incident_id=str(number), stream="a", verdict="true"))
    assert list(made.incidents) == ["2", "3", "4"]
    assert set(made.revisions) == set(made.verdicts) == {"2", "3", "4"}


def test_pages_follow_each_other() -> None:
    made = picture(*(f"s{number:03}" for number in range(100)))
    assert names(made, sort="name", first=40, count=3) == ["s040", "s041", "s042"]
    assert names(made, sort="name", reverse=True, count=2) == ["s099", "s098"]
    assert made.page("s01", sort="name").total == 10
    assert made.page("no such").total == 0
    assert names(made, sort="by the moon", count=1) == ["s000"]


def test_a_new_round_changes_the_order() -> None:
    made = picture("a", "b")
    assert names(made, sort="name") == ["a", "b"]
    made.put_streams([StreamRow("b", 0, "ready"), StreamRow("0", 0, "ready", paused=True)])
    assert names(made, sort="name") == ["0", "b"]
    assert names(made, state="muted") == ["0"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("CPU", True), ("web cpu", True), ("web mem", False), ("web.*", True), ("*.cpu", True), ("cpu.*", False),
        ("room=lab", True), ("room=la", True), ("room=hall", False), ("Room=LAB web", True), ("[", False), ("a=b=c", False),
    ],
)  # fmt: skip
def test_words_match_names_patterns_and_labels(words: str, found: bool) -> None:
    wanted = matching(words)
    assert wanted is not None
    assert wanted("web.cpu", {"room": "Lab"}) is found


def test_a_round_that_read_a_row_before_the_event_does_not_take_it_back() -> None:
    made = picture("a", "b")
    made.put_event(event("a", "x"), 10)
    made.put_streams([StreamRow("a", 0, "ready"), StreamRow("b", 0, "ready")])
    assert names(made, state="open") == ["a"]
    stale = made.streams["a"].open[:]
    made.put_event(event("a", "x", 1, "resolved"), 10)
    made.put_streams([StreamRow("a", 0, "ready", open=stale), StreamRow("b", 0, "ready")])
    assert names(made, state="open") == []


def test_what_was_set_is_seen_at_once() -> None:
    made = picture("a", "b")
    made.put_settings("a", StreamSettings(paused=True, alerts_per_week=2))
    assert names(made, state="muted") == ["a"]
    assert made.streams["a"].dial == "2/week"
    made.put_settings("no such", StreamSettings())

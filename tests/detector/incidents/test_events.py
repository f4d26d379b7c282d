"""CloudEvents and their sentences."""

from typing import Any

import pytest

from detector.incidents.events import Context, anomaly_event, no_data_event
from detector.incidents.machine import Episode, Transition
from detector.incidents.record import NoData, StreamState
from detector.incidents.wording import duration, number, rarity
from streamer.contracts import AnomalyEvent, StreamSettings

EVIDENCE: dict[str, Any] = {
    "channels": [{"channel": "cpu.0", "share": 0.8, "value": 97.3, "expected": 7.0, "low": 3.0, "high": 12.0}],
    "view": "prototype", "scale": 64, "depth": 0, "nearest": 7, "teacher": False, "model": "v1", "warming": False, "offsets": [3, 9],
}  # fmt: skip
STATE = StreamState(2, 100_000_000, 0, 1100)
CONTEXT = Context("anomalyllm/al", 3, StreamSettings(tenant="t", labels={"a": "b"}), 200 * 10**9)


def episode(**own: Any) -> Episode:
    made = Episode(anchor=1002, onset=1000, threshold=4.0, peak=5.3, peak_slot=1010, hot=1020, evidence=dict(EVIDENCE))
    for name, value in own.items():
        setattr(made, name, value)
    return made


def published(transition: Transition, **evidence: Any) -> AnomalyEvent:
    transition.episode.evidence |= evidence
    return anomaly_event("host", STATE, transition, CONTEXT)


def test_an_event_carries_the_whole_reason() -> None:
    event = published(Transition("open", episode(), 1020))
    data = event.data
    assert event.id == f"{data.incident_id}:0"
    assert (event.type, event.subject, event.time) == ("anomalyllm.incident.open", "host", "1970-01-01T00:01:42.000Z")
    assert (data.started_at, data.ended_at, data.slots) == ("1970-01-01T00:01:40.000Z", None, 21)
    assert (data.score, data.threshold, data.severity, data.source_partition) == (5.3, 4.0, "warning", 3)
    assert (data.tenant, data.labels, data.model_version, data.source_offsets) == ("t", {"a": "b"}, "v1", [3, 9])
    assert data.tail_probability == pytest.approx(10**-5.3)
    assert not data.historic
    assert data.reason == (
        "cpu.0 of host rose to 97.3 (3–12 is usual), for 2.1 s "
        "so far. On its normal data that happens about once in 5.5 h"
    )
    assert AnomalyEvent.model_validate_json(event.model_dump_json()) == event


def test_what_the_prior_judged_is_marked() -> None:
    event = published(
        Transition("open", episode(), 1020), model=None, warming=True, view="level", nearest=None, scale=144
    )
    assert (event.data.model_version, event.data.warming) == (None, True)
    assert event.data.reason.endswith("(warming: no student yet, judged by a generic prior)")
    over = published(Transition("resolved", episode(ended=1020), 1030), warming=True).data.reason
    assert "no longer unusual" in over
    assert not published(Transition("open", episode(), 1020)).data.warming


def test_old_events_are_historic() -> None:
    late = Context("s", 0, StreamSettings(), (102 + 3601) * 10**9)
    assert anomaly_event("host", STATE, Transition("open", episode(), 1020), late).data.historic


def test_sentences_of_the_other_ends() -> None:
    ended = episode(ended=1020)
    assert "back to normal" in published(Transition("resolved", ended, 1030)).data.reason
    assert published(Transition("resolved", ended, 1030)).data.ended_at == "1970-01-01T00:01:42.000Z"
    assert published(Transition("resolved", ended, 1030, baseline=True)).data.reason.startswith("New baseline?")
    assert (
        "false alarm" in published(Transition("resolved", episode(ended=1020, verdict="false_alarm"), 1030)).data.reason
    )
    assert published(Transition("retracted", ended, 1030)).data.reason.startswith("No incident after all")


@pytest.mark.parametrize(
    ("channel", "sentence"),
    [
        ({"channel": "value"}, "host rose to 97.3 (3–12 is usual)"),
        ({"value": 1.0}, "cpu.0 of host fell to 1 (3–12 is usual)"),
        ({"value": 5.0}, "cpu.0 of host moved unusually around 5 (3–12 is usual)"),
        ({"low": 3.0, "high": 3.0}, "cpu.0 of host rose to 97.3 (3 is usual)"),
        ({"low": -1.5e-7, "high": 1.5e-7}, "cpu.0 of host rose to 97.3 (0 is usual)"),
        ({"low": None}, "cpu.0 of host behaved unusually at 97.3"),
        ({"value": None}, "cpu.0 of host behaved unusually, with its newest value missing"),
    ],
)
def test_what_happened(channel: dict[str, Any], sentence: str) -> None:
    first = {**EVIDENCE["channels"][0], **channel}
    assert published(Transition("open", episode(), 1020), channels=[first]).data.reason.startswith(sentence + ", for")


def test_more_channels_and_a_deeper_view() -> None:
    other = {**EVIDENCE["channels"][0], "channel": "cpu.1", "share": 0.2}
    reason = published(
        Transition("open", episode(), 1020), channels=[EVIDENCE["channels"][0], other], depth=2, nearest=None
    ).data.reason
    assert "(and 1 more channel) rose" in reason
    assert "64" not in reason  # what a view is stays in fields


def test_no_data() -> None:
    event = no_data_event("host", STATE, NoData(1000, 0), "open", 1029, CONTEXT)
    assert (event.data.kind, event.data.slots, event.data.channels) == ("no_data", 30, [])
    assert event.data.reason == "host has sent nothing for 3 s (30 intervals)"
    back = no_data_event("host", STATE, NoData(1000, 0, 1), "resolved", 1100, CONTEXT)
    assert back.data.incident_id == event.data.incident_id
    assert back.id.endswith(":1")
    assert back.data.reason == "host sends again after 10 s without data"


def test_numbers_durations_rarities() -> None:
    assert [number(v) for v in (97.312, 0.0, -0.00001, 12345.6, 3.0, 1e9)] == [
        "97.31", "0", "-1e-05", "12346", "3", "1e+09",
    ]  # fmt: skip
    assert [duration(s) for s in (0.05, 2.1, 119, 180, 5400, 90000 * 3)] == [
        "50 ms", "2.1 s", "119 s", "3 min", "90 min", "3.1 days",
    ]  # fmt: skip
    assert [rarity(s, 60.0) for s in (2.0, 3.2, 4.0, 4.5, 5.5, 6.5, 12.0)] == [
        "about once in 100 min", "about once a day", "about once in 7 days", "about once in 3 weeks",
        "about once in 7 months", "about once in 6 years", "rarer than once in ten years",
    ]  # fmt: skip

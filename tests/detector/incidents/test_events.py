"""CloudEvents and their sentences."""

from typing import Any

import pytest

from detector.incidents.episode import Episode
from detector.incidents.events import DELETED, Context, anomaly_event, no_data_event
from detector.incidents.machine import Transition
from detector.incidents.record import NoData, StreamState
from detector.incidents.wording import duration, number, numbers, rarity
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
    assert event.data.reason.endswith("(warming: judged by a general rule, for the stream has no model of its own yet)")
    assert "On its normal data" not in event.data.reason  # nothing is known of how rare it is
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


@pytest.mark.parametrize(
    ("reason", "words", "settled"),
    [
        ("returned", "back to normal", True), ("verdict", "a person called it a false alarm", True),
        ("deleted", "the stream was deleted", True), ("unseen", "no data came since", False),
        ("grid", "interval or channels have changed", False),
    ],
)  # fmt: skip
def test_only_what_was_seen_to_return_is_back_to_normal(reason: str, words: str, settled: bool) -> None:
    data = published(Transition("resolved", episode(ended=1020, end_reason=reason), 1030)).data
    assert words in data.reason
    assert ("back to normal" in data.reason) == (reason == "returned")
    assert ("is not known" in data.reason) == (not settled)
    assert data.end_reason == reason


def test_a_paused_stream_is_not_back_to_normal() -> None:
    paused = Context("s", 0, StreamSettings(paused=True), 200 * 10**9)
    data = anomaly_event("host", STATE, Transition("resolved", episode(ended=1020), 1030), paused).data
    assert (data.end_reason, "back to normal" in data.reason) == ("paused", False)


DAY = {"word": "usual at this time", "statistic": "slot", "surprise": 9.0, "sign": 1}


def place(value: float, low: float = 3.0, high: float = 12.0, slot: int = 1000, reach: float = 5.0) -> dict[str, Any]:
    return {"channel": "cpu.0", "slot": slot, "value": value, "expected": 7.0, "low": low, "high": high, "reach": reach}


@pytest.mark.parametrize(
    ("onset", "extreme", "season", "sentence"),
    [
        (place(97.3), place(97.3), DAY, "rose to 97.3 ms (3–12 ms is usual at this time)"),
        (place(30.0), place(97.3), DAY, "rose to 30 ms, then to 97.3 ms (3–12 ms is usual at this time)"),
        (place(0.0), place(97.3), DAY, "fell to 0 ms, then rose to 97.3 ms (3–12 ms is usual at this time)"),
        (place(5.0), place(97.3), DAY, "rose to 97.3 ms (3–12 ms is usual at this time)"),
        (place(1.77e9 + 40, 1.77e9, 1.77e9 + 20), place(1.77e9 + 40, 1.77e9, 1.77e9 + 20), DAY,
         "rose to 1770000040 ms (1770000000–1770000020 ms is usual at this time)"),
        (place(11.0), place(11.0), DAY | {"statistic": "1 h"},
         "was above what is usual over 1 h together, now at 11 ms (3–12 ms is usual at this time)"),
        (place(11.0), place(11.0), DAY | {"statistic": "4 h sum", "sign": -1},
         "was below what is usual over 4 h together, now at 11 ms (3–12 ms is usual at this time)"),
        (place(11.0), place(11.0), DAY | {"statistic": "1 h spread"},
         "varied more than usual over 1 h, around 11 ms (3–12 ms is usual at this time)"),
        (place(12.0), place(12.0), DAY, "rose to 12 ms (7 ms, of 3–12 ms, is usual at this time)"),
        (place(3.0), place(3.0), DAY | {"sign": -1}, "fell to 3 ms (7 ms, of 3–12 ms, is usual at this time)"),
        (place(6.0), place(6.0), DAY, "moved unusually around 6 ms (3–12 ms is usual at this time)"),
        (place(11.0), place(11.0), DAY | {"statistic": "unchanged"},
         "has not changed from 11 ms for longer than ever before"),
        (place(11.0), place(11.0), DAY | {"statistic": "never seen"}, "shows 11 ms, which it never did before"),
        (place(11.0), place(11.0), DAY | {"statistic": "stays"},
         "has stayed around 11 ms for longer than ever before"),
        (place(11.0), place(11.0), DAY | {"statistic": "to and fro"},
         "goes to and fro more often than ever before, now at 11 ms"),
        (place(11.0), place(11.0), DAY | {"statistic": "record"}, "stayed higher than it ever had, now at 11 ms"),
        (place(2.0), place(2.0), DAY | {"statistic": "record", "sign": -1},
         "stayed lower than it ever had, now at 2 ms (3–12 ms is usual at this time)"),
    ],
)  # fmt: skip
def test_the_season_tells_the_event(
    onset: dict[str, Any], extreme: dict[str, Any], season: dict[str, Any], sentence: str
) -> None:
    context = Context("s", 3, StreamSettings(unit_name="ms"), 200 * 10**9)
    told = episode(column=0)
    told.evidence |= {"onset": onset, "extreme": extreme, "season": season, "students": 1.0}
    data = anomaly_event("host", STATE, Transition("open", told, 1020), context).data
    assert data.reason.startswith(f"cpu.0 of host {sentence}, for 2.1 s so far. On its normal data")
    assert (data.view, data.statistic, data.usual, data.unit_name) == ("season", season["statistic"], DAY["word"], "ms")
    assert data.nearest_prototype is None
    assert data.onset is not None
    assert (data.onset.at, data.onset.value) == ("1970-01-01T00:01:40.000Z", onset["value"])
    told.ended = told.hot
    over = anomaly_event("host", STATE, Transition("resolved", told, 1030), context).data.reason
    assert over.startswith(f"cpu.0 of host {sentence}, for 2.1 s; back to normal")  # as it was told at the opening


@pytest.mark.parametrize(
    ("season", "words"),
    [
        ({"statistic": "4 h sum", "surprise": 2.5, "sign": -1}, "was below what is usual over 4 h together, now at 5"),
        ({"statistic": "4 h sum", "surprise": 1.9, "sign": -1}, "moved unusually around 5"),
        ({"statistic": "unchanged", "surprise": 2.5, "sign": -1}, "moved unusually around 5"),
    ],
)
def test_a_course_that_students_find_lies_where_the_season_sees_it(season: dict[str, Any], words: str) -> None:
    first = {**EVIDENCE["channels"][0], "value": 5.0}
    reason = published(Transition("open", episode(), 1020), channels=[first], season=season).data.reason
    assert reason.startswith(f"cpu.0 of host {words} (3–12 is usual), for")


@pytest.mark.parametrize(
    ("column", "peak", "given", "words"),
    [
        (-1, 5.3, {}, "happens about once in 5.5 h"),  # of slots of a tenth of a second
        (0, 4.0, {}, "happens about once in 2 months"),  # at the threshold: the dial's .1 a week
        (0, 5.0, {}, "is rarer than once a year"), (0, 400.0, {}, "is rarer than once a year"),
        (0, 4.0, {"alerts_per_week": 1.0}, "happens about once in 7 days"),
        (0, 4.0, {"alert_budget": 1.0}, "happens about once in 16.7 min"),
    ],
)  # fmt: skip
def test_no_more_is_claimed_than_is_known(column: int, peak: float, given: dict[str, Any], words: str) -> None:
    context = Context("s", 3, StreamSettings.model_validate(given), 200 * 10**9)
    told = anomaly_event("host", STATE, Transition("open", episode(column=column, peak=peak), 1020), context)
    assert told.data.reason.endswith(f"On its normal data that {words}")


def test_numbers_that_differ_look_different() -> None:
    assert numbers(1.52e7, -141_716.4, 7_877_454.0) == ["15200000", "-141716", "7877454"]
    assert numbers(97.312, 97.3124) == ["97.312", "97.3124"]
    assert numbers(0.0, 3.0, 3.0) == ["0", "3", "3"]
    assert numbers(1e-9, 2e20) == ["1e-09", "2e+20"]


def test_channels_are_counted_where_students_have_seen_them() -> None:
    other = {**EVIDENCE["channels"][0], "channel": "cpu.1", "share": 0.5}
    for students, counted in ((1.0, False), (5.0, True)):
        reason = published(
            Transition("open", episode(column=0), 1020), channels=[EVIDENCE["channels"][0], other], season=DAY,
            students=students,
        ).data.reason  # fmt: skip
        assert ("1 more channel" in reason) == counted


def test_no_data() -> None:
    event = no_data_event("host", STATE, NoData(1000, 0), "open", 1029, CONTEXT)
    assert (event.data.kind, event.data.slots, event.data.channels) == ("no_data", 30, [])
    assert event.data.reason == "host has sent nothing for 3 s (30 intervals)"
    back = no_data_event("host", STATE, NoData(1000, 0, 1), "resolved", 1100, CONTEXT)
    assert back.data.incident_id == event.data.incident_id
    assert back.id.endswith(":1")
    assert back.data.reason == "host sends again after 10 s without data"


def test_a_silent_stream_that_is_deleted_has_not_come_back() -> None:
    gone = no_data_event("host", STATE, NoData(1000, 0, 1), "resolved", DELETED, CONTEXT).data
    assert gone.end_reason == "deleted"
    assert gone.reason.startswith("host was deleted, after ")
    assert gone.slot > 1000


def test_channels_that_ended() -> None:
    event = no_data_event("host", STATE, NoData(1000, 0, channels=["a", "b", "c"]), "open", 1029, CONTEXT)
    assert [share.channel for share in event.data.channels] == ["a", "b", "c"]
    assert (
        event.data.reason
        == "a of host (and 2 more channels) has sent nothing for 3 s (30 intervals), while other channels go on"
    )
    nulls = no_data_event("host", STATE, NoData(1000, 0, nulls=True), "open", 1029, CONTEXT)
    assert nulls.data.reason == "host has sent nothing but nulls for 3 s (30 intervals)"


def test_numbers_durations_rarities() -> None:
    assert [number(v) for v in (97.312, 0.0, -0.00001, 12345.6, 3.0, 1e9)] == [
        "97.31", "0", "-1e-05", "12346", "3", "1e+09",
    ]  # fmt: skip
    assert [duration(s) for s in (0.05, 2.1, 119, 180, 5400, 90000 * 3)] == [
        "50 ms", "2.1 s", "119 s", "3 min", "90 min", "3.1 days",
    ]  # fmt: skip
    assert [rarity(60.0 * 10**s) for s in (2.0, 3.2, 4.0, 4.5, 5.5, 6.5, 12.0)] == [
        "about once in 100 min", "about once a day", "about once in 7 days", "about once in 3 weeks",
        "about once in 7 months", "rarer than once a year", "rarer than once a year",
    ]  # fmt: skip

"""Records become deliveries: what is wanted, what is repeated, what is over already, what is none."""

from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from streamer.contracts import AnomalyEvent
from streamer.sinks.cloudevents import to_binary
from streamer.sinks.config import load_sinks
from streamer.sinks.intake import REMEMBER_S, Intake
from tests.streamer.sinks.samples import event, sent

NOW = 1_800_000_000.0


@pytest.fixture
def clock() -> list[float]:
    return [NOW]


@pytest.fixture
def intake(tmp_path: Path, clock: list[float]) -> Intake:
    file = tmp_path / "sinks.toml"
    file.write_text('[sinks.a]\ntype = "alertmanager"\nurl = "http://x"\nmin_severity = "warning"\n')
    made = Intake(load_sinks(file), "a", lambda: clock[0])
    made.deliveries[0] = {}
    made.began = NOW - 100
    return made


def record(value: bytes | None, *, age_s: float = 0.0, headers: Any = (), offset: int = 5) -> ConsumerRecord:
    return ConsumerRecord(
        topic="anomalies", partition=0, offset=offset, timestamp=int((NOW - age_s) * 1000), timestamp_type=0, key=b"k",
        value=value, checksum=None, serialized_key_size=0, serialized_value_size=0, headers=headers,
    )  # fmt: skip


def of(made: AnomalyEvent, **how: Any) -> ConsumerRecord:
    return record(made.model_dump_json().encode(), **how)


def test_a_new_incident(intake: Intake) -> None:
    touched, dead = intake.take(0, [of(event())])
    assert dead == []
    made = touched["i-1"]
    assert made is intake.deliveries[0]["i-1"]
    assert (made.raw, made.offset, made.since, made.key) == (event().model_dump_json(), 5, NOW, "i-1")
    assert intake.pending() == 1


@pytest.mark.parametrize(
    "made",
    [
        event(severity="info"),
        event(historic=True),
        event(revision=2, state="retracted"),
        event(revision=2, state="revised", ended_at="2026-01-31T12:05:00Z"),
    ],
)
def test_what_is_not_wanted(intake: Intake, made: AnomalyEvent) -> None:
    assert intake.take(0, [of(made)]) == ({}, [])
    assert intake.counts["not_wanted"] == 1


def test_it_is_wanted_once_it_is_severe(intake: Intake) -> None:
    worse = event(revision=1, state="update", severity="critical")
    touched, _ = intake.take(0, [of(event(severity="info")), of(worse)])
    assert touched["i-1"].incident.revision == 1


def test_the_newest_revision_counts_and_repeats_do_not(intake: Intake) -> None:
    intake.take(0, [of(event(revision=1, state="update"))])
    assert intake.take(0, [of(event()), of(event(revision=1, state="update"))]) == ({}, [])
    touched, _ = intake.take(0, [of(event(revision=2, state="resolved"))])
    assert touched["i-1"].closed
    assert intake.counts["repeated"] == 2


def test_what_ended_before_the_first_start_is_not_told_and_what_is_open_is(intake: Intake) -> None:
    records = [
        of(event("over"), age_s=300),
        of(event("over", 1, "resolved"), age_s=200),
        of(event("open"), age_s=300),
        of(event("late"), age_s=300),
        of(event("late", 1, "resolved"), age_s=50),
    ]
    touched, _ = intake.take(0, records)
    assert {name for name, made in touched.items() if made.pending} == {"open", "late"}
    assert intake.take(0, [of(event("gone", 1, "resolved"), age_s=200)]) == ({}, [])


def test_what_is_no_longer_wanted_is_dropped_unless_it_may_have_been_told(intake: Intake) -> None:
    intake.take(0, [of(event("a")), of(event("b")), of(event("c"))])
    intake.deliveries[0]["b"].tried = True
    intake.deliveries[0]["c"].sent = sent()
    intake.deliveries[0]["c"].settle(0, NOW)
    intake.take(0, [of(event(name, 1, "revised", severity="info")) for name in "abc"])
    assert [intake.deliveries[0][name].pending for name in "abc"] == [False, True, True]


def test_waiting_begins_with_the_oldest_untold_revision(intake: Intake, clock: list[float]) -> None:
    intake.take(0, [of(event())])
    clock[0] = NOW + 10
    intake.take(0, [of(event(revision=1, state="update"))])
    assert intake.deliveries[0]["i-1"].since == NOW
    intake.deliveries[0]["i-1"].settle(1, NOW + 20)
    clock[0] = NOW + 30
    intake.take(0, [of(event(revision=2, state="resolved"))])
    assert intake.deliveries[0]["i-1"].since == NOW + 30


def test_what_is_no_incident_is_named(intake: Intake) -> None:
    touched, dead = intake.take(0, [record(b"{"), record(None), of(event())])
    assert list(touched) == ["i-1"]
    assert [error.reason for _, error in dead] == ["json", "contract"]


def test_binary_mode(intake: Intake) -> None:
    headers, value = to_binary(event())
    touched, _ = intake.take(0, [record(value, headers=headers)])
    assert touched["i-1"].raw == event().model_dump_json()


def test_closed_ones_are_forgotten_in_the_end(intake: Intake, clock: list[float]) -> None:
    intake.take(0, [of(event()), of(event("b"))])
    intake.take(0, [of(event(revision=1, state="resolved"))])
    made = intake.deliveries[0]["i-1"]
    made.sent = sent(1, open=False)
    made.settle(1, NOW)
    assert intake.forgettable() == []
    clock[0] = NOW + REMEMBER_S + 1
    assert intake.forgettable() == [made]

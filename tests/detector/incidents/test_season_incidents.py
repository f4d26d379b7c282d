"""Incidents that the season opens, holds and closes: length, identity, echoes, batching, late data."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.incidents.episode import Episode
from detector.incidents.machine import BESIDE, SUSPECT, UNTIMED, Rules, Tracker, Transition, end, step
from detector.incidents.record import forget_before
from detector.incidents.rejudging import rejudge, rejudge_from
from detector.incidents.scored import Scored
from detector.incidents.season_rule import LASTING_S, season_rule
from detector.persistence import COLUMNS, RECORD

SEASONAL = Rules(threshold=4.0, quiet=5, season=season_rule(60 * 10**9, 300 * 10**9), season_opens=5.0)


def season(slot: float = 0.0, minutes: float = 0.0, hour: float = 0.0) -> list[float]:
    """Surprises of the columns that tests move; the others are calm."""
    return [slot, minutes, 0.0, hour, *[0.0] * (COLUMNS - 4)]


def walk(tracker: Tracker, seasons: list[list[float]], students: float = 0.0, first: int = 0) -> list[tuple[str, int]]:
    found = (step(tracker, SEASONAL, slot, students, True, row, 2.0) for slot, row in enumerate(seasons, first))
    return [(t.state, t.slot) for t in found if t is not None]


def test_the_season_opens_holds_and_closes_an_incident() -> None:
    tracker = Tracker()
    quiet, out = season(), season(8.0, 9.0)
    published = walk(tracker, [quiet, *[out] * 12, *[season(0.2, 1.5)] * 2, *[quiet] * 10])
    assert published[0] == ("open", 2)
    assert published[-1] == ("resolved", 17)  # five slots after the newest one outside
    [episode] = tracker.recent
    assert (episode.onset, episode.ended, episode.severity) == (1, 12, "critical")
    assert episode.around > 0


def test_windows_of_students_do_not_hold_what_the_season_closes_nor_open_it_again() -> None:
    tracker = Tracker()
    published = walk(tracker, [*[season(8.0, 9.0)] * 10, *[season()] * 100], students=6.0)
    assert [state for state, _ in published if state != "update"] == ["open", "resolved"]
    assert tracker.recent[0].ended == 9


@pytest.mark.parametrize(("reach", "minutes", "ended"), [(3.0, 0.0, 9), (3.0, 2.5, 59), (0.6, 0.0, 59)])
def test_what_students_alone_see_out_of_their_band_is_over_when_it_is_back(
    reach: float, minutes: float, ended: int
) -> None:
    """Unless the season sees more of it, or it was no matter of the band: a shape holds as long as windows contain it."""
    tracker = Tracker()
    for slot in range(100):
        loud = 4.5 + BESIDE if slot < 60 else 0.0
        step(
            tracker,
            SEASONAL,
            slot,
            loud,
            True,
            season(minutes=minutes if 10 <= slot < 60 else 0.0),
            reach * (slot < 10),
        )
    [episode] = tracker.recent
    assert (episode.onset, episode.ended) == (0, ended)
    assert not tracker.echo


def test_averages_that_contain_an_ended_incident_are_not_listened_to() -> None:
    tracker = Tracker()
    echo = season(hour=9.0)  # the hour still contains it
    published = walk(tracker, [*[season(8.0, 9.0)] * 10, *[echo] * 40])
    assert [state for state, _ in published if state != "update"] == ["open", "resolved"]


def test_what_opens_again_within_the_hour_is_the_same_incident() -> None:
    tracker = Tracker()
    walk(tracker, [*[season(8.0, 9.0)] * 10, *[season()] * 20])
    assert walk(tracker, [season(8.0, 9.0)] * 2, first=30) == [("revised", 31)]
    assert tracker.incident is not None
    assert tracker.incident.anchor == 1
    tracker = Tracker()
    walk(tracker, [*[season(8.0, 9.0)] * 10, *[season()] * 100])
    assert walk(tracker, [season(8.0, 9.0)] * 2, first=110) == [("open", 111)]


@pytest.mark.parametrize(("hours", "states"), [(3, ["revised"]), (5, ["open"])])
def test_what_is_higher_than_ever_again_within_hours_is_the_same_incident(hours: int, states: list[str]) -> None:
    tracker = Tracker()
    high = [*season()[:-1], 8.0]
    assert COLUMNS - 1 == RECORD
    walk(tracker, [*[high] * 10, *[season()] * 60 * hours])
    assert [state for state, _ in walk(tracker, [high] * 2, first=10 + 60 * hours)] == states


def test_what_has_been_open_for_a_day_and_a_half_is_how_things_are() -> None:
    tracker = Tracker()
    rows = [season(8.0, 9.0)] * (LASTING + 10)
    found = [t for slot, row in enumerate(rows) if (t := step(tracker, SEASONAL, slot, 0.0, True, row))]
    assert [t.baseline for t in found if t.state == "resolved"] == [True]
    assert tracker.incident is None


LASTING = LASTING_S // 60
OUT, CALM, NOTHING = season(8.0, 9.0), season(), None


def test_gaps_end_an_incident_as_not_judged_any_more() -> None:
    tracker = Tracker()
    walk(tracker, [OUT] * 10)
    found = [step(tracker, SEASONAL, slot, float("nan"), False) for slot in range(10, 20)]
    assert [(t.state, t.slot) for t in found if t] == [("resolved", 14)]
    assert tracker.recent[0].end_reason == "unseen"
    assert (tracker.recent[0].ended, walk(Tracker(), [*[OUT] * 10, *[CALM] * 5])[-1]) == (9, ("resolved", 14))


def test_a_stream_that_was_seen_to_return_is_back_to_normal_in_spite_of_a_gap() -> None:
    tracker = Tracker()
    walk(tracker, [*[OUT] * 10, *[CALM] * 3])
    for slot in (13, 14):
        step(tracker, SEASONAL, slot, float("nan"), False)
    assert tracker.recent[0].end_reason == "returned"


def test_what_the_students_alone_open_is_closed_by_them() -> None:
    tracker = Tracker()
    published = walk(tracker, [CALM] * 10, students=6.0 + BESIDE)
    assert published == [("open", 1), ("update", 2)]  # a warning from the third slot on
    assert walk(tracker, [CALM] * 10, first=10) == [("resolved", 14)]
    assert tracker.recent[0].around == 0


@pytest.mark.parametrize(("grave", "severity"), [(None, "critical"), (5.0, "critical"), (0.0, "warning")])
def test_what_is_usual_at_this_time_is_not_critical(grave: float | None, severity: str) -> None:
    tracker = Tracker()
    for slot in range(10):
        step(tracker, SEASONAL, slot, 5.1 + BESIDE, True, CALM, reach=5.0, grave=grave)
    assert tracker.incident is not None
    assert tracker.incident.severity == severity


def test_an_open_incident_of_an_earlier_version_stays_as_bad_as_it_was() -> None:
    tracker = Tracker()
    for slot in range(10):
        step(tracker, SEASONAL, slot, 5.1 + BESIDE, True, CALM, reach=5.0)
    assert tracker.incident is not None
    tracker.incident.grave = None
    assert tracker.incident.severity == "critical"
    assert step(tracker, SEASONAL, 10, 5.1 + BESIDE, True, CALM, reach=0.4) is None
    assert tracker.incident.severity == "critical"


def test_beside_a_season_the_students_alone_must_be_surer() -> None:
    assert walk(Tracker(), [CALM] * 10, students=4.0 + BESIDE - 0.1) == []
    assert walk(Tracker(), [CALM] * 10, students=4.0 + BESIDE + 0.1)[0] == ("open", 1)
    alone = Tracker()
    found = [step(alone, SEASONAL, slot, 4.1, True) for slot in range(2)]
    assert [t.state for t in found if t is not None] == ["open"]


def test_where_weeks_have_shown_no_season_students_alone_need_less() -> None:
    for untimed, more in ((False, BESIDE), (True, UNTIMED)):
        for by, opens in ((-0.1, False), (0.1, True)):
            tracker = Tracker()
            rows = (step(tracker, SEASONAL, slot, 4.0 + more + by, True, CALM, untimed=untimed) for slot in range(10))
            assert any(rows) is opens


@pytest.mark.parametrize(("students", "opens"), [(4.5, False), (4.7, True)])
def test_students_of_slots_below_a_minute_must_be_surer_beside_a_season(students: float, opens: bool) -> None:
    tracker, finer = Tracker(), replace(SEASONAL, finer=0.6)
    loud = season(SUSPECT)  # enough to waive what they need beside a season that finds nothing
    found = [step(tracker, finer, slot, students, True, loud) for slot in range(2)]
    assert any(found) is opens
    alone = Tracker()
    assert any(step(alone, finer, slot, students, True) for slot in range(2))


def test_what_both_families_nearly_find_they_find_together() -> None:
    nearly = season(2.0, 4.3)
    assert walk(Tracker(), [nearly] * 10) == []
    assert walk(Tracker(), [CALM] * 10, students=3.2) == []
    tracker = Tracker()
    assert walk(tracker, [nearly] * 10, students=3.2)[0] == ("open", 1)
    assert walk(tracker, [CALM] * 10, students=3.2, first=10)[-1] == (
        "resolved",
        14,
    )  # by the season: students still contain it
    assert walk(Tracker(), [nearly] * 10, students=2.9) == []


def test_a_new_event_in_the_students_dead_time_is_an_incident_of_its_own() -> None:
    tracker = Tracker()
    walk(tracker, [OUT] * 10, students=6.0)
    assert walk(tracker, [CALM] * 100, students=6.0, first=10)[-1] == ("resolved", 14)
    # the season sees the second one while the students' windows still contain the first
    assert walk(tracker, [OUT] * 3, students=6.0, first=110)[0] == ("open", 111)


def test_a_new_baseline_is_not_reopened() -> None:
    tracker = Tracker()
    for slot in range(LASTING + 1):
        step(tracker, SEASONAL, slot, 0.0, True, OUT)
    assert tracker.recent[0].end_reason == "baseline"
    far = season(20.0, 20.0)  # ten decades more, within the hour
    assert walk(tracker, [far] * 2, first=LASTING + 2) == [("open", LASTING + 3)]


def test_the_old_level_is_quiet_when_it_returns_and_the_stream_listens_again() -> None:
    tracker = Tracker()
    for slot in range(LASTING + 1):
        step(tracker, SEASONAL, slot, 0.0, True, OUT)
    assert walk(tracker, [OUT] * 500, first=LASTING + 1) == []
    assert walk(tracker, [CALM] * 500, first=LASTING + 501) == []
    assert walk(tracker, [OUT] * 2, first=LASTING + 1001) == [("open", LASTING + 1002)]


def test_the_newest_incident_is_kept_as_long_as_it_may_go_on() -> None:
    tracker = Tracker()
    walk(tracker, [*[OUT] * 10, *[CALM] * 30])
    assert forget_before(tracker, 40, 40 - SEASONAL.reopened) == []
    gone = forget_before(tracker, 500, 500 - SEASONAL.reopened)
    assert [episode.ended for episode in gone] == [9]


def test_an_incident_that_is_closed_from_outside_says_why() -> None:
    tracker = Tracker()
    walk(tracker, [OUT] * 10)
    closed = end(tracker, 9, "deleted")
    assert (closed.state, closed.episode.end_reason, closed.baseline) == ("resolved", "deleted", False)


ROWS = st.lists(
    st.tuples(
        st.integers(1, 30),
        st.sampled_from([CALM, season(2.5), season(0.4, 3.0), OUT, season(hour=7.0), season(6.0), NOTHING]),
        st.sampled_from([0.0, 0.0, 3.5, 4.5, 6.0, float("nan")]),
    ),
    min_size=1,
    max_size=12,
).map(lambda runs: [(row, students) for length, row, students in runs for _ in range(length)])


def followed(tracker: Tracker, rows: list[tuple[Any, float]], first: int, skip: bool) -> list[tuple[Any, ...]]:
    """Step through, with idle slots left out as the detector does it where nothing is surprising."""
    published = []
    for slot, (row, students) in enumerate(rows, first):
        surprising = students >= SEASONAL.threshold or (row is not None and max(row) >= SEASONAL.season_opens)
        if skip and tracker.idle and not surprising:
            continue
        transition = step(tracker, SEASONAL, slot, students, True, row, 2.0)
        if transition:
            e = transition.episode
            published.append((transition.state, e.anchor, e.revision, slot, e.onset, e.last(), e.peak, e.severity))
    return published


@given(ROWS)
def test_slots_that_change_nothing_need_not_be_stepped(rows: list[tuple[Any, float]]) -> None:
    whole, skipping = Tracker(), Tracker()
    assert followed(skipping, rows, 0, skip=True) == followed(whole, rows, 0, skip=False)
    assert (skipping.incident, skipping.recent, skipping.muted) == (whole.incident, whole.recent, whole.muted)


@given(ROWS, st.data())
def test_any_cut_gives_the_same(rows: list[tuple[Any, float]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    tracker, whole = Tracker(), Tracker()
    published = followed(tracker, rows[:cut], 0, skip=False)
    stored = deepcopy(tracker)
    published += followed(stored, rows[cut:], cut, skip=True)
    assert published == followed(whole, rows, 0, skip=False)


@given(ROWS)
def test_every_incident_ends_soon_after_the_return(rows: list[tuple[Any, float]]) -> None:
    tracker = Tracker()
    followed(tracker, rows, 0, skip=False)
    followed(tracker, [(CALM, 0.0)] * 5, len(rows), skip=False)
    assert tracker.incident is None


def unnoted(episode: Episode, slot: int) -> None:
    """Evidence is tested where it is made."""


def again(tracker: Tracker, rows: list[tuple[Any, float]], changed: int) -> list[Transition]:
    start = rejudge_from(tracker, SEASONAL, changed, -1000)
    assert start is not None
    start = max(start, 0)
    scored = [Scored(slot, students, True, row, 2.0) for slot, (row, students) in enumerate(rows[start:], start)]
    return rejudge(tracker, SEASONAL, scored, unnoted)


@given(ROWS, st.data())
def test_judging_the_same_again_tells_nothing(rows: list[tuple[Any, float]], data: st.DataObject) -> None:
    tracker = Tracker()
    followed(tracker, rows, 0, skip=False)
    before = deepcopy(tracker)
    assert again(tracker, rows, data.draw(st.integers(0, len(rows) - 1))) == []
    assert tracker == before


@given(ROWS, ROWS, st.data())
def test_late_data_lead_to_what_would_have_been(
    rows: list[tuple[Any, float]], late: list[tuple[Any, float]], data: st.DataObject
) -> None:
    """From any slot on: what is open, and what has ended, is what data in time would have made of it."""
    at = data.draw(st.integers(0, len(rows) - 1))
    changed = (rows[:at] + late + [(CALM, 0.0)] * len(rows))[: len(rows)]
    tracker, fresh = Tracker(), Tracker()
    published = [t[1:3] for t in followed(tracker, rows, 0, skip=False)]
    followed(fresh, changed, 0, skip=False)
    published += [(t.episode.anchor, t.episode.revision) for t in again(tracker, changed, at)]
    for anchor in {a for a, _ in published}:
        assert sorted(r for a, r in published if a == anchor) == list(range(sum(a == anchor for a, _ in published)))

    def spans(of: Tracker) -> list[tuple[int, int, float]]:
        return [(e.onset, e.last(), e.peak) for e in of.recent if not e.retracted]

    assert spans(tracker) == spans(fresh)
    assert (tracker.incident is None) == (fresh.incident is None)
    if tracker.incident and fresh.incident:
        assert (tracker.incident.onset, tracker.incident.peak) == (fresh.incident.onset, fresh.incident.peak)


def test_late_data_that_show_an_incident_going_on_reopen_it() -> None:
    tracker = Tracker()
    rows: list[tuple[Any, float]] = [*[(OUT, 0.0)] * 10, *[(CALM, 0.0)] * 40]
    followed(tracker, rows, 0, skip=False)
    [told] = again(tracker, [*rows[:30], *[(OUT, 0.0)] * 20], 30)
    assert (told.state, told.episode.anchor, told.episode.ended) == ("revised", 1, None)
    assert tracker.incident is not None
    assert tracker.recent == []


@pytest.mark.parametrize("interval_s", [1, 10, 60, 300, 3600])
def test_an_incident_ends_within_five_minutes_or_five_slots(interval_s: int) -> None:
    rule = season_rule(interval_s * 10**9, max(300, interval_s) * 10**9)
    assert rule.quiet * interval_s <= max(5 * interval_s, 300)

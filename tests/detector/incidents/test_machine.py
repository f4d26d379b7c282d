"""The state machine of incidents: openings, ends, identity, and independence of batching."""

import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.incidents.dial import budget_of, closing, per_week_of, season_opens_of, threshold_of
from detector.incidents.episode import Episode
from detector.incidents.identity import incident_id
from detector.incidents.machine import FLAPS, Rules, Tracker, Transition, step
from detector.incidents.rejudging import rejudge, rejudge_from
from detector.incidents.scored import Scored
from detector.incidents.severity import severity_of
from streamer.contracts import StreamSettings

RULES = Rules(threshold=4.0, quiet=5, max_slots=60)
SURPRISES = st.lists(st.one_of(st.floats(0, 3), st.floats(3, 12), st.just(float("nan"))), min_size=1, max_size=200)


def run(tracker: Tracker, surprises: list[float], first: int = 0, rules: Rules = RULES) -> list[tuple[Any, ...]]:
    """Step through; (state, anchor, revision, slot, onset, peak, severity) of each event."""
    published = []
    for slot, surprise in enumerate(surprises, first):
        transition = step(tracker, rules, slot, surprise, True)
        if transition:
            published.append(seen(transition))
    return published


def seen(transition: Transition) -> tuple[Any, ...]:
    e = transition.episode
    return transition.state, e.anchor, e.revision, transition.slot, e.onset, e.peak, e.severity, transition.baseline


def unnoted(episode: Episode, slot: int) -> None:
    """Evidence is tested where it is made."""


def test_threshold_follows_the_budget() -> None:
    assert threshold_of(1.0) == 4.0
    assert threshold_of(10.0) == 3.0
    assert (threshold_of(1000.0), threshold_of(1e-12)) == (1.5, 11.0)
    assert closing(4.0) == 3.0
    assert closing(1.0) == 0.5


def test_a_dial_in_time_is_converted_by_the_interval() -> None:
    weekly, second = StreamSettings(alerts_per_week=1.0), 10**9
    assert threshold_of(budget_of(weekly, second)) == pytest.approx(5.7817, abs=1e-4)  # 604 800 slots a week
    assert threshold_of(budget_of(weekly, 60 * second)) == pytest.approx(4.0034, abs=1e-4)  # 10 080
    assert threshold_of(budget_of(weekly, 86_400 * second)) == 1.5  # 7 a day: below the lowest threshold
    assert budget_of(StreamSettings(alert_budget=3.0), second) == 3.0
    assert threshold_of(budget_of(StreamSettings(), 60 * second)) == pytest.approx(5.0)  # .1 a week
    assert threshold_of(budget_of(StreamSettings(), second)) == pytest.approx(5.0)  # what young students can tell
    assert threshold_of(budget_of(StreamSettings(), second, warming=True)) == 4.0
    assert budget_of(StreamSettings(alert_budget=0.5), second, warming=True) == 0.5


def test_the_season_follows_the_same_dial_at_any_interval() -> None:
    second = 10**9
    weekly = StreamSettings(alerts_per_week=1.0)
    for interval, fewer in (
        (second, 0.0),
        (10 * second, 0.0),
        (60 * second, 0.0),
        (300 * second, 0.7),
        (3600 * second, 0.7),
    ):
        for settings, opens in ((StreamSettings(), 5.0), (weekly, 4.0)):
            made = season_opens_of(per_week_of(settings, interval), interval)
            assert made == pytest.approx(opens - fewer, abs=0.002)
    slots = season_opens_of(per_week_of(StreamSettings(alert_budget=1.0), 60 * second), 60 * second)
    assert slots == pytest.approx(3.9965, abs=1e-4)
    assert season_opens_of(1e6, second) == 1.5


def test_settings_written_in_full_mean_what_they_meant() -> None:
    for settings in (StreamSettings(), StreamSettings(alert_budget=2.0), StreamSettings(alerts_per_week=3.0)):
        again = StreamSettings.model_validate_json(settings.model_dump_json())
        assert budget_of(again, 10**9) == budget_of(settings, 10**9)


@pytest.mark.parametrize(
    ("over", "slots", "reach", "seasonal", "severity"),
    [
        (9.0, 2, 9.0, True, "info"), (9.0, 2, 9.0, False, "info"), (0.5, 30, 0.0, True, "info"),
        (1.5, 3, 0.0, True, "warning"), (0.5, 60, 0.5, True, "warning"), (3.0, 3, 0.9, True, "warning"),
        (3.0, 3, 1.0, True, "critical"), (0.9, 60, 0.0, False, "warning"), (0.9, 60, 2.0, True, "critical"),
        (0.3, 4, 9.0, False, "info"), (0.3, 5, 3.0, False, "critical"), (0.3, 5, 3.0, True, "info"),
    ],
)  # fmt: skip
def test_severity_is_of_rarity_length_and_reach(
    over: float, slots: int, reach: float, seasonal: bool, severity: str
) -> None:
    assert severity_of(over, slots, reach, seasonal) == severity


def test_examples_of_the_documentation_are_true() -> None:
    page = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    examples = [row for row in rows if len(row) == 6 and row[4] in ("yes", "no")]
    assert len(examples) >= 8
    for what, over, slots, reach, season, severity in examples:
        assert severity_of(float(over), int(slots), float(reach), season == "yes") == severity, what
    dials = [row for row in rows if len(row) == 4 and re.fullmatch(r"[0-9.]+", row[1])]
    assert len(dials) >= 4
    for dial, *opens in dials:
        given = dial.strip("`").partition("=")
        settings = StreamSettings() if dial == "default" else StreamSettings.model_validate({given[0]: float(given[2])})
        made = [season_opens_of(per_week_of(settings, 60 * 10**9), 60 * 10**9)]
        made += [threshold_of(budget_of(settings, seconds * 10**9)) for seconds in (60, 1)]
        assert made == [pytest.approx(float(text), abs=0.06) for text in opens], dial


@given(st.floats(0, 20), st.floats(0, 50), st.booleans())
def test_a_wobble_of_two_slots_is_never_more_than_info(over: float, reach: float, seasonal: bool) -> None:
    assert severity_of(over, 2, reach, seasonal) == "info"


@given(st.floats(0, 20), st.integers(1, 300), st.floats(0, 50), st.booleans())
def test_what_is_rarer_longer_or_farther_out_is_not_less_severe(
    over: float, slots: int, reach: float, seasonal: bool
) -> None:
    rank = ("info", "warning", "critical").index
    here = rank(severity_of(over, slots, reach, seasonal))
    for worse in ((over + 1, slots, reach), (over, slots + 10, reach), (over, slots, reach + 1)):
        assert rank(severity_of(*worse, seasonal)) >= here


def test_one_surprising_slot_is_not_enough() -> None:
    assert run(Tracker(), [0, 5, 0, 0, 5, 0, 0]) == []


def test_two_of_three_open_and_quiet_resolves() -> None:
    published = run(Tracker(), [0, 5, 0, 5.5, *[0] * 5])
    assert [t[0] for t in published] == ["open", "resolved"]
    assert published[0][1:5] == (3, 0, 3, 1)  # anchored where it opened, began at the first surprising slot
    assert published[1][2:4] == (1, 8)


def test_a_very_large_surprise_opens_at_once() -> None:
    assert [t[0] for t in run(Tracker(), [0, 7.0])] == ["open"]


def test_it_holds_above_the_closing_threshold() -> None:
    published = run(Tracker(), [4.5, 4.5, *[3.5] * 5, *[2.9] * 5])
    assert [(t[0], t[3]) for t in published] == [("open", 1), ("resolved", 11)]


def test_updates_on_severity_and_decades_only() -> None:
    published = run(Tracker(), [5, 5, 5.2, 5.5, 6.1, 6.2, 6.9, 7.2])
    assert [(t[0], t[2], t[5]) for t in published] == [
        ("open", 0, 5), ("update", 1, 5.2), ("update", 2, 6.2), ("update", 3, 7.2),
    ]  # fmt: skip


def test_what_goes_on_unchanged_is_not_told_again() -> None:
    assert [t[3] for t in run(Tracker(), [4.5] * 50)] == [1]


def test_a_rarity_beyond_words_is_not_told_again() -> None:
    published = run(Tracker(), [5, 5, 5, 8, 9, 10, 11, 12])
    assert [(t[0], t[5]) for t in published] == [("open", 5), ("update", 5), ("update", 8)]


def test_a_new_baseline_is_told_once() -> None:
    tracker = Tracker()
    published = run(tracker, [5.0] * 300)
    assert [t[0] for t in published].count("open") == 1
    assert published[-1][0] == "resolved"
    assert published[-1][-1]
    assert tracker.muted == 5.0
    assert run(tracker, [*[5.0] * 50, 6.5, 6.5], 300)[0][0] == "open"  # a decade above the muted peak


def test_a_new_baseline_ends_with_quiet() -> None:
    tracker = Tracker()
    run(tracker, [5.0] * 100)
    run(tracker, [0.0] * 5, 100)
    assert tracker.muted is None
    assert [t[0] for t in run(tracker, [5.0, 5.0], 105)] == ["open"]


def test_slots_that_do_not_count_are_quiet() -> None:
    tracker = Tracker()
    assert all(step(tracker, RULES, slot, 12.0, False) is None for slot in range(10))
    assert tracker.idle


def test_an_open_incident_keeps_its_threshold() -> None:
    tracker = Tracker()
    run(tracker, [4.5, 4.5])
    assert run(tracker, [3.5] * 20, 2, replace(RULES, threshold=8.0)) == []
    assert tracker.incident is not None
    assert tracker.incident.hot == 21


def opened(surprises: list[float], rules: Rules = RULES) -> list[Transition]:
    tracker, published = Tracker(), []
    for slot, surprise in enumerate(surprises):
        transition = step(tracker, rules, slot, surprise, True)
        if transition and transition.state == "open":
            published.append(transition._replace(episode=replace(transition.episode)))
    return published


def test_a_stream_that_alerts_too_often_is_judged_more_strictly_for_a_while() -> None:
    storm = [*[5.0] * 2, *[0.0] * FLAPS] * 100
    published = opened(storm)
    # with 48 remembered it is log10(51 / 5), more than the decade that 5.0 is above the threshold
    assert len(published) == 48
    assert published[2].episode.stricter == 0.0
    assert published[10].episode.stricter == pytest.approx(0.4150, abs=1e-4)
    assert len(opened(storm, replace(RULES, fatigue=False))) == 100
    memory = int(RULES.memory)
    assert memory == 20_000
    later = opened([*storm, *[0.0] * memory, 5.0, 5.0])
    assert (len(later), later[-1].episode.stricter) == (49, 0.0)  # forgotten
    assert len(opened([*[7.0] * 2, *[0.0] * FLAPS] * 100)) == 100  # what is rarer still opens


def test_what_flaps_is_one_incident_from_the_second_on() -> None:
    """Two may be two events; a third soon after the second is that one again, however often, until it is quiet for longer."""
    again = [*[0.0] * 60, 5.0, 5.0]
    tracker = Tracker()
    slots = [5.0, 5.0, *again * 4, *[0.0] * (FLAPS + 1), 5.0, 5.0, *[0.0] * 4]
    told = [(kind, anchor) for kind, anchor, *_ in run(tracker, slots, rules=replace(RULES, max_slots=1024))]
    first, second, later = 1, 63, 251 + FLAPS + 1
    assert told == [
        ("open", first), ("resolved", first), ("open", second), ("resolved", second),
        *[("revised", second), ("resolved", second)] * 3, ("open", later),
    ]  # fmt: skip
    assert tracker.openings == [first, second, later]


def test_two_openings_where_two_are_expected_are_as_promised() -> None:
    assert [t.episode.stricter for t in opened([*[5.0] * 2, *[0.0] * FLAPS] * 4)] == [
        0.0,
        0.0,
        0.0,
        pytest.approx(0.0792, abs=1e-4),
    ]


def test_ids_differ_by_stream_grid_anchor_and_kind() -> None:
    ids = {incident_id(*args) for args in (("a", 1, 5), ("b", 1, 5), ("a", 2, 5), ("a", 1, 6), ("a", 1, 5, "no_data"))}
    assert len(ids) == 5
    assert incident_id("a", 1, 5) == incident_id("a", 1, 5)


@given(SURPRISES)
def test_every_incident_ends_after_enough_quiet_without_gaps_in_revisions(surprises: list[float]) -> None:
    tracker = Tracker()
    published = run(tracker, surprises + [0.0] * (RULES.quiet + 1))
    assert tracker.incident is None
    assert tracker.idle
    by_anchor: dict[int, list[tuple[str, int]]] = {}
    for kind, anchor, revision, *_ in published:
        by_anchor.setdefault(anchor, []).append((kind, revision))
    for events in by_anchor.values():
        assert [revision for _, revision in events] == list(range(len(events)))
        told = [kind for kind, _ in events if kind != "update"]
        assert told[:2] == ["open", "resolved"]
        assert told[2:] == ["revised", "resolved"] * (len(told[2:]) // 2)  # it flaps
        assert events[-1][0] == "resolved"


@given(SURPRISES, st.data())
def test_replay_from_any_prefix_tells_the_same(surprises: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(surprises)))
    tracker = Tracker()
    before = run(tracker, surprises[:cut])
    stored = deepcopy(tracker)
    after = run(tracker, surprises[cut:], cut)
    assert run(stored, surprises[cut:], cut) == after
    assert before + after == run(Tracker(), surprises)


def rejudged(tracker: Tracker, surprises: list[float], changed: int, lowest: int = -100) -> list[Transition]:
    start = rejudge_from(tracker, RULES, changed, lowest)
    assert start is not None
    start = max(start, 0)
    rows = [Scored(slot, value, True) for slot, value in enumerate(surprises[start:], start)]
    return rejudge(tracker, RULES, rows, unnoted)


@given(SURPRISES)
def test_judging_the_same_again_tells_nothing(surprises: list[float]) -> None:
    tracker = Tracker()
    run(tracker, surprises)
    if tracker.muted is not None or any(e.end_reason == "baseline" for e in tracker.recent):
        return  # a new baseline stands
    before = deepcopy(tracker)
    assert rejudged(tracker, surprises, 0) == []
    assert tracker == before


@given(SURPRISES, SURPRISES)
def test_late_data_lead_to_what_would_have_been(first: list[float], second: list[float]) -> None:
    """After any change of the past: gapless revisions, and what is open is what in-time data would have opened."""
    second = (second * len(first))[: len(first)]
    tracker, fresh = Tracker(), Tracker()
    published = [t[1:3] for t in run(tracker, first)]
    expected = run(fresh, second)
    if any(m is not None for m in (tracker.muted, fresh.muted)) or any(t[-1] for t in expected):
        return
    published += [(t.episode.anchor, t.episode.revision) for t in rejudged(tracker, second, 0)]
    assert len(set(published)) == len(published)
    for anchor in {a for a, _ in published}:
        assert sorted(r for a, r in published if a == anchor) == list(range(sum(a == anchor for a, _ in published)))
    assert (tracker.incident is None) == (fresh.incident is None)
    if tracker.incident and fresh.incident:
        assert (tracker.incident.onset, tracker.incident.peak) == (fresh.incident.onset, fresh.incident.peak)


def test_an_incident_that_no_longer_holds_is_retracted_and_may_come_back() -> None:
    tracker = Tracker()
    run(tracker, [0, 0, 4.5, 4.5, 4.5])
    (published,) = rejudged(tracker, [0, 0, 0, 0, 0], 2)
    assert (published.state, published.episode.revision) == ("retracted", 1)
    assert tracker.incident is None
    (published,) = rejudged(tracker, [0, 0, 4.5, 4.5, 4.5], 2)
    assert (published.state, published.episode.anchor, published.episode.revision) == ("revised", 3, 2)
    assert tracker.incident is not None


def test_a_moved_onset_is_revised_under_the_same_anchor() -> None:
    tracker = Tracker()
    run(tracker, [0, 0, 0, 5, 5, 5])
    (published,) = rejudged(tracker, [0, 5, 5, 5, 5, 5], 1)
    assert (published.state, published.episode.anchor, published.episode.onset) == ("revised", 4, 1)


def test_a_missed_incident_opens_late_and_resolved() -> None:
    tracker = Tracker()
    surprises: list[float] = [0] * 30
    run(tracker, surprises)
    surprises[10:12] = [5, 5]
    published = rejudged(tracker, surprises, 10)
    assert [(t.state, t.episode.anchor, t.episode.revision) for t in published] == [
        ("open", 11, 0),
        ("resolved", 11, 1),
    ]
    assert published[0].episode.ended is None


def test_an_incident_older_than_the_window_at_hand_stands() -> None:
    tracker = Tracker(incident=Episode(anchor=5, onset=4, threshold=4, peak=6, peak_slot=5, hot=40))
    assert rejudge_from(tracker, RULES, 30, lowest=20) is None
    ended = Tracker(recent=[Episode(anchor=5, onset=4, threshold=4, peak=6, peak_slot=5, hot=24, ended=24)])
    assert rejudge_from(ended, RULES, 22, lowest=20) == 25

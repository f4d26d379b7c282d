"""What students have never said in weeks opens an incident at less."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.incidents.loudest import DAYS, KNOWN_DAYS, LISTEN, NEWS, news, with_slot
from detector.incidents.machine import BESIDE, Rules, Tracker, step
from detector.incidents.record import StreamState
from detector.incidents.rejudging import rejudge
from detector.incidents.scored import Scored
from detector.incidents.season_rule import season_rule
from detector.persistence import COLUMNS

RULES = Rules(threshold=5.0, quiet=5, season=season_rule(60 * 10**9, 300 * 10**9))
DAY = 1440
QUIET = [0.0] * COLUMNS


def day_of(tracker: Tracker, day: int, students: list[float], counts: bool = True) -> list[str]:
    """States of what opens and ends at noon; the rest of the day is calm."""
    slots = enumerate([*students, *[0.0] * 100], day * DAY + 720)
    found = [step(tracker, RULES, slot, value, counts, QUIET) for slot, value in slots]
    return [t.state for t in found if t is not None]


def weeks(*most: float) -> Tracker:
    tracker = Tracker()
    for day, value in enumerate(most):
        assert not day_of(tracker, day, [value])
    return tracker


@pytest.mark.parametrize(
    ("most", "students", "opens"),
    [
        ([3.4] * 14, 4.3, True),
        ([3.4] * 14, 3.9, False),  # less than holds an incident open
        ([3.4] * 13, 4.3, False),  # too few days are known
        ([3.4] * 13 + [4.4], 5.0, False),
        ([3.4] * 13 + [4.4], 5.2, True),
        ([4.4] + [3.4] * (DAYS - 1), 5.0, False),
        ([4.4] + [3.4] * DAYS, 5.0, True),  # long ago
        ([0.0] * 14, 4.1, True),
    ],
)
def test_what_is_more_than_weeks_have_had_opens(most: list[float], students: float, opens: bool) -> None:
    tracker = weeks(*most)
    assert day_of(tracker, len(most), [students] * 8) == (["open", "resolved"] if opens else [])
    if opens:
        assert tracker.recent[0].peak == RULES.threshold  # it is no rarer than that


def test_what_an_incident_had_is_not_what_is_usual() -> None:
    tracker = weeks(*[3.4] * 14)
    assert day_of(tracker, 14, [5.0 + BESIDE + 1.0] * 8)[0] == "open"
    assert max(most for _, most in tracker.days) == 3.4
    assert day_of(tracker, 15, [4.3] * 8)[0] == "open"


def test_what_does_not_count_is_what_is_usual() -> None:
    """A stream that is paused, or at known levels, has not been calm."""
    tracker = weeks(*[3.4] * 14)
    assert day_of(tracker, 14, [8.0] * 8, counts=False) == []
    assert day_of(tracker, 15, [4.3] * 8) == []


def test_slots_that_come_alone_are_what_is_usual() -> None:
    tracker = weeks(*[3.4] * 14)
    for day in range(14, 20):
        assert day_of(tracker, day, [4.6]) == []
    assert day_of(tracker, 20, [4.6] * 8) == []


def test_days_of_silence_are_not_known_to_be_calm() -> None:
    tracker = weeks(*[4.9] * 20)
    assert day_of(tracker, 60, [4.2] * 8) == []


def test_late_data_change_what_is_known() -> None:
    tracker = weeks(*[3.4] * 16)
    first = 15 * DAY + 700
    rows = [Scored(slot, 3.9 if slot == first + 9 else 0.0, True, QUIET) for slot in range(first, first + 300)]
    assert rejudge(tracker, RULES, rows, lambda episode, slot: None) == []
    assert tracker.days[-1] == (15, 3.9)


def test_it_is_stored() -> None:
    state = StreamState(1, 60 * 10**9, 0, 0, weeks(*[3.4] * 14))
    assert StreamState.from_json(state.to_json()) == state


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(LISTEN, 12)), max_size=60))
def test_the_days_are_the_newest_and_their_largest(found: list[tuple[int, float]]) -> None:
    days: list[tuple[int, float]] = []
    seen: dict[int, float] = {}
    day = 0
    for ahead, value in found:
        day += ahead
        days = with_slot(days, day, value)
        seen[day] = max(round(value, 2), seen.get(day, 0.0))
    assert days == sorted((at, most) for at, most in seen.items() if at >= day - DAYS)
    before = [most for at, most in seen.items() if day - DAYS <= at < day]
    assert news(days, day) == (max(before) + NEWS if len(before) >= KNOWN_DAYS else None)


@given(st.lists(st.floats(0, 9), min_size=1, max_size=60), st.floats(0, 5))
def test_it_only_adds(students: list[float], season: float) -> None:
    """Whatever opens without it opens with it, no later."""
    plain, known = Tracker(), weeks(*[3.4] * 14)
    row = [season, *[0.0] * (COLUMNS - 1)]
    opened = []
    for tracker in (plain, deepcopy(known)):
        for slot, value in enumerate(students, 14 * DAY):
            transition = step(tracker, RULES, slot, value, True, row)
            if transition is not None and transition.state == "open":
                opened.append((tracker is plain, slot))
                break
    first = dict(opened)
    assert True not in first or first[False] <= first[True]

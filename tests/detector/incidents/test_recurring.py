"""What comes again at the same time of day or week is told once, unless it is more than it was."""

from copy import deepcopy
from dataclasses import replace

import pytest

from detector.incidents.identity import incident_id
from detector.incidents.machine import BESIDE, WINDOW, Rules, Tracker, step
from detector.incidents.record import StreamState
from detector.incidents.recurring import MOST, Off
from detector.incidents.rejudging import rejudge, rejudge_from
from detector.incidents.scored import Scored
from detector.incidents.season_rule import OUTSIDE, season_rule
from detector.persistence import COLUMNS

RULES = Rules(threshold=4.0, quiet=5, season=season_rule(60 * 10**9, 300 * 10**9), season_opens=5.0, fatigue=False)
DAY, JOB = 1440, 10  # slots
NIGHT = 100  # of the first job
MILD, RARER, SURE = 6.0, 7.5, 8.5  # on the season's scale


def run(
    tracker: Tracker, days: list[float], length: int = JOB, at: int = NIGHT, first: int = 0
) -> list[tuple[int, int]]:
    """A job as surprising as this each night; day and slot of what was opened."""
    opened = []
    for day, surprise in enumerate(days, first):
        for slot in range(day * DAY, (day + 1) * DAY):
            now = surprise if at <= slot % DAY < at + length else 0.0
            found = step(tracker, RULES, slot, 0.0, True, [now, now, *[0.0] * (COLUMNS - 2)])
            if found is not None and found.state == "open":
                opened.append((day, slot % DAY))
    return opened


def students(tracker: Tracker, days: list[int]) -> list[int]:
    """The same, where the students alone find it: days on which it opened."""
    opened = []
    for slot in range((days[-1] + 1) * DAY):
        now = 4.5 + BESIDE if slot // DAY in days and NIGHT <= slot % DAY < NIGHT + JOB else 0.0
        found = step(tracker, RULES, slot, now, True, [0.0] * COLUMNS)
        if found is not None and found.state == "open":
            opened.append(slot // DAY)
    return opened


def weekly(tracker: Tracker, weeks: list[tuple[float, float, int]]) -> list[int]:
    """A job on the first night of each week that students alone find, so rare, so far out and for so long: who opened."""
    opened = []
    for week, (rare, reach, length) in enumerate(weeks):
        for at in range(7 * DAY):
            there = NIGHT <= at < NIGHT + length
            seen = (rare + BESIDE, True, [0.0] * COLUMNS, reach) if there else (0.0, True, [0.0] * COLUMNS, 0.0)
            found = step(tracker, RULES, week * 7 * DAY + at, *seen)
            if found is not None and found.state == "open":
                opened.append(week)
    return opened


def test_of_what_students_alone_find_outside_their_band_it_counts_how_far_out_it_is() -> None:
    # each fit has other decades for what is beyond all that it knows
    assert weekly(Tracker(), [(4.5, 12.0, JOB), (6.5, 12.5, JOB), (8.5, 14.5, JOB)]) == [0]
    assert weekly(Tracker(), [(4.5, 12.0, JOB), (4.5, 16.0, JOB)]) == [0, 1]
    assert weekly(Tracker(), [(4.5, 0.0, JOB), (6.5, 0.0, JOB)]) == [0, 1]


@pytest.mark.parametrize(
    ("again", "opened"),
    [
        (Off(3.1, 0.3, 0), [0]),
        (Off(4.5, 0.3, 0), [0, 1]),  # half as far again
        (Off(3.6, 1.0, 0), [0]),  # not by a width
        (Off(-3.0, 0.3, 0), [0, 1]),  # the other way
        (Off(3.0, 0.3, 1), [0, 1]),  # another channel
    ],
)
@pytest.mark.parametrize("seasonal", [True, False])
def test_what_differs_as_much_as_it_did_is_known_however_narrow_its_band_has_become(
    again: Off, opened: list[int], seasonal: bool
) -> None:
    found, tracker = [], Tracker()
    for week, (rare, reach, off) in enumerate([(MILD, 2.0, Off(3.0, 1.5, 0)), (SURE + 5, 12.0, again)]):
        for at in range(7 * DAY):
            there = NIGHT <= at < NIGHT + JOB
            season = [rare * (there and seasonal)] * 2 + [0.0] * (COLUMNS - 2)
            students = rare + BESIDE if there and not seasonal else 0.0
            far = (reach, off) if there else (0.0, None)
            told = step(tracker, RULES, week * 7 * DAY + at, students, True, season, *far)
            if told is not None and told.state == "open":
                found.append(week)
    assert found == opened


def test_windows_of_students_that_contain_what_is_known_do_not_tell_it_later() -> None:
    tracker = Tracker()
    assert weekly(tracker, [(4.5, 12.0, JOB), (4.5, 12.0, 300), (0.0, 0.0, 0)]) == [0]
    assert not tracker.echo


@pytest.mark.parametrize(
    ("pause", "outside", "opened"), [(WINDOW - 10, 0.0, 1), (WINDOW + 20, 0.0, 2), (WINDOW - 10, OUTSIDE, 2)]
)
def test_what_students_say_while_their_windows_contain_an_incident_counts_where_the_season_finds_something(
    pause: int, outside: float, opened: int
) -> None:
    """A window that a dip is leaving is as strange as one that it has entered, and quiet in between."""
    tracker, found = Tracker(), 0
    for slot in range(4 * WINDOW):
        again = JOB + pause <= slot < 2 * JOB + pause
        row = [MILD if slot < JOB else outside * again] * 2 + [0.0] * (COLUMNS - 2)
        told = step(tracker, RULES, slot, (4.5 + BESIDE) * again, True, row)
        found += told is not None and told.state == "open"
    assert found == opened


def test_a_nightly_job_is_told_once() -> None:
    assert run(Tracker(), [MILD] * 10) == [(0, NIGHT + 1)]
    # two nights without it, and it is known; a third, and it is news
    assert run(Tracker(), [MILD, 0.0, MILD, 0.0, 0.0, MILD]) == [(0, NIGHT + 1), (5, NIGHT + 1)]


@pytest.mark.parametrize(("more", "at"), [(RARER, NIGHT + 1), (SURE, NIGHT + 1)])
def test_what_is_rarer_than_it_was_is_told(more: float, at: int) -> None:
    assert run(Tracker(), [MILD, MILD, more]) == [(0, NIGHT + 1), (2, at)]


def test_what_is_so_rare_that_no_second_slot_is_waited_for_is_told_every_time() -> None:
    assert len(run(Tracker(), [SURE] * 4)) == 4


def test_what_lasts_longer_than_half_a_day_is_known_after_two_weeks() -> None:
    week, longest, tracker = [MILD, *[0.0] * 6], 13 * 60, Tracker()
    assert run(tracker, week * 2, longest) == [(0, NIGHT + 1), (7, NIGHT + 1)]
    # an hour and a half later than usual, and an hour longer
    assert run(tracker, week, longest + 60, NIGHT + 90, first=14) == []
    assert run(tracker, week, longest, first=21) == []


def test_what_lasts_longer_than_half_a_day_is_told_the_next_day() -> None:
    assert run(Tracker(), [MILD, MILD], 13 * 60) == [(0, NIGHT + 1), (1, NIGHT + 1)]


def test_what_lasts_longer_than_it_did_is_told() -> None:
    tracker = Tracker()
    assert len(run(tracker, [MILD])) == 1
    [(day, slot)] = run(tracker, [MILD], length=120, first=1)
    assert day == 1
    assert NIGHT + JOB + 30 <= slot < NIGHT + 60


def test_it_may_begin_half_an_hour_later() -> None:
    tracker = Tracker()
    run(tracker, [MILD])
    assert run(tracker, [MILD], at=NIGHT + 25, first=1) == []
    assert len(run(tracker, [MILD], at=NIGHT + 25 + 60, first=2)) == 1


def test_what_students_alone_find_is_known_from_the_same_day_of_the_week() -> None:
    assert students(Tracker(), [0, 1, 7, 14, 15]) == [0, 1]


@pytest.mark.parametrize(
    ("days", "opened"), [([0, 1, 2, 3, 4], [0, 1]), ([0, 3, 5, 9], [0, 3]), ([0, 2], [0, 2]), ([0, 5, 9], [0, 5, 9])]
)
def test_what_students_alone_find_on_two_days_of_a_week_is_a_habit(days: list[int], opened: list[int]) -> None:
    assert students(Tracker(), days) == opened


def test_a_person_who_confirms_it_hears_of_it_every_time() -> None:
    state = StreamState(grid_version=1, interval_ns=60 * 10**9, phase_ns=0, scored=0)
    run(state.tracker, [MILD, MILD])
    wanted = incident_id("a", 1, state.tracker.recent[0].anchor)
    state.heed("a", wanted, confirmed=True)
    assert run(state.tracker, [MILD] * 4, first=2) == [(day, NIGHT + 1) for day in range(2, 6)]
    for past in state.tracker.usual:
        state.heed("a", incident_id("a", 1, past.anchor), confirmed=False)
    assert run(state.tracker, [MILD], first=6) == []


def test_what_is_told_for_it_lasts_longer_began_when_it_began() -> None:
    tracker = Tracker()
    run(tracker, [MILD])
    run(tracker, [MILD], length=120, first=1)
    assert (tracker.recent[-1].onset, tracker.recent[-1].anchor) == (DAY + NIGHT + 1, DAY + NIGHT + JOB + 31)


def test_no_night_s_delay_adds_to_the_one_before() -> None:
    tracker = Tracker()
    told = [day for day in range(8) if run(tracker, [MILD], at=NIGHT + 20 * day, first=day)]
    assert told == [0, 2, 4, 6]


def test_after_a_pause_what_comes_is_another_event() -> None:
    tracker = Tracker()
    run(tracker, [MILD], length=480)
    run(tracker, [MILD], length=3, first=1)
    [(day, slot)] = run(tracker, [MILD], at=NIGHT + 240, length=60, first=1)
    assert (day, slot) == (1, NIGHT + 241)


def test_averages_that_still_contain_what_was_passed_over_open_nothing() -> None:
    tracker, opened = Tracker(), []
    hour = RULES.season.windows[3] if RULES.season else 0
    for slot in range(4 * DAY):
        now = MILD if NIGHT <= slot % DAY < NIGHT + JOB else 0.0
        after = MILD if NIGHT + JOB <= slot % DAY < NIGHT + JOB + hour else 0.0
        found = step(tracker, RULES, slot, 0.0, True, [now, now, 0.0, after, *[0.0] * (COLUMNS - 4)])
        opened += [slot] if found is not None and found.state == "open" else []
    assert opened == [NIGHT + 1]


def test_a_day_of_flapping_hides_nothing_the_day_after() -> None:
    tracker = Tracker()
    for at in range(0, DAY, 120):
        run(tracker, [MILD], at=at)
    assert len(run(tracker, [MILD], at=500, first=1)) == 1


def test_what_is_further_outside_than_it_was_is_told() -> None:
    tracker = Tracker()
    run(tracker, [MILD])
    now = [MILD, MILD, *[0.0] * (COLUMNS - 2)]
    found = [
        step(tracker, RULES, DAY + NIGHT + slot, 0.0, True, now, reach)
        for slot, reach in ((0, 0.5), (1, 0.5), (2, 1.5))
    ]
    assert [None if each is None else each.state for each in found] == [None, None, "open"]


def test_an_average_that_still_contains_what_was_passed_over_says_nothing_of_calm_values() -> None:
    tracker = Tracker()
    run(tracker, [MILD])
    opened = []
    for at in range(NIGHT, NIGHT + JOB + 20):
        minutes = SURE if at < NIGHT + JOB + 4 else 0.0
        row = [MILD * (at < NIGHT + JOB), minutes, *[0.0] * (COLUMNS - 2)]
        far = (1.0, Off(3.0, 1.0, 0)) if at < NIGHT + JOB else (0.0, None)
        tracker.usual = [replace(past, off=3.0) for past in tracker.usual]
        found = step(tracker, RULES, DAY + at, 0.0, True, row, *far)
        opened += [] if found is None else [at]
    assert opened == []


def test_what_is_known_is_stored_and_bounded() -> None:
    state = StreamState(grid_version=1, interval_ns=60 * 10**9, phase_ns=0, scored=0)
    run(state.tracker, [MILD, MILD])
    again = StreamState.from_json(state.to_json())
    assert again == state
    assert run(again.tracker, [MILD], first=2) == []
    run(state.tracker, [SURE] * 2 * MOST, first=3)
    assert len(state.tracker.usual) == MOST


def test_late_data_judge_it_as_if_they_had_come_in_time() -> None:
    tracker = Tracker()
    run(tracker, [MILD])
    late = deepcopy(tracker)
    rows = [Scored(slot, 0.0, True, [MILD * (DAY + NIGHT <= slot < DAY + NIGHT + JOB)] * 2 + [0.0] * (COLUMNS - 2))
            for slot in range(DAY, DAY + 200)]  # fmt: skip
    for row in rows:
        step(tracker, RULES, *row)
        step(late, RULES, row.slot, 0.0, True, [0.0] * COLUMNS)
    first = rejudge_from(late, RULES, DAY + NIGHT, 0)
    assert first is not None
    assert rejudge(late, RULES, rows[first - DAY :], lambda episode, slot: None) == []
    assert late.usual == tracker.usual


def loud_nightly(tracker: Tracker, nights: dict[int, tuple[float, float]], more: int = 0) -> list[int]:
    """Nights on which what students say, and what the season makes of it, opened; `more` times a day they say it besides."""
    opened = []
    for slot in range((max(nights) + 1) * DAY):
        students, season = nights.get(slot // DAY, (0.0, 0.0))
        there = NIGHT <= slot % DAY < NIGHT + JOB or any(
            0 <= slot % DAY - 300 * k < JOB and slot // DAY in nights for k in range(1, more + 1)
        )
        row = [0.0, season * there, *[0.0] * (COLUMNS - 2)]
        found = step(tracker, RULES, slot, students * there, True, row)
        if found is not None and found.state == "open" and NIGHT <= slot % DAY < NIGHT + JOB:
            opened.append(slot // DAY)
    return opened


HELD, MINDED = (6.0, 0.5), (6.0, 1.4)  # enough for students alone, but not beside a season that finds so little


@pytest.mark.parametrize(
    ("nights", "opened"),
    [
        ({4: MINDED}, [4]),
        ({3: HELD, 4: MINDED}, [4]),  # it was there once
        ({0: HELD, 3: HELD, 4: MINDED}, []),
        ({0: HELD, 3: HELD, 11: MINDED}, [11]),  # too long ago
        ({0: HELD, 3: HELD, 4: (7.1, 1.4)}, [4]),  # a decade rarer
        ({0: HELD, 3: HELD, 4: (6.0, 1.6)}, [4]),  # the season finds a decade more
        ({0: MINDED, 1: MINDED, 2: MINDED, 3: MINDED}, [0, 1]),
    ],
)
def test_what_students_say_every_night_is_known_where_the_season_held_them_back(
    nights: dict[int, tuple[float, float]], opened: list[int]
) -> None:
    tracker = Tracker()
    assert loud_nightly(tracker, nights) == opened
    passed = [past.at // DAY for past in tracker.usual if past.until >= 0]
    assert passed == [night for night, said in nights.items() if said == MINDED and night not in opened]


def test_what_the_season_finds_at_the_time_of_a_habit_is_told() -> None:
    """Nobody has ever heard of that habit."""
    tracker = Tracker()
    assert loud_nightly(tracker, {0: HELD, 3: HELD, 4: MINDED}) == []
    assert [past.told for past in tracker.usual] == [False]
    assert run(tracker, [MILD], first=5) == [(5, NIGHT + 1)]


def test_what_the_season_finds_during_a_habit_is_told() -> None:
    tracker, opened = Tracker(), []
    loud_nightly(tracker, {0: HELD, 3: HELD})
    for k in range(2 * JOB):
        season = [MILD, MILD] if k >= JOB else [0.0, MINDED[1]]
        found = step(tracker, RULES, 4 * DAY + NIGHT + k, MINDED[0], True, [*season, *[0.0] * (COLUMNS - 2)])
        opened += [k] if found is not None and found.state == "open" else []
    assert opened in ([JOB], [JOB + 1])


@pytest.mark.parametrize("after", [2, 15])
def test_what_is_rarer_than_the_habit_is_told_right_after_it(after: int) -> None:
    tracker, opened = Tracker(), []
    loud_nightly(tracker, {0: HELD, 3: HELD})
    for k in range(60):
        loud, season = MINDED if k < 2 else (15.0, HELD[1]) if k >= after else (0.0, 0.0)
        found = step(tracker, RULES, 4 * DAY + NIGHT + k, loud, True, [0.0, season, *[0.0] * (COLUMNS - 2)])
        opened += [k] if found is not None and found.state == "open" else []
    assert opened == [after] or opened == [after + 1]


def test_a_habit_that_was_passed_over_says_no_more_than_it_did() -> None:
    nights = {0: HELD, 3: HELD, 4: MINDED, 5: MINDED, 6: (8.5, 0.0)}
    assert loud_nightly(Tracker(), nights) == [6]


def test_single_loud_slots_all_day_are_no_habit() -> None:
    tracker = Tracker()
    for day in (0, 1):
        for k in range(600, 1200, 25):
            step(tracker, RULES, day * DAY + k, *HELD[:1], True, [0.0, HELD[1], *[0.0] * (COLUMNS - 2)])
    season = [0.0, MINDED[1], *[0.0] * (COLUMNS - 2)]
    found = [step(tracker, RULES, 3 * DAY + 900 + k, MINDED[0], True, season) for k in range(3)]
    assert any(told is not None and told.state == "open" for told in found)


def test_students_that_are_loud_at_any_time_of_day_have_no_habit() -> None:
    assert loud_nightly(Tracker(), dict.fromkeys(range(4), HELD) | {4: MINDED}, more=4) == [4]


def test_what_goes_on_for_longer_than_the_habit_opens() -> None:
    tracker = Tracker()
    loud_nightly(tracker, {0: HELD, 3: HELD})
    opened = []
    for slot in range(4 * DAY + NIGHT, 4 * DAY + NIGHT + 2 * WINDOW):
        found = step(tracker, RULES, slot, 6.0, True, [0.0, 1.4, *[0.0] * (COLUMNS - 2)])
        opened += [slot - 4 * DAY - NIGHT] if found is not None and found.state == "open" else []
    around = season_rule(60 * 10**9, 300 * 10**9).around
    assert len(opened) == 1
    assert around < opened[0] <= around + WINDOW


def test_a_person_who_has_confirmed_it_hears_of_it_again() -> None:
    tracker = Tracker()
    assert loud_nightly(tracker, {0: MINDED, 1: MINDED}) == [0, 1]
    tracker.usual[0].confirmed = True
    season = [0.0, MINDED[1], *[0.0] * (COLUMNS - 2)]
    found = [step(tracker, RULES, 2 * DAY + NIGHT + k, MINDED[0], True, season) for k in range(3)]
    assert any(told is not None and told.state == "open" for told in found)


def test_habits_are_stored_and_judged_again_as_of_before_late_data() -> None:
    tracker = Tracker()
    loud_nightly(tracker, {0: HELD, 3: HELD})
    state = StreamState(1, 60 * 10**9, 0, 4 * DAY, tracker)
    again = StreamState.from_json(state.to_json())
    assert again.tracker.loud == tracker.loud != []
    first, last = tracker.loud[-1].first, tracker.loud[-1].last
    rejudge(
        again.tracker,
        RULES,
        [Scored(slot, 0.0, True, [0.0] * COLUMNS) for slot in range(first + 2, last + 1)],
        lambda episode, slot: None,
    )
    assert [(past.first, past.last) for past in again.tracker.loud] == [(NIGHT, NIGHT + JOB - 1), (first, first + 1)]

"""What is kept of a stream in Redis."""

from dataclasses import replace

import pytest

from detector.incidents.machine import Episode, State, Transition, incident_id
from detector.incidents.record import MAX_EXCLUDED, MAX_PAST, NoData, Verdict
from detector.training.due import Asked


def test_a_verdict_comes_back_as_it_was() -> None:
    episode = Episode(anchor=5, onset=4, threshold=4.0, peak=6.5, peak_slot=5, hot=9, evidence={"view": "prototype"})
    ended = Episode(anchor=1, onset=1, threshold=4.0, peak=5.0, peak_slot=1, hot=2, ended=2, verdict="true")
    verdict = Verdict(
        3, 10**8, 7, 99, State([98, 99], episode, [ended], 5.5, 2), NoData(7, 8, 1), "v1", 12, [(1, 2), (5, 9)],
        Asked(1, 2, "due", "full", "t", 3, 4), True, [(0, 0, 1)],
    )  # fmt: skip
    assert Verdict.loads(verdict.dumps()) == verdict
    plain = Verdict(1, 1, 0, 0)
    assert Verdict.loads(plain.dumps()) == plain
    # as stored before there was a prior
    assert Verdict.loads(plain.dumps().replace(b',"warming":false', b"")) == plain
    assert (plain.judged, replace(plain, model="v").judged, replace(plain, warming=True).judged) == (False, True, True)


def test_excluded_ranges_are_merged_and_bounded() -> None:
    verdict = Verdict(1, 1, 0, 0)
    for first, last in ((10, 20), (30, 40), (21, 25), (5, 8), (24, 35)):
        verdict.exclude_range(first, last)
    assert verdict.exclude == [(5, 8), (10, 40)]
    for k in range(200):
        verdict.exclude_range(100 + 10 * k, 102 + 10 * k)
    assert len(verdict.exclude) == MAX_EXCLUDED
    assert verdict.exclude[-1] == (2090, 2092)


def test_an_old_incident_keeps_its_place() -> None:
    """What people say of it the next morning still decides what is learnt."""
    old, late = (
        Episode(anchor=a, onset=a - 1, threshold=4.0, peak=5.0, peak_slot=a, hot=a + 2, ended=a + 3) for a in (10, 90)
    )
    verdict = Verdict(1, 1, 0, 99, State(recent=[old, late]))
    place = {a: verdict.span("s", incident_id("s", 1, a)) for a in (10, 90)}
    assert place == {10: (9, old.last()), 90: (89, late.last())}
    verdict.forget_before(50)
    assert verdict.state.recent == [late]
    assert {a: verdict.span("s", incident_id("s", 1, a)) for a in (10, 90)} == place
    assert verdict.find("s", incident_id("s", 1, 10)) is None
    for anchor in range(100, 100 + 2 * MAX_PAST):
        verdict.state.recent = [replace(old, anchor=anchor)]
        verdict.forget_before(50)
    assert len(verdict.past) == MAX_PAST
    assert verdict.span("s", incident_id("s", 1, 10)) is None


def test_what_is_allowed_again_is_cut_out_of_the_excluded_ranges() -> None:
    verdict = Verdict(1, 1, 0, 0, exclude=[(5, 8), (10, 40), (50, 60)])
    verdict.allow_range(20, 29)
    assert verdict.exclude == [(5, 8), (10, 19), (30, 40), (50, 60)]
    verdict.allow_range(0, 50)
    assert verdict.exclude == [(51, 60)]
    verdict.allow_range(51, 60)
    assert verdict.exclude == []


@pytest.mark.parametrize(
    ("peak", "said", "learnt"),
    [
        (7.9, None, True),
        (8.0, None, False),
        (5.0, "true", False),
        (5.0, "maintenance", False),
        (9.0, "false_alarm", True),
    ],
)
def test_what_is_critical_or_confirmed_is_not_learnt_from(peak: float, said: str | None, learnt: bool) -> None:
    episode = Episode(anchor=5, onset=4, threshold=4.0, peak=peak, peak_slot=5, hot=9, ended=9, verdict=said)
    verdict = Verdict(1, 1, 0, 0)
    verdict.settle(Transition("update", episode, 8))
    verdict.settle(Transition("resolved", episode, 19, baseline=True))
    assert verdict.exclude == []
    verdict.settle(Transition("resolved", episode, 19))
    assert verdict.exclude == ([] if learnt else [(4, 9)])


def test_an_incident_is_found_by_its_id() -> None:
    episode = Episode(anchor=5, onset=4, threshold=4.0, peak=6.5, peak_slot=5, hot=9)
    ended = Episode(anchor=1, onset=1, threshold=4.0, peak=5.0, peak_slot=1, hot=2, ended=2)
    verdict = Verdict(3, 1, 0, 0, State([], episode, [ended]))
    assert verdict.find("a", incident_id("a", 3, 5)) is episode
    assert verdict.find("a", incident_id("a", 3, 1)) is ended
    assert verdict.find("a", incident_id("b", 3, 1)) is None

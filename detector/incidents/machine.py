"""When surprise becomes an incident, and when it ends: a state machine over scored slots.

It knows no clock and no chance: the same slots with the same scores give the same transitions, however they are cut
into batches. One call of `step` is one scored slot; almost all slots of almost all streams change nothing and are
never stepped (see `Tracker.idle`).

>>> tracker, rules = Tracker(), Rules(threshold=4.0, quiet=3)
>>> surprises = [0.3, 4.5, 5.2, 6.1, 0.2, 0.1, 0.4]
>>> found = [step(tracker, rules, slot, surprise, counts=True) for slot, surprise in enumerate(surprises)]
>>> [(transition.state, transition.slot) for transition in found if transition]
[('open', 2), ('update', 3), ('resolved', 6)]
>>> tracker.recent[0].onset, tracker.recent[0].ended, tracker.recent[0].severity
(1, 3, 'warning')
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from detector.incidents.dial import NEAR, SEASON_OPENS, closing, nearly
from detector.incidents.episode import NO_COLUMN, EndReason, Episode
from detector.incidents.recurring import (
    Loud,
    Off,
    Recurrence,
    begun,
    confirmed,
    habit,
    repeated,
    with_incident,
    with_loud,
    with_repeat,
)
from detector.incidents.season_rule import FAR, OUTSIDE, SeasonRule, returned
from detector.incidents.severity import VERY_RARE
from streamer.contracts import IncidentState

SURE = 3.0  # a thousand times rarer than the threshold: no second slot is waited for
DECADE = 1.0
# Decades that the students must have more where the season finds nothing at all in a slot and in the averages up to an
# hour (its first HOUR columns); fewer the more it finds, none from SUSPECT on. Without it two of three false alerts were
# the students' alone (docs/decisions/033).
BESIDE, SUSPECT, HOUR = 2.5, 3.0, 4
# The same of rows in which weeks have shown no season: there it can say little, and what students say for hours is all there is.
UNTIMED = 1.75
LONG_AGO = -(1 << 60)
WINDOW = 80  # slots that a student looks back
FLAPS = 2 * WINDOW  # slots after the end of an incident of the students in which a third one is the second again
ECHO = 1024  # slots after an incident in which the students' windows may still contain it
# A stream that alerts far more often than its alert budget allows is judged more strictly until it is calmer: openings
# are remembered for as long as EXPECTED false ones are expected, and more than that raise what opens the next one.
EXPECTED, PATIENCE = 2.0, 3.0
REMEMBERED = 128  # openings at most: 1.4 decades
SILENCED = 99.0  # a muted peak that no surprise exceeds: a person has called the incident a false alarm


# An incident that lasts longer is the stream's new normal: by then a refit has as many slots of it as a first fit.
BASELINE_SLOTS = 1024


@dataclass(frozen=True, slots=True)
class Rules:
    """How one stream is judged. `stride` is the distance of scored slots.

    >>> Rules(threshold=4.0).memory
    20000.0
    """

    threshold: float
    open_hits: int = 2
    open_window: int = 3
    quiet: int = 10
    max_slots: int = BASELINE_SLOTS
    stride: int = 1
    fatigue: bool = True
    season: SeasonRule | None = None  # of streams whose slots have blocks
    season_opens: float = SEASON_OPENS  # surprise of the season that opens an incident …
    season_near: float = SEASON_OPENS - NEAR  # … and together with students that nearly do
    finer: float = 0.0  # decades that students must have more beside a season

    @property
    def memory(self) -> float:
        """Slots in which EXPECTED false alerts are expected."""
        return EXPECTED * math.pow(10.0, self.threshold)

    def quiet_of(self, column: int) -> int:
        """Slots in a row that end an incident of that column."""
        return self.quiet if self.season is None or column == NO_COLUMN else self.season.quiet

    @property
    def flaps(self) -> int:
        """Slots after its end in which one of the students that had come soon after another goes on: an hour at most."""
        return FLAPS * self.stride if self.season is None else min(FLAPS * self.stride, self.season.rejoin[0])

    @property
    def reopened(self) -> int:
        """Slots after its end in which an incident may be found to go on."""
        return max((self.open_window, FLAPS, *(() if self.season is None else self.season.rejoin))) * self.stride


@dataclass(slots=True)
class Tracker:
    """All that the machine remembers of a stream.

    >>> Tracker().idle
    True
    """

    hits: list[int] = field(default_factory=list)  # surprising slots among the newest `open_window` scored ones
    incident: Episode | None = None
    recent: list[Episode] = field(default_factory=list)  # ended ones that late data may still reach
    # peak of a new baseline (or SILENCED): nothing opens until quiet, a new model, or a surprise a decade above it
    muted: float | None = None
    calm: int = 0  # quiet slots in a row while muted
    openings: list[int] = field(default_factory=list)  # anchors of the newest incidents, within `Rules.memory`
    far: list[int] = field(default_factory=list)  # newest slots that are outside the season on their own
    ended: int = LONG_AGO  # last slot of the incident before
    usual: list[Recurrence] = field(default_factory=list)  # incidents before, and what repeated them
    loud: list[Loud] = field(default_factory=list)  # what was enough for students, opened or not
    echo: bool = False  # students' windows contain the one before, or a repeat: not listened to until they are quiet

    @property
    def idle(self) -> bool:
        """Nothing is going on: a slot below the threshold changes nothing."""
        return self.incident is None and not self.hits and self.muted is None and not self.echo


def strictness(tracker: Tracker, rules: Rules, slot: int) -> float:
    """Decades by which surprises must exceed the threshold: none up to two openings where two are expected.

    The logarithm of the ratio of openings to expected ones, both raised by PATIENCE so that few alerts mean little.
    """
    if not rules.fatigue:
        return 0.0
    recent = sum(slot - opened < rules.memory for opened in tracker.openings)
    return max(0.0, math.log10((recent + PATIENCE) / (EXPECTED + PATIENCE)))


class Transition(NamedTuple):
    """One event to be published. `episode` is the machine's own object: read it before the next step.

    >>> Transition("open", Episode(98, 97, 4.0, 6.5, peak_slot=98, hot=98), slot=98).baseline
    False
    """

    state: IncidentState
    episode: Episode
    slot: int
    baseline: bool = False


class _Slot(NamedTuple):
    """What a slot amounts to."""

    at: int
    value: float  # the larger of what students and season say, on the students' scale
    students: float
    heard: float  # what students say before the season weighs it
    season: Sequence[float] | None
    column: int  # NO_COLUMN: the season does not reach its threshold
    sure: bool  # no second slot is waited for
    judged: bool  # by any of them
    reach: float = 0.0  # as in `Scored`
    off: Off | None = None
    grave: float = 0.0


def step(
    tracker: Tracker,
    rules: Rules,
    slot: int,
    surprise: float,
    counts: bool,
    season: Sequence[float] | None = None,
    reach: float = 0.0,
    off: Off | None = None,
    untimed: bool = False,
    grave: float | None = None,
) -> Transition | None:
    """One scored slot, see `Scored`."""
    scored = surprise == surprise
    students = surprise if counts and scored else 0.0

    def weighed(students: float, stricter: float) -> _Slot:
        now = _weighed(tracker, rules, slot, students, season, stricter, scored, untimed)
        return now._replace(reach=reach, off=off, grave=reach if grave is None else grave)

    if tracker.incident is not None:
        return _during(tracker, tracker.incident, rules, weighed(students, 0.0))
    stricter = strictness(tracker, rules, slot)
    threshold = rules.threshold + stricter
    since = max((tracker.ended, *(past.last for past in tracker.usual if past.until >= 0 and past.told)))
    calm = season is not None and max(season[:HOUR]) < OUTSIDE
    tracker.echo = tracker.echo and students >= closing(threshold) and slot - since < ECHO * rules.stride
    if tracker.echo and since == tracker.ended:
        _contained(tracker, slot)
    if tracker.echo or (calm and slot - since <= WINDOW * rules.stride):
        students = 0.0
    now = weighed(students, stricter)
    rule = rules.season
    if rule is not None and now.season is not None and now.heard >= threshold:
        tracker.loud = with_loud(tracker.loud, _loud(now), rule.day, rule.quiet)
    if tracker.muted is not None:
        tracker.calm = tracker.calm + 1 if now.value < closing(threshold) else 0
        if tracker.calm >= rules.quiet:
            tracker.muted, tracker.calm = None, 0
        else:
            threshold = max(threshold, tracker.muted + DECADE)
    tracker.hits = [hit for hit in tracker.hits if slot - hit < rules.open_window * rules.stride]
    if now.value < threshold:
        if not tracker.hits:
            tracker.far = []  # what was outside on its own before the first hit is not part of what may open now
        return None
    tracker.hits.append(slot)
    if len(tracker.hits) < rules.open_hits and not now.sure:
        return None
    return _open(tracker, rules, now, stricter)


def _weighed(
    tracker: Tracker, rules: Rules, slot: int, students: float, season: Sequence[float] | None, stricter: float,
    scored: bool, untimed: bool,
) -> _Slot:  # fmt: skip
    opens = rules.threshold + stricter
    if season is None or rules.season is None:
        return _Slot(slot, students, students, students, None, NO_COLUMN, students >= opens + SURE, scored)
    more = rules.finer + (UNTIMED if untimed else BESIDE) * max(0.0, 1.0 - max(season[:HOUR]) / SUSPECT)
    alone, students = students, max(0.0, students - more)
    sure = students >= opens + SURE
    tracker.far = [at for at in tracker.far if slot - at < FAR * rules.stride]
    if season[0] >= OUTSIDE:
        tracker.far.append(slot)
    most, column = rules.season.audible(season, slot - tracker.ended)
    # A decade more than it takes is a decade more, whichever family finds it.
    value = most - rules.season_opens + rules.threshold
    near, column_near = rules.season.audible(season[:HOUR], slot - tracker.ended)
    if nearly(rules.threshold, rules.season_near, alone - stricter, near - stricter) and max(students, value) < opens:
        value, column = opens, column_near
    column = column if value >= rules.threshold else NO_COLUMN
    sure = sure or (column != NO_COLUMN and rules.season.hits < 2)
    return _Slot(slot, max(students, value), students, alone, season, column, sure, True)


def _loud(now: _Slot) -> Loud:
    return Loud(now.at, now.at, now.heard, max(now.season[:HOUR]) if now.season is not None else 0.0, now.reach)


def _open(tracker: Tracker, rules: Rules, now: _Slot, stricter: float) -> Transition | None:
    """A new incident; the one before where it goes on; None: one that is known from this time of day."""
    rule = rules.season
    before = _same_again(tracker, rules, now.at)
    if before is not None:
        tracker.recent.remove(before)
        before.ended, before.calm, before.unseen, before.hot = None, 0, 0, now.at
        _went(before, now)
        _raise_peak(before, now)
        tracker.incident, tracker.hits, tracker.calm = before, [], 0
        return revise(before, "revised", now.at)
    window = 0 if rule is None or now.column == NO_COLUMN else max(1, rule.windows[now.column])
    sure = now.value >= rules.threshold + stricter + SURE
    if rule is not None:
        again = habit(tracker.loud, _loud(now), rule.day, rule.around) if now.column == NO_COLUMN else None
        # Told apart slot by slot: what goes on for longer opens.
        if again is not None and not confirmed(tracker.usual, now.at, rule.day, rule.around):
            if all(past.until < now.at for past in tracker.usual):
                tracker.usual = with_repeat(tracker.usual, again, rule.day)
            tracker.hits = []
            return None
        again = repeated(tracker.usual, now.at, now.value, now.reach, window, rule.day, rule.around, now.off, sure)
        if again is not None:
            tracker.usual = with_repeat(tracker.usual, again, rule.day)
            tracker.echo = now.heard >= closing(rules.threshold + stricter)
            return None
    onset = tracker.hits[0] if rule is None else begun(tracker.usual, tracker.hits[0], now.at, rule.quiet)
    if rule is not None and confirmed(tracker.usual, now.at, rule.day, rule.around):
        again = Recurrence(now.at, now.at, now.at, now.at, now.value, confirmed=True)
        tracker.usual = with_incident(tracker.usual, again, True)
    around = 0 if rule is None or now.column == NO_COLUMN else rule.around + rule.windows[now.column]
    episode = Episode(
        anchor=now.at, onset=onset, threshold=rules.threshold, peak=now.value, peak_slot=now.at, hot=now.at,
        stricter=stricter, revised_peak=now.value, column=now.column, around=around,
    )  # fmt: skip
    _went(episode, now)
    tracker.openings = [*(at for at in tracker.openings if now.at - at < rules.memory), now.at][-REMEMBERED:]
    tracker.incident, tracker.hits, tracker.muted, tracker.calm = episode, [], None, 0
    return Transition("open", episode, now.at)


def newest_ended(tracker: Tracker, before: int | None = None) -> Episode | None:
    """The last incident that stands and has ended (before a slot)."""
    stands = (e for e in tracker.recent if not e.retracted and (before is None or e.last() < before))
    return max(stands, key=lambda e: e.last(), default=None)


def _same_again(tracker: Tracker, rules: Rules, slot: int) -> Episode | None:
    """The incident before, if what opens at a slot is that one again."""
    last = newest_ended(tracker)
    if last is None or last.verdict is not None or last.ended != tracker.ended or last.end_reason == "baseline":
        return None
    if last.column == NO_COLUMN:
        again = any(0 < last.anchor - at <= 2 * rules.flaps for at in tracker.openings)
        return last if again and slot - tracker.ended <= rules.flaps else None
    return last if rules.season is not None and slot - tracker.ended <= rules.season.rejoin[last.column] else None


def _contained(tracker: Tracker, slot: int) -> None:
    last = newest_ended(tracker)
    if last is not None and last.ended == tracker.ended:
        last.contained = slot


def _went(episode: Episode, now: _Slot) -> None:
    episode.grave = max(episode.reach if episode.grave is None else episode.grave, now.grave)
    if now.reach > episode.reach:
        episode.reach = now.reach
        if now.off is not None:
            episode.off, episode.channel = now.off.by, now.off.channel


def _raise_peak(episode: Episode, now: _Slot) -> None:
    if now.value > episode.peak:
        episode.peak, episode.peak_slot = now.value, now.at


def _during(tracker: Tracker, episode: Episode, rules: Rules, now: _Slot) -> Transition | None:
    before = episode.severity
    _raise_peak(episode, now)
    rule = rules.season
    if rule is not None and episode.column == NO_COLUMN and now.column != NO_COLUMN:
        episode.column, episode.around = now.column, rule.around + rule.windows[now.column]
    loud = now.students >= closing(episode.threshold + episode.stricter)
    if rule is not None and episode.column != NO_COLUMN:
        # Windows of the students that contain the incident do not hold it open.
        held = now.season is not None and rule.outside(
            episode.column, len(tracker.far), now.season, now.column != NO_COLUMN
        )
        longest = rule.lasting
    else:
        back = now.season is not None and max(now.season[:HOUR]) < OUTSIDE and returned(episode.reach, now.reach)
        held, longest = loud and not back, rules.max_slots
    if held:
        episode.hot, episode.calm, episode.unseen = now.at, 0, 0
        _went(episode, now)
    else:
        episode.calm += 1
        episode.unseen += not now.judged
    if episode.calm >= rules.quiet_of(episode.column):
        tracker.echo = loud
        return end(tracker, now.at, "unseen" if 2 * episode.unseen > episode.calm else "returned")
    if now.at - episode.onset >= longest:
        tracker.muted = episode.peak
        return end(tracker, now.at, "baseline")
    # Beyond that the words for how rare it is do not change any more.
    telling = episode.threshold + episode.stricter + VERY_RARE
    rarer = episode.peak >= episode.revised_peak + DECADE and episode.revised_peak < telling
    return revise(episode, "update", now.at) if rarer or episode.severity != before else None


def revise(episode: Episode, state: IncidentState, slot: int) -> Transition:
    """A further revision."""
    episode.revision += 1
    episode.revised_peak = episode.peak
    return Transition(state, episode, slot)


def end(tracker: Tracker, slot: int, reason: EndReason) -> Transition:
    """Resolve the open incident; it stays within reach of late data."""
    episode = tracker.incident
    assert episode is not None
    episode.ended, episode.end_reason = episode.hot, reason
    if tracker.echo:
        episode.contained = slot
    tracker.recent.append(episode)
    at, last, wanted = episode.anchor, episode.last(), episode.verdict == "true"
    known = Recurrence(at, at, at, last, episode.peak, episode.reach, episode.off, episode.channel, confirmed=wanted)
    tracker.usual = with_incident(tracker.usual, known, reason != "baseline")
    tracker.incident, tracker.hits = None, []
    tracker.ended = episode.hot
    return revise(episode, "resolved", slot)._replace(baseline=reason == "baseline")


def belongs(tracker: Tracker, slot: int) -> Episode | None:
    """The open incident, if the slot is its newest or its most surprising one."""
    incident = tracker.incident
    return incident if incident is not None and slot in (incident.hot, incident.peak_slot) else None

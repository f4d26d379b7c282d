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
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from detector.incidents.season_rule import FAR, OUTSIDE, SeasonRule
from detector.incidents.severity import severity_of
from streamer.contracts import IncidentState, Severity, StreamSettings

# Any fixed value would do: it makes ids of this project differ from other uuid5 ids of the same text.
NAMESPACE = uuid.UUID("6f1c1d0e-53a0-5a0e-9a53-3f0a6b0f7e11")
WEEK_NS = 7 * 86_400 * 10**9
# Bounds of a threshold: below the lower one surprises are no tail any more (1 slot in 30), above the upper one they
# hardly grow (their cap is 12), so that nothing would alert.
LOWEST, HIGHEST = 1.5, 11.0
SURE = 3.0  # a thousand times rarer than the threshold: no second slot is waited for
HYSTERESIS = 1.0  # an incident holds until slots are ten times as likely as the threshold
DECADE = 1.0
PER_WEEK = 0.1  # false alerts a stream where nothing is set: a hundred a week of a thousand streams
LEAST_BUDGET = 0.0316  # a threshold of 5.5: surprises end at about 6.4
# Two of three slots at 5 decades came .02 to .22 times per week on streams that nobody had tuned on, asked for .1.
SEASON_OPENS, SEASON_PER_WEEK = 5.0, 0.1
NO_COLUMN = -1  # of an incident that the season has not seen
LONG_AGO = -(1 << 60)
ECHO = 1024  # slots after an incident in which the students' windows may still contain it
# A stream that alerts far more often than its alert budget allows is judged more strictly until it is calmer: openings
# are remembered for as long as EXPECTED false ones are expected, and more than that raise what opens the next one.
EXPECTED, PATIENCE = 2.0, 3.0
REMEMBERED = 128  # openings at most: 1.4 decades
SILENCED = 99.0  # a muted peak that no surprise exceeds: a person has called the incident a false alarm


def budget_of(settings: StreamSettings, interval_ns: int) -> float:
    """Expected false alerts in 10 000 slots of a stream with so many ns a slot, whichever setting gives them.

    Where none does: `PER_WEEK`, but no rarer than students can tell (`LEAST_BUDGET`), whose surprises are backed by the
    8 192 slots of their history.

    >>> budget_of(StreamSettings(alerts_per_week=6.048), interval_ns=10**9)
    0.1
    """
    if settings.alerts_per_week is not None:
        return settings.alerts_per_week * 10_000 * interval_ns / WEEK_NS
    if "alert_budget" in settings.model_fields_set:
        return settings.alert_budget
    return max(PER_WEEK * 10_000 * interval_ns / WEEK_NS, LEAST_BUDGET)


def threshold_of(alert_budget: float) -> float:
    """Surprise whose expected number of false alerts in 10 000 slots is `alert_budget`: 4.0 for 1.

    It stays within LOWEST and HIGHEST: one alert a week at 1 000 Hz, or 100 a week of daily values, ask for more than
    surprises can resolve.

    >>> threshold_of(1.0), threshold_of(10.0)
    (4.0, 3.0)
    """
    return min(max(-math.log10(alert_budget / 10_000), LOWEST), HIGHEST)


def incident_id(stream: str, grid_version: int, anchor: int, kind: str = "anomaly") -> str:
    """Identity of an incident; the model has no part in it."""
    suffix = "" if kind == "anomaly" else f"\n{kind}"
    return str(uuid.uuid5(NAMESPACE, f"{stream}\n{grid_version}\n{anchor}{suffix}"))


# An incident that lasts longer is the stream's new normal: by then a refit on it has as many slots as a first fit on
# enough of them.
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
    update_every: int = 64
    max_slots: int = BASELINE_SLOTS
    stride: int = 1
    fatigue: bool = True
    season: SeasonRule | None = None  # of streams whose slots have blocks
    season_opens: float = SEASON_OPENS  # surprise of the season that opens an incident

    @property
    def memory(self) -> float:
        """Slots in which EXPECTED false alerts are expected."""
        return EXPECTED * math.pow(10.0, self.threshold)


def season_opens_of(per_week: float) -> float:
    """Surprise of the season that opens an incident, by the false alerts expected per week: a decade for a tenth of them.

    >>> season_opens_of(0.1), season_opens_of(1.0)
    (5.0, 4.0)
    """
    return max(SEASON_OPENS + math.log10(SEASON_PER_WEEK / per_week), LOWEST)


def closing(threshold: float) -> float:
    """Slots below this are quiet. A low threshold (a large budget) is halved rather than taken below zero."""
    return max(threshold - HYSTERESIS, threshold / 2)


@dataclass(slots=True)
class Episode:
    """One incident. `anchor` (its identity) and `threshold` are fixed at the opening."""

    anchor: int
    onset: int  # first surprising slot
    threshold: float  # of the stream's alert budget …
    peak: float
    peak_slot: int
    hot: int  # newest slot at or above the closing threshold
    stricter: float = 0.0  # … and how many decades more it took
    revision: int = 0
    revised_peak: float = 0.0  # peak at the newest revision
    length: int = 1  # scored slots since the opening
    revise_at: int = 0  # length of the next periodic update
    calm: int = 0  # scored slots in a row below the closing threshold
    ended: int | None = None
    retracted: bool = False
    verdict: str | None = None  # of a person
    column: int = NO_COLUMN  # average of the season that was most surprised at the opening
    reach: float = 0.0  # farthest that a value lay outside what was usual, in widths of the band; 0: never, or unknown
    around: int = 0  # slots on both sides of it that teach nothing, where the season has seen it
    evidence: dict[str, Any] = field(default_factory=dict)  # of the peak slot, see detector/live/evidence.py

    @property
    def severity(self) -> Severity:
        """By how rare, how long and how far outside, see `detector.incidents.severity`."""
        return severity_of(self.peak - self.threshold - self.stricter, self.last() - self.onset + 1, self.reach)

    def last(self) -> int:
        """Its newest slot."""
        return self.hot if self.ended is None else self.ended


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
    ended: int = LONG_AGO  # last slot of the incident before …
    column: int = NO_COLUMN  # … and its column
    echo: bool = False  # the students' windows still contain it: they are not listened to until they are quiet

    @property
    def idle(self) -> bool:
        """Nothing is going on: a slot below the threshold changes nothing."""
        return self.incident is None and not self.hits and self.muted is None


def strictness(tracker: Tracker, rules: Rules, slot: int) -> float:
    """Decades by which surprises must exceed the threshold: none up to two openings where two are expected.

    The logarithm of the ratio of openings to expected ones, both raised by PATIENCE so that few alerts mean little.
    """
    if not rules.fatigue:
        return 0.0
    recent = sum(slot - opened < rules.memory for opened in tracker.openings)
    return max(0.0, math.log10((recent + PATIENCE) / (EXPECTED + PATIENCE)))


class Transition(NamedTuple):
    """One event to be published. `episode` is the machine's own object: read it before the next step."""

    state: IncidentState
    episode: Episode
    slot: int
    baseline: bool = False


class Scored(NamedTuple):
    """One scored slot.

    `surprise` of the students, NaN when the slot could not be scored: that is no evidence, hence quiet. `counts`:
    direction, floors and pauses let the slot count. `season`: surprise by column (detector/persistence.py), None where
    there is no season or its slot does not count. `reach`: widths of the season's band that the value lies outside it.
    """

    slot: int
    surprise: float
    counts: bool
    season: Sequence[float] | None = None
    reach: float = 0.0


class _Slot(NamedTuple):
    """What a slot amounts to."""

    at: int
    value: float  # the larger of what students and season say, on the students' scale
    students: float
    season: Sequence[float] | None
    column: int  # NO_COLUMN: the season does not reach its threshold
    sure: bool  # no second slot is waited for


def step(
    tracker: Tracker,
    rules: Rules,
    slot: int,
    surprise: float,
    counts: bool,
    season: Sequence[float] | None = None,
    reach: float = 0.0,
) -> Transition | None:
    """One scored slot, see `Scored`."""
    students = surprise if counts and surprise == surprise else 0.0
    if tracker.incident is not None:
        return _during(tracker, tracker.incident, rules, _weighed(tracker, rules, slot, students, season, 0.0), reach)
    stricter = strictness(tracker, rules, slot)
    threshold = rules.threshold + stricter
    if tracker.echo:
        tracker.echo = students >= closing(threshold) and slot - tracker.ended < ECHO * rules.stride
        students = 0.0 if tracker.echo else students
    now = _weighed(tracker, rules, slot, students, season, stricter)
    if tracker.muted is not None:
        tracker.calm = tracker.calm + 1 if now.value < closing(threshold) else 0
        if tracker.calm >= rules.quiet:
            tracker.muted, tracker.calm = None, 0
        else:
            threshold = max(threshold, tracker.muted + DECADE)
    tracker.hits = [hit for hit in tracker.hits if slot - hit < rules.open_window * rules.stride]
    if now.value < threshold:
        return None
    tracker.hits.append(slot)
    if len(tracker.hits) < rules.open_hits and not now.sure:
        return None
    return _open(tracker, rules, now, stricter, reach)


def _weighed(
    tracker: Tracker, rules: Rules, slot: int, students: float, season: Sequence[float] | None, stricter: float
) -> _Slot:
    sure = students >= rules.threshold + stricter + SURE
    if season is None or rules.season is None:
        return _Slot(slot, students, students, None, NO_COLUMN, sure)
    tracker.far = [at for at in tracker.far if slot - at < FAR * rules.stride]
    if season[0] >= OUTSIDE:
        tracker.far.append(slot)
    most, column = rules.season.audible(season, slot - tracker.ended)
    # A decade more than it takes is a decade more, whoever says it.
    value = most - rules.season_opens + rules.threshold
    if value < rules.threshold:
        column = NO_COLUMN
    sure = sure or (column != NO_COLUMN and rules.season.hits < 2)
    return _Slot(slot, max(students, value), students, season, column, sure)


def _open(tracker: Tracker, rules: Rules, now: _Slot, stricter: float, reach: float) -> Transition:
    """A new incident, or the one before again where it is the same."""
    last = tracker.recent[-1] if tracker.recent else None
    rule = rules.season
    if rule is not None and last is not None and _same_again(tracker, rule, last, now.at):
        tracker.recent.pop()
        last.ended, last.calm, last.hot = None, 0, now.at
        _raise_peak(last, now)
        tracker.incident, tracker.hits = last, []
        return revise(last, "revised", now.at)
    around = 0 if rule is None or now.column == NO_COLUMN else rule.around + rule.windows[now.column]
    episode = Episode(
        anchor=now.at, onset=tracker.hits[0], threshold=rules.threshold, peak=now.value, peak_slot=now.at, hot=now.at,
        stricter=stricter, revised_peak=now.value, revise_at=rules.update_every, column=now.column, around=around, reach=reach,
    )  # fmt: skip
    tracker.openings = [*(at for at in tracker.openings if now.at - at < rules.memory), now.at][-REMEMBERED:]
    tracker.incident, tracker.hits, tracker.muted, tracker.calm = episode, [], None, 0
    return Transition("open", episode, now.at)


def _same_again(tracker: Tracker, rule: SeasonRule, last: Episode, slot: int) -> bool:
    """Whether what opens at a slot is the incident before again."""
    if tracker.column == NO_COLUMN or last.ended != tracker.ended or last.retracted or last.verdict is not None:
        return False
    return slot - tracker.ended <= rule.rejoin[tracker.column]


def _raise_peak(episode: Episode, now: _Slot) -> None:
    if now.value > episode.peak:
        episode.peak, episode.peak_slot = now.value, now.at


def _during(tracker: Tracker, episode: Episode, rules: Rules, now: _Slot, reach: float) -> Transition | None:
    before = episode.severity
    episode.length += 1
    _raise_peak(episode, now)
    rule = rules.season
    timed = rule is not None and now.season is not None
    if timed and episode.column == NO_COLUMN and now.column != NO_COLUMN and rule is not None:
        episode.column, episode.around = now.column, rule.around + rule.windows[now.column]
    if timed and episode.column != NO_COLUMN and rule is not None and now.season is not None:
        # Windows of the students that contain the incident do not hold it open.
        held = rule.outside(episode.column, len(tracker.far), now.season, now.column != NO_COLUMN)
        quiet, longest = rule.quiet, rule.day
    else:
        held = now.students >= closing(episode.threshold + episode.stricter)
        quiet, longest = rules.quiet, rules.max_slots
    if held:
        episode.hot, episode.calm, episode.reach = now.at, 0, max(episode.reach, reach)
    else:
        episode.calm += 1
    if episode.calm >= quiet:
        tracker.echo = now.students >= closing(episode.threshold + episode.stricter)
        return end(tracker, now.at)
    if now.at - episode.onset >= longest:
        tracker.muted = episode.peak
        return end(tracker, now.at)._replace(baseline=True)
    periodic = episode.length >= episode.revise_at
    if periodic:
        episode.revise_at *= 2
    if not (periodic or episode.severity != before or episode.peak >= episode.revised_peak + DECADE):
        return None
    return revise(episode, "update", now.at)


def revise(episode: Episode, state: IncidentState, slot: int) -> Transition:
    """A further revision."""
    episode.revision += 1
    episode.revised_peak = episode.peak
    return Transition(state, episode, slot)


def end(tracker: Tracker, slot: int) -> Transition:
    """Resolve the open incident; it stays within reach of late data."""
    episode = tracker.incident
    assert episode is not None
    episode.ended = episode.hot
    tracker.recent.append(episode)
    tracker.incident, tracker.hits = None, []
    tracker.ended, tracker.column = episode.hot, episode.column
    return revise(episode, "resolved", slot)


def forget_before(tracker: Tracker, slot: int) -> list[Episode]:
    """Drop ended incidents that no late point can reach any more, and return them."""
    gone = [episode for episode in tracker.recent if episode.last() < slot]
    tracker.recent = [episode for episode in tracker.recent if episode.last() >= slot]
    return gone

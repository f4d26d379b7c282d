"""A stream as it stands, as plain data: grid, judgement, model, dial and what is open.

States of a stream:

| state | meaning |
| --- | --- |
| `unseen` | settings, but no point yet |
| `waiting` | points, but its interval is not known yet |
| `irregular` | its points follow no interval: kept, not judged |
| `unjudged` | on its grid, and the detector has not judged it; `why` says for what reason |
| `warming` | judged by the generic prior, or by a student that has seen few slots |
| `shadow` | judged by the generic prior, since the gate refused its student; `why` is the gate's reason |
| `ready` | judged by a student that has seen enough |
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from streamer.contracts import Severity, StreamSettings
from streamer.windows.standing import OpenIncident

State = Literal["unseen", "waiting", "irregular", "unjudged", "warming", "shadow", "ready"]
STATES: tuple[State, ...] = ("ready", "warming", "shadow", "unjudged", "irregular", "waiting", "unseen")
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
WORST: dict[str, int] = {name: place for place, name in enumerate(reversed(SEVERITIES), 1)}
_DEFAULT_DIAL = "0.1/week"


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One stream."""

    name: str
    partition: int
    state: State
    why: str | None = None
    interval_s: float | None = None
    season: str | None = None  # in words; None: none yet
    channels: list[str] = field(default_factory=list)
    slots: int = 0  # of its window
    points: int = 0  # ever
    last_point: float | None = None  # event time of its newest slot, Unix seconds
    last_seen: float | None = None  # when the newest point was recorded, Unix seconds
    score: float | None = None  # surprise of the newest judged slot
    passed_over: float | None = None  # beginning of what was last passed over, since it comes at its time, Unix seconds
    model: str | None = None  # version in force
    model_slots: int = 0  # that it has seen
    shadow: str | None = None  # version that the gate has refused
    refused: str | None = None  # … and why
    student_missing: str | None = None  # the detector cannot read its artefact, and why
    dial: str = _DEFAULT_DIAL
    paused: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    open: list[OpenIncident] = field(default_factory=list)

    @property
    def worst(self) -> Severity | None:
        """Severity of the worst incident that is open."""
        return max((incident.severity for incident in self.open), key=WORST.__getitem__, default=None)


def season_of(words: str | None) -> str:
    """A season's words in one.

    >>> [season_of(w) for w in ("usual at this time", "usual at this time of a Monday", "usual", None)]
    ['day', 'week', 'level', '–']
    """
    if words is None:
        return "–"
    if " of a " in words:
        return "workdays" if words.endswith(("workday", "weekend day")) else "week"
    return "day" if words.endswith("time") else "level"


def dial_of(own: StreamSettings) -> str:
    """The expected false alerts that a stream's settings ask for.

    >>> dial_of(StreamSettings(alert_budget=2)), dial_of(StreamSettings(alerts_per_week=1)), dial_of(StreamSettings())
    ('2/10k slots', '1/week', '0.1/week')
    """
    if own.alert_budget is not None:
        return f"{own.alert_budget:g}/10k slots"
    return _DEFAULT_DIAL if own.alerts_per_week is None else f"{own.alerts_per_week:g}/week"


@dataclass(frozen=True, slots=True)
class Tally:
    """Streams counted."""

    total: int
    by_state: dict[str, int]
    why: dict[str, dict[str, int]]  # state → reason → streams
    paused: int
    open_by_severity: dict[str, int]  # incidents


def tally(rows: Sequence[StreamRow]) -> Tally:
    """Streams by state and open incidents by severity.

    >>> tally([StreamRow("a", 0, "ready"), StreamRow("b", 1, "unseen")]).by_state
    {'ready': 1, 'unseen': 1}
    """
    states = Counter(row.state for row in rows)
    why: dict[str, Counter[str]] = {}
    for row in rows:
        if row.why and row.state in ("unjudged", "shadow", "irregular"):
            why.setdefault(row.state, Counter())[row.why] += 1
    severities = Counter(incident.severity for row in rows for incident in row.open)
    return Tally(
        len(rows),
        {state: states[state] for state in STATES if states[state]},
        {state: dict(found.most_common()) for state, found in why.items()},
        sum(row.paused for row in rows),
        {name: severities[name] for name in SEVERITIES if severities[name]},
    )

"""What the detector reports of itself: its counters and gauges, kept as streams change."""

from collections import Counter
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from detector.incidents.record import StreamState
from detector.model.interface import Bank, InstallableBank
from detector.training.due import stage
from streamer.unjudged import REASONS, UnjudgedReason

if TYPE_CHECKING:
    from detector.live.cache import Entry
    from detector.live.judge import Judge
    from detector.live.streams import OwnedStreams

STAGES = ("cold", "warming", "ready")


class Counted(NamedTuple):
    """What one stream counts for."""

    stage: str | None  # None: its window is not in memory
    incidents: int  # open ones
    unjudged: UnjudgedReason | None = None  # told
    fitted: float = 0.0  # when its model was, Unix seconds; 0: it has none


_NOTHING = Counted(None, 0)


class Census:
    """Counts over all streams in memory. Once a second only those are looked at that have changed since.

    >>> census = Census()
    >>> census.count("a", Counted("cold", 1))
    >>> census.count("a", Counted("ready", 0))
    >>> census.stages, census.incidents
    ({'cold': 0, 'warming': 0, 'ready': 1}, 0)
    """

    def __init__(self) -> None:
        self.stages = dict.fromkeys(STAGES, 0)
        self.incidents = 0
        self.unjudged: Counter[UnjudgedReason] = Counter()  # by why they are not
        self.fitted: Counter[float] = Counter()  # moment of fitting → streams
        self._changed: set[str] = set()
        self._of: dict[str, Counted] = {}

    def mark(self, stream: str) -> None:
        """Its window, state or student has come, changed or gone."""
        self._changed.add(stream)

    def refresh(self, entries: "Mapping[str, Entry]", states: Mapping[str, StreamState], bank: Bank) -> int:
        """Count the marked streams anew; returns how many there were."""
        many = len(self._changed)
        for stream in self._changed:
            self.count(stream, counted(stream, entries.get(stream), states.get(stream), bank))
        self._changed.clear()
        return many

    def count(self, stream: str, now: Counted) -> None:
        """Put one stream's share in the place of its former one."""
        before = self._of.pop(stream, _NOTHING)
        if before.stage is not None:
            self.stages[before.stage] -= 1
        if now.stage is not None:
            self.stages[now.stage] += 1
        self.incidents += now.incidents - before.incidents
        if before.unjudged is not None:
            self.unjudged[before.unjudged] -= 1
        if now.unjudged is not None:
            self.unjudged[now.unjudged] += 1
        if before.fitted:
            self.fitted[before.fitted] -= 1
            if not self.fitted[before.fitted]:
                del self.fitted[before.fitted]
        if now.fitted:
            self.fitted[now.fitted] += 1
        if now != _NOTHING:
            self._of[stream] = now


def counted(stream: str, entry: "Entry | None", state: StreamState | None, bank: Bank) -> Counted:
    """What a stream counts for as it is now."""
    where, fitted = None, 0.0
    if entry is not None:
        ref = bank.model_of(stream)
        where = stage(ref.points if ref and ref.grid_version == entry.grid_version else 0)
        fitted = fitted_at(ref.version) if ref else 0.0
    if state is None:
        return Counted(where, 0, fitted=fitted)
    open_one = state.tracker.incident
    incidents = (open_one is not None and open_one.announced_from is not None) + (state.no_data is not None)
    return Counted(where, incidents, None if state.unjudged is None else state.unjudged.why, fitted)


def refresh(counts: MutableMapping[str, float], judge: "Judge", bank: InstallableBank, streams: "OwnedStreams") -> None:
    """Bring the counts up to date: a pass over the streams that have changed."""
    census = streams.census
    census.refresh(streams.entries, streams.states, bank)
    counts["windows_scored"] = judge.windows
    counts["teacher_windows"] = judge.teacher_windows
    counts["passed_over"] = judge.passed_over
    counts["held_back"] = streams.budget.held_back
    counts["teacher_share"] = round(judge.teacher_windows / max(1, judge.windows), 4)
    counts["streams_with_teacher"] = bank.with_teacher()
    for name, count in census.stages.items():
        counts[f"streams_{name}"] = count
    for reason in REASONS:
        if reason != "waiting":  # the streamer's: no window comes of those
            counts[f"streams_unjudged_{reason}"] = census.unjudged[reason]
    counts["streams_unjudged"] = census.unjudged.total()
    counts["open_incidents"] = census.incidents
    fitted = census.fitted
    counts["newest_model_at"], counts["oldest_model_at"] = (max(fitted), min(fitted)) if fitted else (0.0, 0.0)


@lru_cache(maxsize=4096)
def fitted_at(version: str) -> float:
    """Unix seconds at which a model was fitted, of which its version begins with the milliseconds; 0 where it does not.

    >>> fitted_at("0195b1a2c3d4-0f0f1a2b"), fitted_at("v1")
    (1742441989.076, 0.0)
    """
    try:
        return int(version.partition("-")[0], 16) / 1000
    except ValueError:
        return 0.0

"""Streams ask for training by themselves, in the worker's turn."""

from typing import Protocol

from detector.incidents.machine import Transition
from detector.incidents.record import Verdict
from detector.live.cache import Entry
from detector.live.settings import WorkerSettings
from detector.training.due import Wish, asking, known_of, pending, wish
from streamer.contracts import ModelRecord, TrainingRequest

# A stream is thought about again after so many slots: a request that is late by that much does no harm.
LOOK_EVERY = 32


class Turn(Protocol):
    """What is needed of `detector.live.decisions.Turn`."""

    @property
    def now_ms(self) -> int:
        """Clock, Unix milliseconds."""
        ...

    def now(self) -> str:
        """The same, RFC 3339."""
        ...

    def request(self, request: TrainingRequest) -> None:
        """Ask for training."""
        ...


def ask_if_due(
    turn: Turn, settings: WorkerSettings, entry: Entry, verdict: Verdict, record: ModelRecord | None
) -> None:
    """Ask for what the stream needs now, if anything and if nothing is pending."""
    known = known_of(record, entry.grid_version)
    entry.look_at = entry.hi + LOOK_EVERY
    if entry.state != "grid" or pending(verdict.asked, known, turn.now_ms, settings):
        return
    want = wish(entry.filled, entry.hi, entry.capacity, known, verdict.asked, settings)
    if want is None:
        if known.points == 0:
            entry.look_at = entry.hi + min(LOOK_EVERY, max(settings.min_history - entry.filled, 1))
        return
    _ask(turn, entry, verdict, record, want, None)


def ask_after_shift(turn: Turn, entry: Entry, verdict: Verdict, record: ModelRecord | None, shift: Transition) -> None:
    """A new baseline: learn what the stream has done since the shift."""
    _ask(turn, entry, verdict, record, Wish("drift", "full"), (shift.episode.onset, shift.slot))


def _ask(
    turn: Turn, entry: Entry, verdict: Verdict, record: ModelRecord | None, want: Wish, span: tuple[int, int] | None
) -> None:
    known = known_of(record, entry.grid_version)
    verdict.asked = asking(want, entry.hi, known, verdict.asked, turn.now_ms)
    oldest = entry.hi - entry.capacity
    exclude = [(first, last) for first, last in verdict.exclude if last > oldest]
    incident = verdict.state.incident
    if incident is not None:
        exclude.append((incident.onset, entry.hi))
    turn.request(
        TrainingRequest(
            stream=entry.stream,
            reason=want.reason,
            job=want.job,
            span=span,
            grid_version=entry.grid_version,
            exclude=exclude,
            requested_at=turn.now(),
        )
    )

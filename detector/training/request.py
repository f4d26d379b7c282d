"""Streams ask for training by themselves, in the worker's turn."""

from typing import Protocol

from detector.incidents.machine import Transition
from detector.incidents.record import StreamState
from detector.live.cache import Entry
from detector.live.settings import WorkerSettings
from detector.training.due import Need, facts_of, is_pending, need_of, note_of
from streamer.contracts import ModelRecord, TrainingRequest

# A stream is thought about again after so many slots: a request that is late by that much does no harm.
LOOK_EVERY = 32


class TrainingOutlet(Protocol):
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
    outlet: TrainingOutlet,
    settings: WorkerSettings,
    entry: Entry,
    stream_state: StreamState,
    record: ModelRecord | None,
) -> None:
    """Ask for what the stream needs now, if anything and if nothing is pending."""
    facts = facts_of(record, entry.grid_version)
    entry.look_at = entry.hi + LOOK_EVERY
    if entry.state != "grid" or is_pending(stream_state.pending, facts, outlet.now_ms, settings):
        return
    want = need_of(entry.filled, entry.hi, entry.capacity, facts, stream_state.pending, settings)
    if want is None:
        if facts.points == 0:
            entry.look_at = entry.hi + min(LOOK_EVERY, max(settings.min_history - entry.filled, 1))
        return
    _ask(outlet, entry, stream_state, record, want, None)


def ask_after_shift(
    outlet: TrainingOutlet, entry: Entry, stream_state: StreamState, record: ModelRecord | None, shift: Transition
) -> None:
    """A new baseline: learn what the stream has done since the shift."""
    _ask(outlet, entry, stream_state, record, Need("drift", "full"), (shift.episode.onset, shift.slot))


def _ask(
    outlet: TrainingOutlet,
    entry: Entry,
    stream_state: StreamState,
    record: ModelRecord | None,
    want: Need,
    span: tuple[int, int] | None,
) -> None:
    facts = facts_of(record, entry.grid_version)
    stream_state.pending = note_of(want, entry.hi, facts, stream_state.pending, outlet.now_ms)
    oldest = entry.hi - entry.capacity
    exclude = [(first, last) for first, last in stream_state.exclude if last > oldest]
    incident = stream_state.tracker.incident
    if incident is not None:
        exclude.append((incident.onset, entry.hi))
    outlet.request(
        TrainingRequest(
            stream=entry.stream,
            reason=want.reason,
            job=want.job,
            span=span,
            grid_version=entry.grid_version,
            exclude=exclude,
            requested_at=outlet.now(),
        )
    )

"""A stream's training request: written when it is due, and after a shift to a new baseline."""

from typing import Protocol

from detector.incidents.machine import Transition
from detector.incidents.record import StreamState
from detector.training.due import DAY_NS, Need, TrainingPace, facts_of, is_pending, need_of, note_of
from streamer.contracts import ModelRecord, TrainingRequest
from streamer.windows.coarse import BLOCKS, BLOCKS_NS
from streamer.windows.header import GridState

# Slots after which it is considered again what a stream needs: a request that is late by so many does no harm.
CONSIDER_EVERY = 32
KEPT_NS = BLOCKS * min(BLOCKS_NS)  # the coarse ring reaches back so far: what is never learnt from must


class StreamHistory(Protocol):
    """What must be known of a stream's window (`detector.live.cache.Entry` is one)."""

    stream: str
    grid_version: int
    state: GridState  # only streams on a regular grid are trained
    hi: int  # newest slot
    filled: int  # slots with data
    capacity: int  # slots of the ring
    interval_ns: int
    consider_at: int  # newest slot from which its need is considered again


class TrainingOutlet(Protocol):
    """Where requests go (`detector.live.decisions.Decisions` is one)."""

    @property
    def now_ms(self) -> int:
        """Clock, Unix milliseconds."""
        ...

    def now(self) -> str:
        """The same moment, RFC 3339."""
        ...

    def request(self, request: TrainingRequest) -> None:
        """Publish a request."""
        ...


def ask_if_due(
    outlet: TrainingOutlet,
    pace: TrainingPace,
    history: StreamHistory,
    stream_state: StreamState,
    record: ModelRecord | None,
) -> None:
    """Ask for what the stream needs now, if anything and if nothing is pending."""
    facts = facts_of(record, history.grid_version)
    history.consider_at = history.hi + CONSIDER_EVERY
    if history.state != "grid" or is_pending(stream_state.pending, facts, outlet.now_ms):
        return
    need = need_of(
        history.filled, history.hi, history.capacity, facts, stream_state.pending, pace, DAY_NS // history.interval_ns
    )
    if need is None:
        if facts.points == 0:
            history.consider_at = history.hi + min(CONSIDER_EVERY, max(pace.min_history - history.filled, 1))
        return
    _ask(outlet, history, stream_state, record, need, None)


def ask_after_shift(
    outlet: TrainingOutlet, history: StreamHistory, stream_state: StreamState, record: ModelRecord | None,
    shift: Transition,
) -> None:  # fmt: skip
    """A new baseline: ask for a fit on what the stream has done since the shift."""
    _ask(outlet, history, stream_state, record, Need("drift", "full"), (shift.episode.onset, shift.slot))


def _ask(
    outlet: TrainingOutlet,
    history: StreamHistory,
    stream_state: StreamState,
    record: ModelRecord | None,
    need: Need,
    span: tuple[int, int] | None,
) -> None:
    facts = facts_of(record, history.grid_version)
    stream_state.pending = note_of(need, history.hi, facts, stream_state.pending, outlet.now_ms)
    oldest = history.hi - max(history.capacity, KEPT_NS // history.interval_ns)
    exclude = [(first, last) for first, last in stream_state.exclude if last > oldest]
    incident = stream_state.tracker.incident
    if incident is not None:
        exclude.append((incident.onset, history.hi))
    outlet.request(
        TrainingRequest(
            stream=history.stream,
            reason=need.reason,
            job=need.job,
            span=span,
            grid_version=history.grid_version,
            exclude=exclude,
            requested_at=outlet.now(),
        )
    )

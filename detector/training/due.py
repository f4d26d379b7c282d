"""When a stream asks for training: cold, due, drifting, or with fresh normal windows for its prototypes."""

from typing import Literal, NamedTuple, Protocol

from detector.incidents.record import PendingRequest
from streamer.contracts import READY_SLOTS, ModelRecord, TrainingReason

# A ring with a few gaps never fills to the last slot.
FULL_SHARE = 0.95
DAY_NS = 86_400 * 10**9
# An unanswered request (no trainer, a model that fails the gate) is repeated after a minute, in which a trainer fits some
# fifty streams, then ever more rarely, up to once an hour.
PENDING_S, MAX_PENDING_S = 60.0, 3600.0


class TrainingPace(Protocol):
    """The settings of the detector worker that decide when to ask."""

    @property
    def min_history(self) -> int:
        """Slots with data before the first training."""
        ...

    @property
    def refit_slots(self) -> int | None:
        """New slots between full fits once the history is full; None: half the stream's capacity."""
        ...

    @property
    def update_slots(self) -> int:
        """New slots between prototype updates of a stream that is ready."""
        ...


class Need(NamedTuple):
    """What a stream needs."""

    reason: TrainingReason
    job: Literal["full", "prototypes"]


class ModelFacts(NamedTuple):
    """What the newest model record says of the stream's grid."""

    points: int  # slots with data the fit has seen; 0: there is no model
    last_slot: int  # newest slot it has learnt from
    announced: str | None


NO_MODEL = ModelFacts(0, -1, None)


def facts_of(record: ModelRecord | None, grid_version: int) -> ModelFacts:
    """The largest fit among the promoted and the shadow model: one that failed the gate was fitted, too."""
    if record is None:
        return NO_MODEL
    refs = [ref for ref in (record.promoted, record.shadow) if ref is not None and ref.grid_version == grid_version]
    if not refs:
        return ModelFacts(0, -1, record.announced_at)
    return ModelFacts(max(r.points for r in refs), max(r.trained_slots[1] for r in refs), record.announced_at)


def stage(points: int) -> Literal["cold", "warming", "ready"]:
    """Life of a student by the slots it was fitted on."""
    return "cold" if points == 0 else "warming" if points < READY_SLOTS else "ready"


def is_pending(pending: PendingRequest | None, facts: ModelFacts, now_ms: int) -> bool:
    """A request is out and neither answered nor overdue."""
    if pending is None or pending.announced != facts.announced:
        return False
    wait_s: float = min(PENDING_S * 2 ** (pending.tries - 1), MAX_PENDING_S)
    return now_ms - pending.at_ms < wait_s * 1000


def need_of(
    filled: int,
    newest: int,
    capacity: int,
    facts: ModelFacts,
    pending: PendingRequest | None,
    pace: TrainingPace,
    day: int = 1 << 62,
) -> Need | None:
    """What the stream should ask for now, by the slots with data it has (`filled`) and its newest slot.

    A full fit at `min_history` slots, at every doubling up to a full ring, and then once every `refit_slots`; the
    cheaper update of its prototypes and of its season in between, at the latest when a `day` of slots has passed.
    """
    if facts.points == 0:
        return Need("cold", "full") if filled >= pace.min_history else None
    full_slot = max(facts.last_slot if pending is None else pending.full_slot, -1)
    # 512, 1024, … up to a full ring. A fit that used few of the slots it was given is not repeated at once.
    doubled = filled >= min(2 * facts.points, FULL_SHARE * capacity)
    fresh = newest - full_slot >= min(facts.points, pace.update_slots)
    if facts.points < FULL_SHARE * capacity and doubled and fresh:
        return Need("due", "full")
    if full_slot >= 0 and newest - full_slot >= (pace.refit_slots or capacity // 2):
        return Need("due", "full")
    learnt = max(facts.last_slot, -1 if pending is None else pending.slot)
    if facts.points >= min(READY_SLOTS, day) and newest - learnt >= min(pace.update_slots, max(day, 1)):
        return Need("due", "prototypes")
    return None


def note_of(need: Need, newest: int, facts: ModelFacts, pending: PendingRequest | None, now_ms: int) -> PendingRequest:
    """What is remembered of a request that is being sent."""
    again = pending is not None and pending.announced == facts.announced and pending.job == need.job
    before = pending.full_slot if pending is not None else facts.last_slot
    return PendingRequest(
        at_ms=now_ms,
        slot=newest,
        reason=need.reason,
        job=need.job,
        announced=facts.announced,
        tries=pending.tries + 1 if again and pending is not None else 1,
        full_slot=newest if need.job == "full" else before,
    )

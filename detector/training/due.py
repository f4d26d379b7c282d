"""When a stream asks for training: cold, due, drifting, or with fresh normal windows for its prototypes."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from detector.live.settings import WorkerSettings
from streamer.contracts import ModelRecord, TrainingReason

# Slots with data from which a student counts as fitted on enough.
READY_SLOTS = 1024
# A ring with a few gaps never fills to the last slot.
FULL_SHARE = 0.95
# An unanswered request (no trainer, a model that fails the gate) is repeated ever more rarely, up to this.
MAX_PENDING_S = 3600.0


@dataclass(slots=True)
class PendingRequest:
    """The newest training request of a stream."""

    at_ms: int
    slot: int  # newest slot at that moment
    reason: TrainingReason
    job: str
    announced: str | None  # `announced_at` of the model record then known: a newer one is the answer
    tries: int = 1
    full_slot: int = -1  # newest slot at the newest request for a full fit


class Need(NamedTuple):
    """What to ask for."""

    reason: TrainingReason
    job: Literal["full", "prototypes"]


class ModelFacts(NamedTuple):
    """What the newest model record says of the stream's grid."""

    points: int  # slots with data the fit has seen; 0: there is no model
    last_slot: int  # newest slot it has learnt from
    announced: str | None


NO_MODEL = ModelFacts(0, -1, None)


def facts_of(record: ModelRecord | None, grid_version: int) -> ModelFacts:
    """The largest fit among promoted and shadow; a model that failed the gate has been tried, too."""
    if record is None:
        return NO_MODEL
    refs = [ref for ref in (record.promoted, record.shadow) if ref is not None and ref.grid_version == grid_version]
    if not refs:
        return ModelFacts(0, -1, record.announced_at)
    return ModelFacts(max(r.points for r in refs), max(r.trained_slots[1] for r in refs), record.announced_at)


def stage(points: int) -> Literal["cold", "warming", "ready"]:
    """Life of a student by the slots it was fitted on."""
    return "cold" if points == 0 else "warming" if points < READY_SLOTS else "ready"


def is_pending(pending: PendingRequest | None, facts: ModelFacts, now_ms: int, settings: WorkerSettings) -> bool:
    """A request is out and neither answered nor overdue."""
    if pending is None or pending.announced != facts.announced:
        return False
    wait_s: float = min(settings.pending_s * 2 ** (pending.tries - 1), max(MAX_PENDING_S, settings.pending_s))
    return now_ms - pending.at_ms < wait_s * 1000


def need_of(
    filled: int, newest: int, capacity: int, facts: ModelFacts, pending: PendingRequest | None, settings: WorkerSettings
) -> Need | None:
    """What the stream should ask for now, by the slots with data it has (`filled`) and its newest slot."""
    if facts.points == 0:
        return Need("cold", "full") if filled >= settings.min_history else None
    full_slot = max(facts.last_slot if pending is None else pending.full_slot, -1)
    # 512, 1024, … up to a full ring. A fit that used few of the slots it was given is not repeated at once.
    doubled = filled >= min(2 * facts.points, FULL_SHARE * capacity)
    fresh = newest - full_slot >= min(facts.points, settings.update_slots)
    if facts.points < FULL_SHARE * capacity and doubled and fresh:
        return Need("due", "full")
    if full_slot >= 0 and newest - full_slot >= (settings.refit_slots or capacity // 2):
        return Need("due", "full")
    learnt = max(facts.last_slot, -1 if pending is None else pending.slot)
    if facts.points >= READY_SLOTS and newest - learnt >= settings.update_slots:
        return Need("due", "prototypes")
    return None


def note_of(want: Need, newest: int, facts: ModelFacts, pending: PendingRequest | None, now_ms: int) -> PendingRequest:
    """The note to keep of a request that is being sent."""
    again = pending is not None and pending.announced == facts.announced and pending.job == want.job
    before = pending.full_slot if pending is not None else facts.last_slot
    return PendingRequest(
        at_ms=now_ms,
        slot=newest,
        reason=want.reason,
        job=want.job,
        announced=facts.announced,
        tries=pending.tries + 1 if again and pending is not None else 1,
        full_slot=newest if want.job == "full" else before,
    )

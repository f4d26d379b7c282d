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
class Asked:
    """The newest training request of a stream."""

    at_ms: int
    slot: int  # newest slot at that moment
    reason: TrainingReason
    job: str
    announced: str | None  # `announced_at` of the model record then known: a newer one is the answer
    tries: int = 1
    full_slot: int = -1  # newest slot at the newest request for a full fit


class Wish(NamedTuple):
    """What to ask for."""

    reason: TrainingReason
    job: Literal["full", "prototypes"]


class Known(NamedTuple):
    """What the newest model record says of the stream's grid."""

    points: int  # slots with data the fit has seen; 0: there is no model
    last_slot: int  # newest slot it has learnt from
    announced: str | None


NOTHING = Known(0, -1, None)


def known_of(record: ModelRecord | None, grid_version: int) -> Known:
    """The largest fit among promoted and shadow; a model that failed the gate has been tried, too."""
    if record is None:
        return NOTHING
    refs = [ref for ref in (record.promoted, record.shadow) if ref is not None and ref.grid_version == grid_version]
    if not refs:
        return Known(0, -1, record.announced_at)
    return Known(max(r.points for r in refs), max(r.trained_slots[1] for r in refs), record.announced_at)


def stage(points: int) -> Literal["cold", "warming", "ready"]:
    """Life of a student by the slots it was fitted on."""
    return "cold" if points == 0 else "warming" if points < READY_SLOTS else "ready"


def pending(asked: Asked | None, known: Known, now_ms: int, settings: WorkerSettings) -> bool:
    """A request is out and neither answered nor overdue."""
    if asked is None or asked.announced != known.announced:
        return False
    wait_s: float = min(settings.pending_s * 2 ** (asked.tries - 1), max(MAX_PENDING_S, settings.pending_s))
    return now_ms - asked.at_ms < wait_s * 1000


def wish(
    filled: int, newest: int, capacity: int, known: Known, asked: Asked | None, settings: WorkerSettings
) -> Wish | None:
    """What the stream should ask for now, by the slots with data it has (`filled`) and its newest slot."""
    if known.points == 0:
        return Wish("cold", "full") if filled >= settings.min_history else None
    full_slot = max(known.last_slot if asked is None else asked.full_slot, -1)
    # 512, 1024, … up to a full ring. A fit that used few of the slots it was given is not repeated at once.
    doubled = filled >= min(2 * known.points, FULL_SHARE * capacity)
    fresh = newest - full_slot >= min(known.points, settings.update_slots)
    if known.points < FULL_SHARE * capacity and doubled and fresh:
        return Wish("due", "full")
    if full_slot >= 0 and newest - full_slot >= (settings.refit_slots or capacity // 2):
        return Wish("due", "full")
    learnt = max(known.last_slot, -1 if asked is None else asked.slot)
    if known.points >= READY_SLOTS and newest - learnt >= settings.update_slots:
        return Wish("due", "prototypes")
    return None


def asking(want: Wish, newest: int, known: Known, asked: Asked | None, now_ms: int) -> Asked:
    """The note to keep of a request that is being sent."""
    again = asked is not None and asked.announced == known.announced and asked.job == want.job
    before = asked.full_slot if asked is not None else known.last_slot
    return Asked(
        at_ms=now_ms,
        slot=newest,
        reason=want.reason,
        job=want.job,
        announced=known.announced,
        tries=asked.tries + 1 if again and asked is not None else 1,
        full_slot=newest if want.job == "full" else before,
    )

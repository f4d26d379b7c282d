"""What a run means for the `models` topic: promoted, shadow, previous; and which artefacts nobody needs any more."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from detector.model.artefact import ArtefactStore, written_ms
from streamer.contracts import ModelRecord, ModelRef
from trainer.fit.run import GateResult

# A detector may still be loading what was replaced a moment ago.
KEEP_S = 3600.0
# What no record refers to may still be about to be announced: a trainer that waits for Kafka.
ORPHAN_S = 86_400.0
ORPHANS_A_TIME = 100


def record_of(stream: str, ref: ModelRef, result: GateResult, before: ModelRecord | None) -> ModelRecord:
    """A student that passes its gate is promoted, and what it replaces is kept for a rollback; else it is a shadow.

    Students of an older grid are of no use to anybody: they are dropped either way.
    """
    old = before.promoted if before else None
    previous = before.previous if before else None
    if result.passed:
        return ModelRecord(stream=stream, promoted=ref, previous=_same_grid(old, ref), announced_at=now())
    return ModelRecord(
        stream=stream,
        promoted=_same_grid(old, ref),
        shadow=ref.model_copy(update={"refused": result.reason}),
        previous=_same_grid(previous, ref),
        announced_at=now(),
    )


def files_of(record: ModelRecord | None) -> set[str]:
    """Artefacts that a record refers to."""
    refs = (record.promoted, record.shadow, record.previous) if record is not None else ()
    return {ref.uri for ref in refs if ref is not None}


def unneeded(replaced: Iterable[str], records: Iterable[ModelRecord]) -> list[str]:
    """Those of the replaced artefacts that are older than an hour and that no record refers to any more."""
    oldest = (time.time() - KEEP_S) * 1000
    old = {name for name in replaced if written_ms(name) < oldest}
    return sorted(old.difference(*(files_of(record) for record in records))) if old else []


def orphans(store: ArtefactStore, records: Iterable[ModelRecord], deployment: str, looked_at: set[str]) -> list[str]:
    """Artefacts of this deployment, older than a day, that no record refers to; `looked_at` are known to be others'.

    A store may be shared: what does not say that it is ours is left alone. Without any record nothing is an orphan: then
    it is the topic that has been lost. Raises StoreError.
    """
    named: set[str] = set()
    for record in records:
        named |= files_of(record)
    if not named:
        return []
    old = set(store.written_before((time.time() - ORPHAN_S) * 1000))
    looked_at &= old
    found = []
    for name in sorted(old - named - looked_at):
        if store.lineage(name).get("deployment") == deployment:
            found.append(name)
        else:
            looked_at.add(name)
        if len(found) == ORPHANS_A_TIME:
            break
    return found


def now() -> str:
    """RFC 3339, UTC."""
    return datetime.now(UTC).isoformat()


def _same_grid(old: ModelRef | None, new: ModelRef) -> ModelRef | None:
    return old if old is not None and old.grid_version == new.grid_version else None

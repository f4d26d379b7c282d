"""Requests become jobs: one a stream, with what it may learn from.

Shapes: S slots of a window, C channels
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from detector.model.archive import Archive
from detector.model.artefact import Student
from detector.model.seasons import Seasons
from detector.training.request import KEPT_NS
from streamer.contracts import TrainingRequest
from streamer.windows.coarse import CoarseWindow
from streamer.windows.ring import StreamWindow
from trainer.fit.archive import allowed, past_of
from trainer.fit.histories import History
from trainer.fit.season_past import Past


@dataclass(frozen=True)
class TrainingJob:
    """What is to be done for one stream."""

    stream: str
    job: Literal["full", "prototypes"]
    reason: str
    span: tuple[int, int] | None = None
    grid_version: int | None = None
    exclude: list[tuple[int, int]] = field(default_factory=list)


def merge(requests: Iterable[TrainingRequest]) -> dict[str, TrainingJob]:
    """One job a stream. A full fit covers a prototype update; the newest span counts; all exclusions hold."""
    jobs: dict[str, TrainingJob] = {}
    for request in requests:
        before = jobs.get(request.stream)
        full = request.job == "full" or (before is not None and before.job == "full")
        jobs[request.stream] = TrainingJob(
            stream=request.stream,
            job="full" if full else "prototypes",
            reason=request.reason,
            span=request.span,
            grid_version=request.grid_version,
            exclude=sorted({*(before.exclude if before else ()), *request.exclude}),
        )
    return jobs


def history_of(
    job: TrainingJob, window: StreamWindow, min_slots: int, zone: str | None = None, previous: Student | None = None
) -> History | str:
    """What the job's stream is fitted from, or why it cannot be; `previous`: the student in force.

    Slots of `exclude` are gaps. A `span` without enough data counts as a hint only: everything is used.
    """
    header, values_SC, blocks = window
    if header.state != "grid":
        return f"the stream is {header.state}: it has no grid to learn on"
    if job.grid_version is not None and job.grid_version != header.grid_version:
        return f"the request is for grid {job.grid_version}, the stream is at {header.grid_version}"
    allowed_SC = without(values_SC, header.lo, job.exclude)
    lo, hi = header.lo, header.hi
    if job.span is not None:
        first, last = max(lo, job.span[0]), min(hi, job.span[1])
        if _points(allowed_SC[max(0, first - lo) : max(0, last - lo + 1)]) >= min_slots:
            lo, hi = first, last
    history = History(
        job.stream,
        tuple(header.channels),
        allowed_SC[lo - header.lo : hi - header.lo + 1],
        lo,
        header.grid_version,
        past=None
        if blocks is None
        else _past(job, window, blocks, zone, None if previous is None else previous.seasons),
        archive=_archive(job, window, previous, lambda student: student.archive),
        apart=lo > header.lo,
        shapes=_archive(job, window, previous, past_of),
    )
    if history.points < min_slots:
        return f"{history.points} slots with data, {min_slots} are needed"
    return history


def _archive(
    job: TrainingJob, window: StreamWindow, previous: Student | None, of: Callable[[Student], Archive]
) -> Archive:  # fmt: skip
    """What the student in force carries."""
    header = window.header
    if previous is None or previous.member.grid_version != header.grid_version:
        return Archive()
    return allowed(of(previous), header.hi - KEPT_NS // header.interval_ns, job.exclude)


def _past(
    job: TrainingJob, window: StreamWindow, blocks: CoarseWindow, zone: str | None, previous: Seasons | None
) -> Past:
    """Both rings, whatever the span of the job: it says only where a new level begins."""
    header = window.header
    since = job.span[0] if job.reason == "drift" and job.span is not None else None
    return Past(
        window.values_SC, header.lo, header.interval_ns, header.phase_ns, blocks, job.exclude, zone, since, previous
    )


def without(values_SC: np.ndarray, lo: int, exclude: Sequence[tuple[int, int]]) -> np.ndarray:
    """A copy with NaN in the excluded slots (first and last, inclusive)."""
    out = values_SC.copy()
    for first, last in exclude:
        out[max(0, first - lo) : max(0, last - lo + 1)] = np.nan
    return out


def _points(values_SC: np.ndarray) -> int:
    return int(np.isfinite(values_SC).any(1).sum())

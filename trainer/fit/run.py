"""One training run: histories in, one artefact out, and for each stream whether its student passes the gate.

Shapes: S slots of a history, C channels, K scored slots
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import structlog
import torch

from detector.model.archive import Archive
from detector.model.artefact import Header, Member, Student, dump, new_version
from detector.model.banks import StudentBank
from detector.model.interface import Segment
from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.row_types import Rows
from detector.model.seasons import Seasons
from detector.model.teacher import Teacher
from streamer.contracts import READY_SLOTS, ModelRef
from trainer.fit.agreed import budget_of, layout_of
from trainer.fit.archive import carried
from trainer.fit.distil import Distillation
from trainer.fit.full import Fitted, fit_stack
from trainer.fit.histories import History, stacks
from trainer.fit.season_past import fit_seasons
from trainer.inject.gate import LENGTH, inject, newest_whole
from trainer.inject.kinds import PLAIN
from trainer.settings import TrainerSettings

log = structlog.get_logger(__name__)
ALERT = 4.0  # the default threshold: one false alarm in 10 000 slots
PASSED = "passed"  # the reason of a student that may be put into force


@dataclass(frozen=True)
class GateResult:
    """Gate of one student. `excess`: held-back false alarms in multiples of the promise; `recall`: of injected ones."""

    passed: bool
    excess: float
    recall: float
    reason: str


@dataclass(frozen=True)
class Trained:
    """One artefact, not yet stored."""

    header: Header
    rows: Rows
    streams: Rows
    memories: Memories
    seasons: Seasons
    archives: list[Archive]  # as the results
    results: list[GateResult]  # in the order of the header's members

    def data(self) -> bytes:
        """The file."""
        return dump(self.header, self.rows, self.streams, self.memories, self.seasons, self.archives)

    def refs(self, uri: str, sha256: str) -> dict[str, ModelRef]:
        """Stream → its row of the stored artefact."""
        return {member.stream: ref_of(self.header, row, uri, sha256) for row, member in enumerate(self.header.members)}


def ref_of(header: Header, row: int, uri: str, sha256: str) -> ModelRef:
    """A stored artefact's row, as it is announced."""
    member = header.members[row]
    return ModelRef(
        version=header.version,
        uri=uri,
        row=row,
        sha256=sha256,
        grid_version=member.grid_version,
        trained_slots=member.trained_slots,
        points=member.points,
    )


def train(histories: Sequence[History], teacher: Teacher | None, settings: TrainerSettings) -> Trained:
    """Fit students for all histories. The teacher is asked only when its budget is above 0."""
    begin = time.perf_counter()
    budget = budget_of(settings, teacher)
    teacher = teacher if budget > 0 else None
    layout = layout_of(settings, teacher)
    how = None
    if teacher is not None:
        how = Distillation(budget, settings.teacher_evidence)
    device = teacher.device if teacher is not None else torch.device("cpu")
    with torch.inference_mode():
        fitted = [fit_stack(s, layout, settings, teacher, how) for s in stacks(histories, device)]
    trained = assemble(fitted, settings, teacher, {"job": "full"})
    log.info("students fitted", streams=len(histories), rows=len(trained.rows["centre"]), s=_since(begin))
    return trained


def assemble(
    fitted: Sequence[Fitted], settings: TrainerSettings, teacher: Teacher | None, lineage: dict[str, str]
) -> Trained:
    """Stacks of fitted students → one artefact, each student through the gate."""
    members: list[Member] = []
    start = 0
    for part in fitted:
        for history in part.histories:
            size = len(history.channels)
            names, span, points = list(history.channels), history.span, history.points
            members.append(Member(history.stream, start, names, history.grid_version, span, points))
            start += size
    rows = {name: torch.cat([part.rows[name] for part in fitted]) for name in fitted[0].rows}
    streams = {name: torch.cat([part.streams[name] for part in fitted]) for name in fitted[0].streams}
    layout = layout_of(settings, teacher)
    lineage = {**lineage, "teacher": layout.teacher}
    if layout.teacher and not bool(torch.isfinite(rows["gate"]).any()):
        # None of these students asks the teacher: they carry nothing of it.
        layout = layout_of(settings, None)
        rows = {name: rows[name] for name in layout.row_fields()}
    header = Header(new_version(), layout, members, lineage, datetime.now(UTC).isoformat())
    excess = torch.cat([part.excess_S for part in fitted]).tolist()
    histories = [history for part in fitted for history in part.histories]
    memories = Memories.joined([part.memories for part in fitted], [len(part.rows["centre"]) for part in fitted]).cpu()

    bank = StudentBank()
    bank.put(students_of(header, rows, streams, memories, layout_of(settings, None)))
    recall = _recall(bank, histories)
    results = [_gate(history, e, r, settings) for history, e, r in zip(histories, excess, recall, strict=True)]
    for member, result in zip(members, results, strict=True):
        member.metrics.update(excess=round(result.excess, 3), recall=result.recall)
    seasons = fit_seasons([history.past for history in histories], [len(history.channels) for history in histories])
    shaped = set(memories.at)
    rows_of = (range(member.start, member.start + len(member.channels)) for member in members)
    archives = [_archive(h, not shaped.isdisjoint(own)) for h, own in zip(histories, rows_of, strict=True)]
    return Trained(header, rows, streams, memories, seasons, archives, results)


def _archive(history: History, shaped: bool) -> Archive:
    """What the student carries on: not where it has shapes, which a longer past only blurs (docs/decisions/054)."""
    if shaped:
        return Archive()
    if history.before:
        return history.archive
    return carried(history.archive if len(history.archive) else history.shapes, history.values_SC, history.lo)


def _recall(bank: StudentBank, histories: Sequence[History]) -> list[float]:
    """Share of the kinds of injected anomalies that reach the alert threshold, at depth 0, by the detector's code."""

    def newest(stream: str) -> int:
        return bank.context_of(stream) + LENGTH - 1

    parts = [(h.stream, newest_whole(h.values_SC, newest(h.stream))) for h in histories]
    segments = [
        Segment(stream, inject(values_SC, kind, seed), LENGTH)
        for seed, kind in enumerate(PLAIN)
        for stream, values_SC in parts
    ]
    top = np.array([_top(score.surprise_K) for score in bank.score(segments)])
    seen = (top >= ALERT).reshape(len(PLAIN), len(histories))
    return [float(value) for value in seen.mean(0)]


def students_of(
    header: Header, rows: Rows, streams: Rows, memories: Memories, layout: Layout, seasons: Seasons | None = None
) -> list[tuple[ModelRef, Student]]:
    """Students of that layout as a bank takes them, without a store."""
    students = []
    for row, member in enumerate(header.members):
        end = member.start + len(member.channels)
        student = Student(
            header.version,
            member,
            layout,
            {name: rows[name][member.start : end].cpu() for name in layout.row_fields()},
            {name: value[row].cpu() for name, value in streams.items()},
            memories.of(member.start, end),
            Seasons() if seasons is None else seasons.of(member.start, end),
        )
        students.append((ref_of(header, row, "memory", "0" * 64), student))
    return students


def _top(surprise_K: np.ndarray) -> float:
    return float(np.nanmax(surprise_K)) if np.isfinite(surprise_K).any() else 0.0


def _gate(history: History, excess: float, recall: float, settings: TrainerSettings) -> GateResult:
    if excess > settings.gate_max_excess:
        reason = (
            f"held-back false alarms are {excess:.0f} times the promise, {settings.gate_max_excess:.0f} are allowed"
        )
        return GateResult(False, excess, recall, reason)
    # A student that is still warming is put into force even when it is nearly blind.
    if history.points >= READY_SLOTS and recall < settings.gate_min_recall:
        reason = f"sees {recall:.0%} of the injected anomalies, {settings.gate_min_recall:.0%} are asked for"
        return GateResult(False, excess, recall, reason)
    return GateResult(True, excess, recall, PASSED)


def _since(begin: float) -> float:
    return round(time.perf_counter() - begin, 2)

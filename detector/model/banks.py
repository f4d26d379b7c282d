"""The student bank: a bank per layout behind one `score`. Nearly always there is one layout, and one call of one bank.

Students of several layouts stand side by side while a trainer's settings change: those that were fitted before are
scored as they were fitted.
"""

import threading
from collections.abc import Sequence

import structlog
import torch

from detector.model import prior
from detector.model.artefact import ArtefactStore, Student
from detector.model.bank import LayoutBank
from detector.model.interface import Segment, SegmentScore, Week
from detector.model.layout import CONTEXT, Layout
from detector.model.season_bank import SeasonBank
from detector.model.store_errors import ArtefactError
from detector.model.teacher import Teacher
from detector.model.teachers import Teachers
from streamer.contracts import ModelRecord, ModelRef
from streamer.errors import AnomalyLLMError

__all__ = ["StudentBank"]
log = structlog.get_logger(__name__)


class StudentBank:
    """Scores windows of any number of streams against their students, whatever layout these were fitted in.

    `install`, `put` and `remove` may be called from another thread than `score`: each call sees all of a swap or
    nothing. A stream without a student is judged by the generic prior:

    >>> import numpy as np
    >>> values_SC = np.random.default_rng(0).normal(size=(300, 1)).astype(np.float32)
    >>> values_SC[-1] = 50.0
    >>> bank = StudentBank()
    >>> [score] = bank.score([Segment("web.cpu", values_SC, count=3)])
    >>> (score.surprise_K >= 4.0).tolist(), score.warming
    ([False, False, True], True)
    """

    context = CONTEXT  # slots that a score depends on, of any stream, at most

    def __init__(self, teachers: Teachers | None = None, device: torch.device | None = None) -> None:
        """Without `teachers` all students are scored at depth 0; `device`: where tables and teachers are, or the CPU."""
        self.device = device or torch.device("cpu")
        self._teachers = teachers
        self._asks = True
        self._banks: list[LayoutBank] = []
        self._seasons = SeasonBank(self.device)
        self._of: dict[str, LayoutBank] = {}  # by stream
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Streams that have a student."""
        return len(self._of)

    def layouts(self) -> list[Layout]:
        """Layouts of the students in force, with the teachers that are asked."""
        return [bank.layout for bank in self._banks]

    def with_teacher(self) -> int:
        """Streams whose windows may reach a teacher."""
        return sum(bank.with_teacher() for bank in list(self._banks))

    def ask_teacher(self, wanted: bool) -> None:
        """Whether windows reach a teacher at all, from the next call of `score` on; else they are scored at depth 0."""
        self._asks = wanted

    def context_of(self, stream: str, cold: bool = False) -> int:
        """Slots, up to and including the scored one, that the stream's scores depend on; `cold`: those of the prior."""
        bank = None if cold else self._of.get(stream)
        return prior.REACH if bank is None else max(bank.context_of(stream), self._seasons.context_of(stream))

    def model_of(self, stream: str) -> ModelRef | None:
        """The student in force."""
        bank = self._of.get(stream)
        return None if bank is None else bank.model_of(stream)

    def usual_of(self, stream: str) -> Week | None:
        """The band of the stream's season through a week; None where it has none."""
        with self._lock, torch.inference_mode():
            return self._seasons.usual_of(stream)

    def install(self, records: Sequence[ModelRecord], store: ArtefactStore) -> dict[str, AnomalyLLMError]:
        """Load the promoted students of records; those without one are removed.

        Returns the streams whose student could not be loaded, with the reason (`retriable` when the store is away);
        they keep the student they had. All others are in force when this returns.
        """
        failed: dict[str, AnomalyLLMError] = {}
        by_file: dict[tuple[str, str], list[tuple[str, ModelRef]]] = {}
        gone = []
        for record in {r.stream: r for r in records}.values():
            ref = record.promoted
            if ref is None:
                gone.append(record.stream)
            else:
                by_file.setdefault((ref.uri, ref.sha256), []).append((record.stream, ref))
        loaded: list[tuple[ModelRef, Student]] = []
        for (uri, sha256), wanted in by_file.items():
            try:
                students = store.read(uri, sha256, [ref.row for _, ref in wanted])
            except AnomalyLLMError as error:
                failed |= {stream: error for stream, _ in wanted}
                logged = log.debug if error.retriable else log.warning  # what is tried again, the caller says once
                logged("students not installed", artefact=uri, streams=len(wanted), error=str(error))
                continue
            for (stream, ref), student in zip(wanted, students, strict=True):
                if student.member.stream == stream:
                    loaded.append((ref, student))
                    continue
                other = student.member.stream
                failed[stream] = ArtefactError(f"artefact {uri} holds {other} where {stream} was announced: fit again")
                log.warning("student not installed", stream=stream, error=str(failed[stream]))
        self.put(loaded)
        for stream in gone:
            self.remove(stream)
        return failed

    def put(self, students: Sequence[tuple[ModelRef, Student]]) -> None:
        """Bring students that are in memory into force, all at once. A teacher that one of them asks for is loaded."""
        with_teachers = [(ref, student, self._teacher_of(student)) for ref, student in students]
        with self._lock:
            at: dict[int, list[tuple[ModelRef, Student]]] = {}
            for ref, student, teacher in with_teachers:
                stream = student.member.stream
                bank, before = self._bank_for(student.layout, teacher), self._of.get(stream)
                if before is not None and before is not bank:
                    before.remove(stream)
                self._of[stream] = bank
                self._seasons.put(stream, student.seasons, len(student.member.channels))
                at.setdefault(self._banks.index(bank), []).append((ref, student))
            for index, mine in at.items():
                self._banks[index].put(mine)
            self._tidy()

    def remove(self, stream: str) -> None:
        """Forget a stream's student."""
        with self._lock:
            bank = self._of.pop(stream, None)
            self._seasons.remove(stream)
            if bank is not None:
                bank.remove(stream)
                self._tidy()

    def score(self, segments: Sequence[Segment]) -> list[SegmentScore]:
        """Scores of all segments, in order: by the generic prior where there is no student, NaN where it knows other channels."""
        with self._lock, torch.inference_mode():
            scores = self._by_layout(segments)
            self._seasons.add_to(segments, scores)
            return scores

    def _by_layout(self, segments: Sequence[Segment]) -> list[SegmentScore]:
        if len(self._banks) == 1:
            return self._banks[0].score(segments, self._asks)
        if not self._banks:
            with torch.inference_mode():
                return prior.score(segments, self.device)
        parts: dict[int, list[int]] = {}
        for i, segment in enumerate(segments):
            bank = self._of.get(segment.stream, self._banks[0])
            parts.setdefault(self._banks.index(bank), []).append(i)
        scores: dict[int, SegmentScore] = {}
        for index, mine in parts.items():
            scores |= zip(mine, self._banks[index].score([segments[i] for i in mine], self._asks), strict=True)
        return [scores[i] for i in range(len(segments))]

    def _teacher_of(self, student: Student) -> Teacher | None:
        """The teacher of a student that asks it of anything."""
        if self._teachers is None or not student.layout.teacher or not bool(student.rows["gate"].isfinite().any()):
            return None
        return self._teachers.of(student.layout)

    def _bank_for(self, layout: Layout, teacher: Teacher | None) -> LayoutBank:
        """Where students of a layout stand: beside others that differ in the teacher at most, and ask one at most."""
        alike = [bank for bank in self._banks if bank.layout.shallow == layout.shallow]
        if teacher is None and alike:
            return alike[-1]  # the newest: what an earlier teacher leaves behind gathers where the present one is asked
        for bank in alike:
            if bank.teacher is None:
                bank.adopt(layout, teacher)
            if bank.layout == layout:
                return bank
        self._banks.append(LayoutBank(layout, teacher, self.device))
        return self._banks[-1]

    def _tidy(self) -> None:
        """Tables that nobody stands in any more go."""
        self._banks = [bank for bank in self._banks if len(bank)]

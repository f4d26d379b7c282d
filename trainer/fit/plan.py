"""Which streams of a batch get a full fit and which only new prototypes, by workers and by live replays alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import structlog

from detector.model.artefact import Student
from detector.model.teacher import Teacher
from trainer.fit.histories import History
from trainer.fit.run import Trained, train
from trainer.fit.update import LayoutChangedError, check, fresh_history, update
from trainer.settings import TrainerSettings

log = structlog.get_logger(__name__)


@dataclass
class FitPlan:
    """Histories of a batch, sorted out. An update needs a student that can be updated; all else is a full fit."""

    teacher: Teacher | None
    settings: TrainerSettings
    full: list[History] = field(default_factory=list)
    fresh: list[History] = field(default_factory=list)  # what the students have not seen
    students: dict[str, Student] = field(default_factory=dict)  # those to update, by stream

    def add(self, history: History, job: Literal["full", "prototypes"], student: Student | None) -> None:
        """One stream: what it may learn from, what was asked for, and the student in force if there is one."""
        if job == "full" or student is None or not self._updatable(student, history):
            self.full.append(history)
        else:
            self.students[history.stream] = student
            self.fresh.append(fresh_history(student, history))

    def _updatable(self, student: Student, history: History) -> bool:
        try:
            check(student, self.teacher, self.settings, history)
        except LayoutChangedError as error:
            log.info("prototype update becomes a full fit", stream=history.stream, reason=str(error))
            return False
        return True

    def fit(self, histories: Sequence[History]) -> Trained:
        """Full fits of some of `full`."""
        return train(histories, self.teacher, self.settings)

    def update(self, histories: Sequence[History]) -> Trained:
        """Prototype updates of some of `fresh`."""
        return update({h.stream: self.students[h.stream] for h in histories}, histories, self.teacher, self.settings)

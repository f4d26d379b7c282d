"""Teachers that artefacts name, loaded when the first student asks for one."""

import threading

import structlog

from detector.model.layout import Layout
from detector.model.teacher import Teacher, TeacherSpec, load
from detector.settings import ComputeSettings
from streamer.errors import AnomalyLLMError

log = structlog.get_logger(__name__)


class Teachers:
    """Teachers by identity. One that cannot be loaded is logged once, with the reason, and not tried again."""

    def __init__(self, settings: ComputeSettings, *loaded: Teacher) -> None:
        """`loaded`: teachers that are in memory already, on the device that the bank is on."""
        self._settings = settings
        self._known: dict[str, Teacher | None] = {teacher.identity: teacher for teacher in loaded}
        self._lock = threading.Lock()

    def of(self, layout: Layout) -> Teacher | None:
        """The teacher of students of that layout; None when they have none, or when it cannot be loaded here."""
        if not layout.teacher:
            return None
        with self._lock:
            if layout.teacher not in self._known:
                self._known[layout.teacher] = self._loaded(layout)
            return self._known[layout.teacher]

    def _loaded(self, layout: Layout) -> Teacher | None:
        name = layout.teacher_name
        try:
            if not name:
                raise AnomalyLLMError("the artefact is of an older version, which did not name its teacher: fit again")
            teacher = load(TeacherSpec(name, layout.depths, layout.patch, layout.seed), self._settings)
            if teacher.identity != layout.teacher:
                raise AnomalyLLMError(f"what lies at {name!r} here is another model than the one they were fitted with")
        except Exception as error:  # the name comes with an artefact: whatever lies there must not end a worker
            log.warning("students are scored without their teacher", teacher=name, reason=str(error))
            return None
        log.info("teacher loaded", teacher=name, device=str(teacher.device), dtype=str(teacher.dtype))
        return teacher

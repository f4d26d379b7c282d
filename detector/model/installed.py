"""The students that a bank holds, as rows of stacked tensors: how they come, are swapped and go.

Shapes: L slots of a history, C channels
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from detector.model import prior
from detector.model.artefact import Student
from detector.model.layout import Layout
from detector.model.pooling import FILL
from detector.model.scores import views_of
from detector.model.tables import Place, Tables
from detector.model.teacher import Teacher
from detector.model.views import shape_windows, shapes
from streamer.contracts import ModelRef

# Slots up to a scored one that a stream's rows hold together: without and with shape memories. What a row needs of its
# seasons, thousands of slots ago, is fetched apart.
PLAIN, SHAPED = 144, shapes.REACH + FILL


@dataclass
class Installed:
    ref: ModelRef
    place: Place
    memories: list[Place]  # of the channels that have a shape memory
    near: int  # slots that its rows hold together
    reach: int  # slots that its scores depend on
    periods: list[int]  # of its rows, 0: none
    deep: list[Place]  # of the channels whose windows may go to the teacher
    judged: int | None = None  # newest slot that its memories' trails reach up to


class InstalledStudents:
    """Students of any number of streams, all of one layout but for the teacher: some may have none, or another.

    `put` and `remove` may be called from another thread than whoever reads, under `_lock`.
    """

    def __init__(self, layout: Layout, teacher: Teacher | None, device: torch.device) -> None:
        """`teacher` is that of the layout, on that device; None: at depth 0 only."""
        self.device = device
        # Where a row's memory and its part of the teacher stand: most rows have neither, and pay for neither.
        whole: dict[str, tuple[int, ...]] = {
            **layout.shallow_fields(), "gate": (), "memory": (), "deep_at": (),
        }  # fmt: skip
        self.tables = Tables(whole, layout.stream_fields(), self.device)
        unpacked: dict[str, tuple[int, ...]] = {
            "shape.medoid": (layout.shapes, shape_windows.POINTS, layout.medoids),
            "shape.norm": (layout.shapes, layout.medoids),
            "trail": (shapes.SMOOTH - 1,),
        }
        stored = {name: shape for name, shape in layout.shape_fields().items() if name != "shape.ends"}
        self.memories = Tables({**stored, **unpacked}, {}, self.device)
        self.shallow_names = [*layout.shallow_fields(), "memory", "gate"]
        self.adopt(layout, teacher)
        self._installed: dict[str, Installed] = {}
        self._with_teacher = 0  # of them: counted as they come and go
        self._lock = threading.Lock()

    def adopt(self, layout: Layout, teacher: Teacher | None) -> None:
        """From now on the teacher that this layout names may be asked; to begin with, and once where there was none."""
        self.teacher = teacher
        self.layout = layout if teacher is not None else layout.shallow
        fields = {n: s for n, s in self.layout.deep_fields().items() if n != "gate"}
        self.deep = Tables(fields, {}, self.device)
        self.views = views_of(self.layout)

    def __len__(self) -> int:
        """Streams that have a student."""
        return len(self._installed)

    def with_teacher(self) -> int:
        """Streams whose windows may reach the teacher."""
        return self._with_teacher

    def context_of(self, stream: str, cold: bool = False) -> int:
        """Slots, up to and including the scored one, that the stream's scores depend on; `cold`: those of the prior."""
        installed = None if cold else self._installed.get(stream)
        return installed.reach if installed else prior.REACH

    def version_of(self, stream: str) -> str:
        """Version of the student in force. Raises KeyError when there is none."""
        return self._installed[stream].ref.version

    def model_of(self, stream: str) -> ModelRef | None:
        """The student in force."""
        installed = self._installed.get(stream)
        return installed.ref if installed else None

    def put(self, students: Sequence[tuple[ModelRef, Student]]) -> None:
        """Bring students that are in memory into force, all at once."""
        with self._lock:
            for ref, student in students:
                self._drop(student.member.stream)
                installed = self._installed[student.member.stream] = self._place(ref, student)
                self._with_teacher += bool(installed.deep)

    def _place(self, ref: ModelRef, student: Student) -> Installed:
        rows = {name: student.rows[name] for name in self.layout.shallow_fields()}
        at_C = torch.full((len(rows["centre"]),), -1.0)
        memories = []
        for i, (channel, history_L) in enumerate(student.memories):
            own = {name: value[i : i + 1] for name, value in student.memories.rows.items()}
            own["shape.medoid"] = shape_windows.memory(history_L[None], own)
            own["shape.norm"] = own["shape.medoid"].square().sum(-2)
            own["trail"] = torch.full((1, shapes.SMOOTH - 1), torch.nan)
            memories.append(self.memories.add({n: own[n] for n in self.memories.rows}, {}))
            at_C[channel] = memories[-1].start
        gate_C, deep_at_C, deep = self._place_deep(student)
        rows |= {"memory": at_C, "gate": gate_C, "deep_at": deep_at_C}
        place = self.tables.add(rows, student.stream)
        near = max(SHAPED if memories else PLAIN, max(self.layout.scales) + FILL)
        periods = [int(period) for period in rows["period"].tolist()]
        return Installed(ref, place, memories, near, max(near, 2 * max(periods) + 1 + FILL), periods, deep)

    def _place_deep(self, student: Student) -> tuple[torch.Tensor, torch.Tensor, list[Place]]:
        """Gate of each channel, where its part of the teacher stands, and those places."""
        at_C = torch.full((len(student.rows["centre"]),), -1.0)
        # Another teacher's tokens mean nothing to this one: such a student is scored at depth 0.
        if not self.layout.teacher or student.layout != self.layout:
            return torch.full_like(at_C, torch.inf), at_C, []
        gate_C = student.rows["gate"]
        places = []
        for channel in torch.isfinite(gate_C).nonzero()[:, 0].tolist():
            own = {name: student.rows[name][channel : channel + 1] for name in self.deep.rows}
            places.append(self.deep.add(own, {}))
            at_C[channel] = places[-1].start
        return gate_C, at_C, places

    def _drop(self, stream: str) -> None:
        installed = self._installed.pop(stream, None)
        if installed is not None:
            self._with_teacher -= bool(installed.deep)
            self.tables.free(installed.place)
            for place in installed.memories:
                self.memories.free(place)
            for place in installed.deep:
                self.deep.free(place)

    def remove(self, stream: str) -> None:
        """Forget a stream's student."""
        with self._lock:
            self._drop(stream)

"""What trainer and detector must agree on, made from the trainer's settings; artefacts carry it to the detector."""

import torch

from detector.model.layout import Layout
from detector.model.teacher import THREADS, Teacher, TeacherSpec, load
from trainer.settings import TrainerSettings

SEED = 7  # of the fixed random adapter from patches to embeddings: any other makes an equal teacher with other tokens
# A core scores 40 000 slots a second without the LLM and 1 300 windows with it: where one stream in twelve asks (the most
# seen at a full history), a fiftieth costs the whole about 7 %, a twentieth 15 %. A GPU sees more than a bank can find.
CPU_BUDGET, CUDA_BUDGET = 0.02, 1.0


def budget_of(settings: TrainerSettings, teacher: Teacher | None) -> float:
    """Share of a stream's normal windows that may reach the teacher; 0 without one."""
    if teacher is None:
        return 0.0
    if settings.teacher_budget == "auto":
        return CUDA_BUDGET if teacher.device.type == "cuda" else CPU_BUDGET
    return settings.teacher_budget


def load_teacher(settings: TrainerSettings) -> Teacher | None:
    """The teacher that settings ask for; None for 'none'. Raises TeacherError when it cannot be loaded."""
    torch.set_num_threads(THREADS)
    if settings.teacher == "none":
        return None
    spec = TeacherSpec(settings.teacher, tuple(settings.teacher_depths), settings.teacher_patch, SEED)
    return load(spec, settings)


def layout_of(settings: TrainerSettings, teacher: Teacher | None) -> Layout:
    """The layout that settings and teacher make."""
    own = (tuple(settings.scales), settings.prototypes, settings.shapes, settings.medoids)
    if teacher is None:
        return Layout(*own)
    deep = (teacher.identity, teacher.depths, tuple(settings.teacher_scales), teacher.outputs)
    return Layout(*own, *deep, settings.teacher, settings.teacher_patch, SEED)

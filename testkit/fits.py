"""Fits that many tests start from, made once a process.

What is fitted is a function of histories, settings and teacher, so these are the key; folders and names do not count.
Every caller gets tensors of its own: what a test does to them no other test sees. A test that replaces a part of the
fit calls `train` itself.

Shapes: S slots, C channels
"""

import copy
import hashlib
from collections.abc import Sequence

import torch

from detector.model.teacher import Teacher
from trainer.fit.histories import History
from trainer.fit.run import Trained, train
from trainer.settings import TrainerSettings

_made: dict[str, Trained] = {}


def trained_on(histories: Sequence[History], teacher: Teacher | None, settings: TrainerSettings) -> Trained:
    """`train` of the same arguments, from memory when it has been done before. Raises what `train` raises."""
    if teacher is not None and type(teacher) is not Teacher:
        return train(histories, teacher, settings)  # a stand-in's identity does not tell it from others
    key = _key(histories, teacher, settings)
    if key not in _made:
        _made[key] = train(histories, teacher, settings)
    with torch.inference_mode():  # where the fit made its tensors
        return copy.deepcopy(_made[key])


def _key(histories: Sequence[History], teacher: Teacher | None, settings: TrainerSettings) -> str:
    digest = hashlib.sha256(settings.model_dump_json(exclude={"state_dir", "worker_name"}).encode())
    digest.update(repr(None if teacher is None else (teacher.identity, str(teacher.device))).encode())
    for history in histories:
        about = (history.stream, history.channels, history.lo, history.grid_version, history.before)
        digest.update(repr((about, history.values_SC.shape, str(history.values_SC.dtype))).encode())
        digest.update(history.values_SC.tobytes())
    return digest.hexdigest()

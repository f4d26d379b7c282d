"""Fit, score and update with a teacher on another device than the CPU: nothing is left on the wrong side."""

from pathlib import Path

import numpy as np
import pytest
import torch

from detector.model.interface import Segment
from detector.model.teacher import Teacher
from testkit.second_device import CUDA, SecondDevice, There
from testkit.simulation import bank_of, history, quick_settings, simulate, students_of
from trainer.fit.run import train
from trainer.fit.update import fresh_history, update

SLOTS = 600
KINDS = ("wave", "white")


class _Teacher(Teacher):
    """Random features instead of a model, on the second device."""

    def __init__(self) -> None:
        self.depths, self.outputs, self.identity, self.device = (1, 2), 56, "there", CUDA
        self._weight_TX = There(torch.randn(16, 112, generator=torch.Generator().manual_seed(0)))

    def tokens(self, window_NT: torch.Tensor) -> torch.Tensor:
        moved_NT = window_NT.to(self.device, torch.float32)
        return torch.tanh(moved_NT @ self._weight_TX).reshape(len(window_NT), 2, 56)


@pytest.mark.slow(9)
@pytest.mark.no_cover  # a tracer makes it half as slow again, and other tests run the same lines
def test_nothing_is_left_on_the_wrong_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    settings = quick_settings(tmp_path, teacher_budget=0.3, medoids=8, prototypes=4)
    values = {kind: simulate(kind, 0, SLOTS + 400) for kind in KINDS}
    two = np.concatenate([simulate("walk", 1, SLOTS), simulate("rare", 1, SLOTS)], 1)
    histories = [history(kind, values[kind][:SLOTS]) for kind in KINDS] + [history("two", two)]
    with SecondDevice(monkeypatch):
        teacher = _Teacher()
        trained = train(histories, teacher, settings)
        assert len(trained.memories) > 0
        assert trained.data()
        bank = bank_of(trained, settings, teacher)
        cold = Segment("cold", simulate("white", 3, 300), 9)
        for stop, many in ((SLOTS + 300, 60), (SLOTS + 310, 10)):  # the second follows on the first
            published = bank.score([Segment(kind, values[kind][:stop], many, stop - 1) for kind in KINDS] + [cold])
            assert all(np.isfinite(score.surprise_K).all() for score in published)
            assert any(score.teacher_K.any() for score in published) or many == 10
        students = {student.member.stream: student for student in students_of(trained)}
        plain = train(histories[:1], None, settings)
        for mine in (students, students | {s.member.stream: s for s in students_of(plain)}):
            fresh = [fresh_history(mine[kind], history(kind, values[kind])) for kind in KINDS]
            assert len(update(mine, fresh, teacher, settings).results) == len(KINDS)

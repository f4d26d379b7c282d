"""Simulated metrics for tests: seeded, of the sorts that hosts and sensors send.

Shapes: K scored slots, S slots of a stream, C channels
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from detector.incidents.machine import Rules, Tracker, step
from detector.model.artefact import Student
from detector.model.banks import StudentBank
from detector.model.teacher import Teacher
from detector.model.teachers import Teachers
from testkit.fits import trained_on
from trainer.fit.agreed import load_teacher
from trainer.fit.histories import History
from trainer.fit.run import Trained
from trainer.settings import TrainerSettings

Array = npt.NDArray[np.float64]


def openings(surprise_K: npt.NDArray[np.floating], rules: Rules) -> list[int]:
    """Slots at which the incident machine opens, every slot counting."""
    state, slots = Tracker(), []
    for slot, surprise in enumerate(surprise_K.tolist()):
        published = step(state, rules, slot, surprise, True)
        if published is not None and published.state == "open":
            slots.append(slot)
    return slots


def autoregressive(rng: np.random.Generator, count: int, keep: float) -> Array:
    """x[t] = keep * x[t-1] + noise."""
    out = np.zeros(count)
    noise = rng.normal(size=count)
    for i in range(1, count):
        out[i] = keep * out[i - 1] + noise[i]
    return out


def bursty(rng: np.random.Generator, count: int) -> Array:
    """CPU load: a noisy base and bursts of a few slots."""
    out = 5 + rng.gamma(2.0, 1.0, size=count)
    for start in np.flatnonzero(rng.random(count) < 0.03):
        out[start : start + rng.integers(1, 6)] += rng.exponential(10.0)
    return np.clip(out, 0.0, 100.0)


def steps(rng: np.random.Generator, count: int) -> Array:
    """A level that jumps between four values."""
    level = np.cumsum(rng.random(count) < 0.02)
    return np.asarray(rng.integers(0, 4, size=count + 1)[level] + 0.05 * rng.normal(size=count), np.float64)


def wave(rng: np.random.Generator, count: int) -> Array:
    """A sine of 16 to 60 slots with some noise."""
    period = rng.integers(16, 60)
    return np.asarray(
        np.sin(2 * np.pi * np.arange(count) / period + rng.uniform(0, 6)) + 0.1 * rng.normal(size=count), np.float64
    )


KINDS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "white": lambda rng, n: rng.normal(size=n),
    "autoregressive": lambda rng, n: autoregressive(rng, n, 0.8),
    "wave": wave,
    "bursty": bursty,
    "heavy": lambda rng, n: 1000 * np.exp(autoregressive(rng, n, 0.6)),
    "integer": lambda rng, n: rng.poisson(3.0, size=n).astype(np.float64),
    "rare": lambda rng, n: (rng.random(n) < 0.02).astype(np.float64),
    "constant": lambda rng, n: np.full(n, 5.0),
    "step": steps,
    "walk": lambda rng, n: 50 + 0.02 * np.cumsum(rng.normal(size=n)) + 0.01 * rng.normal(size=n),
}


def simulate(kind: str, seed: int, count: int) -> npt.NDArray[np.float32]:
    """`count` slots of one channel, (count, 1)."""
    rng = np.random.default_rng([sum(map(ord, kind)), seed])
    return KINDS[kind](rng, count).astype(np.float32)[:, None]


def history(stream: str, values_SC: npt.NDArray[np.float32], lo: int = 0) -> History:
    """A history with made-up channel names."""
    return History(stream, tuple(f"c{c}" for c in range(values_SC.shape[1])), values_SC, lo, 1)


def quick_settings(folder: Path, **window_changes: object) -> TrainerSettings:
    """Settings of a test: no teacher unless asked for (its views then count in all streams), few medoids to be quick, all under `folder`."""
    return TrainerSettings.model_validate(
        {"teacher": "none", "teacher_evidence": False, "medoids": 64, "state_dir": folder, **window_changes}
    )


def students_of(trained: Trained) -> list[Student]:
    """The students of a run as the store would give them back."""
    made = []
    for row, member in enumerate(trained.header.members):
        end = member.start + len(member.channels)
        rows = {name: value[member.start : end].cpu() for name, value in trained.rows.items()}
        stream = {name: value[row].cpu() for name, value in trained.streams.items()}
        memories = trained.memories.of(member.start, end)
        made.append(Student(trained.header.version, member, trained.header.layout, rows, stream, memories))
    return made


def bank_of(trained: Trained, settings: TrainerSettings, teacher: Teacher | None = None) -> StudentBank:
    """A bank with all students of a run; without a teacher at depth 0."""
    bank = StudentBank() if teacher is None else StudentBank(Teachers(settings, teacher), teacher.device)
    refs = trained.refs("memory", "0" * 64)
    bank.put([(refs[student.member.stream], student) for student in students_of(trained)])
    return bank


def fitted_bank(
    histories: list[History], settings: TrainerSettings, with_teacher: bool = False
) -> tuple[Trained, StudentBank]:
    """Fit and load in one go; the same fit is made once a process, the bank is the caller's own."""
    torch.set_num_threads(1)
    teacher = load_teacher(settings) if with_teacher else None
    trained = trained_on(histories, teacher, settings)
    return trained, bank_of(trained, settings, teacher)

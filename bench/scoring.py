"""Slots a second through the student bank, in micro-batches, on one core; and seconds and bytes of a fit.

  python bench/scoring.py [--streams 1000] [--slots 4] [--history 8192] [--teacher none]

Two sorts of streams, each fitted a few times and put into the bank under many names: cycles, which keep a shape
memory, and noise with a level that wanders, which keeps none. A teacher takes part in the fit and in what is stored; scored is depth 0.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from detector.model.banks import StudentBank
from detector.model.interface import Segment
from testkit.simulation import history, students_of
from trainer.fit.agreed import load_teacher
from trainer.fit.run import train
from trainer.settings import TrainerSettings

FITTED = 8


def values_of(sort: str, seed: int, slots: int) -> np.ndarray:
    """One stream, float32 (slots, 1)."""
    rng = np.random.default_rng(seed)
    if sort == "cycles":
        return (np.sin(np.arange(slots) * 2 * np.pi / (20 + 7 * seed)) + 0.1 * rng.normal(size=slots)).astype(
            np.float32
        )[:, None]
    bursts = rng.exponential(10.0, slots) * (rng.random(slots) < 0.03)
    return (5 + rng.gamma(2.0, 1.0, slots) + bursts).astype(np.float32)[:, None]


def measure(sort: str, streams: int, slots: int, past: int, folder: Path, named: str) -> dict[str, float | str]:
    """Fit, fill a bank, score micro-batches for five seconds."""
    settings = TrainerSettings(teacher=named, state_dir=folder)
    series = [values_of(sort, seed, past + 2048) for seed in range(FITTED)]
    teacher = load_teacher(settings)
    begun = time.process_time()
    trained = train([history(f"{seed}", x[:past]) for seed, x in enumerate(series)], teacher, settings)
    fit_s = (time.process_time() - begun) / FITTED
    refs, students = trained.refs("memory", "0" * 64), students_of(trained)
    bank = StudentBank()
    for i in range(streams):
        student = students[i % FITTED]
        own = dataclasses.replace(student, member=dataclasses.replace(student.member, stream=f"s{i}"))
        bank.put([(refs[student.member.stream], own)])
    reach = max(bank.context_of(f"s{i}") for i in range(FITTED))
    batch = 0

    def segments() -> list[Segment]:
        nonlocal batch
        batch += 1
        return [Segment(name, values, slots, batch * slots) for name, values in windows]

    windows = [(f"s{i}", series[int(students[i % FITTED].member.stream)][-(reach + slots) :]) for i in range(streams)]
    bank.score(segments())
    calls, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < 5.0:
        bank.score(segments())
        calls += 1
    return {
        "sort": sort,
        "with_shapes": len(trained.memories),
        "slots_per_s": round(calls * streams * slots / (time.perf_counter() - begun)),
        "fit_s": round(fit_s, 2),
        "kb_stored": round(len(trained.data()) / FITTED / 1024, 1),
    }


def main() -> None:
    """Print one JSON object a sort."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--history", type=int, default=8192)
    parser.add_argument("--teacher", default="none", help="e.g. smollm2")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for sort in ("cycles", "bursts"):
            print(
                json.dumps(
                    measure(
                        sort, arguments.streams, arguments.slots, arguments.history, Path(folder), arguments.teacher
                    )
                )
            )


if __name__ == "__main__":
    main()

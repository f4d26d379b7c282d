"""Does a GPU compute what the CPU does, and how fast? One script, sized for 4 minutes, one JSON object on standard output.

  PYTHONPATH=. python bench/gpu.py [--device auto] [--scale SCALE] [--teacher smollm2]

It runs on any CUDA machine at full size (--scale 1), and without one on the CPU at a tenth of it. Parity compares the
CPU in float32 with the device in float32: of the teacher its tokens, of the bank the scores of the same students, of
the fit the scores of students that each side has fitted itself. Speed is the device's alone; teacher and bank run with
the number type that the teacher measures to be fastest, the fit in float32. With `--device cpu` both sides are the CPU:
parity is then trivial.

The object (numbers unless said otherwise):
  device   name and type of the device (text), torch and CUDA version (text, null without CUDA), threads
  scale    1 full size, 0.1 a tenth
  teacher  name, dtype (text); windows_per_s; parity: windows compared, max_abs and rms of the difference between tokens
           (their own spread is 1); dtype_rms: the same of the dtype that speed was measured with
  bank     streams; slots_per_call, of each stream; slots_per_s without a teacher; slots_per_s_with_teacher, where it is
           asked of every slot of a tenth of the streams, and teacher_share, the share of these slots that it saw;
           parity: slots compared, median_abs and max_abs difference of surprise (null where only one side can score a
           slot), alerts_agree and views_agree, the share of slots on the same side of the default threshold and with
           the same view first
  fit      streams fitted, history (slots); fits_per_s, cpu_fits_per_s; parity: as of the bank, and gates_agree
  wall_s   of the whole script

Shapes: N windows, T points of a window, K scored slots, S slots of a stream, C channels
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
import torch

from detector.model.interface import Segment, SegmentScore
from detector.model.pooling import POINTS
from detector.model.teacher import Teacher
from testkit.simulation import bank_of, history, simulate, students_of
from trainer.fit.agreed import load_teacher
from trainer.fit.histories import History
from trainer.fit.run import ALERT, Trained, train
from trainer.settings import TrainerSettings

KINDS = ("wave", "bursty", "autoregressive", "walk")
SCORED = 64  # slots of each stream that parity compares
PARTS = 3  # a speed is that of a third of its seconds: the best of them


@dataclass(frozen=True)
class Size:
    """How much is done; `of` makes it for a scale."""

    teacher_windows: int
    compared_windows: int
    streams: int
    slots_a_call: int
    fits: int
    history: int
    seconds: float  # of each speed

    @classmethod
    def of(cls, scale: float) -> "Size":
        """Sizes at a scale of 0.01 to 1."""

        def part(full: int, least: int) -> int:
            return max(least, round(full * scale))

        return cls(
            teacher_windows=part(8192, 64),
            compared_windows=part(2048, 32),
            streams=part(4000, 8),
            slots_a_call=8,
            fits=part(16, 4),
            history=part(8192, 800),
            seconds=max(0.3, 12 * scale),
        )


@dataclass(frozen=True)
class ScoreParity:
    """Two lists of scores of the same segments."""

    slots: int
    median_abs: float
    max_abs: float
    alerts_agree: float
    views_agree: float

    @classmethod
    def of(cls, one: Sequence[SegmentScore], two: Sequence[SegmentScore]) -> "ScoreParity":
        """Compare slot by slot; a slot that only one side can score differs by infinity."""
        a_K, b_K = (np.concatenate([score.surprise_K for score in side]) for side in (one, two))
        both_K = np.isnan(a_K) & np.isnan(b_K)
        off_K = np.where(both_K, 0.0, np.nan_to_num(np.abs(a_K - b_K), nan=np.inf))
        views = [np.concatenate([score.view_KC.ravel() for score in side]) for side in (one, two)]
        return cls(
            len(a_K),
            float(np.median(off_K)),
            float(off_K.max()),
            float(((a_K >= ALERT) == (b_K >= ALERT)).mean()),
            float((views[0] == views[1]).mean()),
        )


@dataclass(frozen=True)
class FitParity(ScoreParity):
    """Scores of what two sides have fitted themselves."""

    gates_agree: float = 1.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    parser.add_argument("--scale", type=float, default=None, help="0.01 to 1; default 1 on CUDA, 0.1 on a CPU")
    parser.add_argument("--teacher", default="smollm2", help="smollm2, a folder, or random (tiny, to try the script)")
    given = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    print(json.dumps(measured(given.device, given.scale, given.teacher)))


def measured(device: str, scale: float | None, named: str) -> dict[str, object]:
    """The object that the module's docstring describes."""
    begun = time.perf_counter()
    # Every stream asks the teacher, and of every slot: as it may on a GPU, and alike on both sides.
    settings = TrainerSettings(teacher=named, teacher_evidence=False, teacher_budget=1.0)
    _note("loading the teacher on both sides")
    there = _teacher(settings, device, "float32")
    here = _teacher(settings, "cpu", "float32")
    fast = _teacher(settings, device, "auto")
    scale = scale if scale is not None else 1.0 if there.device.type == "cuda" else 0.1
    size = Size.of(scale)
    return {
        "device": _described(there.device),
        "scale": scale,
        "teacher": {"name": named, **_teacher_figures(here, there, fast, size)},
        **_student_figures(settings, here, there, fast, size),
        "wall_s": round(time.perf_counter() - begun, 1),
    }


def _teacher(settings: TrainerSettings, device: str, dtype: str) -> Teacher:
    teacher = load_teacher(settings.model_copy(update={"teacher_device": device, "teacher_dtype": dtype}))
    if teacher is None:
        raise SystemExit("a teacher is needed: --teacher smollm2, a folder, or random")
    return teacher


def _described(device: torch.device) -> dict[str, object]:
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability()
    return {
        "type": device.type,
        "name": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
    }


def _teacher_figures(here: Teacher, there: Teacher, fast: Teacher, size: Size) -> dict[str, object]:
    _note("teacher: parity and speed")
    window_NT = torch.randn(size.teacher_windows, POINTS, generator=torch.Generator().manual_seed(1))
    compared_NT = window_NT[: size.compared_windows]
    wanted = here.tokens(compared_NT)
    off, fast_off = (teacher.tokens(compared_NT).cpu() - wanted for teacher in (there, fast))
    moved_NT = window_NT.to(fast.device)

    def once() -> int:
        fast.tokens(moved_NT)
        if fast.device.type == "cuda":
            torch.cuda.synchronize(fast.device)
        return len(moved_NT)

    return {
        "dtype": str(fast.dtype).removeprefix("torch."),
        "windows_per_s": _per_second(once, size.seconds),
        "parity": {
            "windows": len(compared_NT),
            "max_abs": _short(float(off.abs().max())),
            "rms": _short(float(off.square().mean().sqrt())),
            "dtype_rms": _short(float(fast_off.square().mean().sqrt())),
        },
    }


def _student_figures(
    settings: TrainerSettings, here: Teacher, there: Teacher, fast: Teacher, size: Size
) -> dict[str, object]:
    series = {
        f"{KINDS[i % len(KINDS)]}.{i}": simulate(KINDS[i % len(KINDS)], i, size.history + 1024)
        for i in range(size.fits)
    }
    histories = [history(name, values_SC[: size.history]) for name, values_SC in series.items()]
    _note(f"fitting {size.fits} streams on the CPU")
    own, cpu_s = _fitted(histories, here, settings)
    _note("fitting them on the device")
    if there.device.type == "cuda":
        train(histories[:2], there, settings)  # kernels are loaded at their first use
    other, device_s = _fitted(histories, there, settings)
    _note("bank: parity")
    on_cpu, on_device, of_other = (
        bank_of(own, settings, here),
        bank_of(own, settings, there),
        bank_of(other, settings, here),
    )
    segments = [Segment(name, values_SC, SCORED) for name, values_SC in series.items()]
    wanted = on_cpu.score(segments)
    gates = zip(own.results, other.results, strict=True)
    fit_parity = FitParity(
        **dataclasses.asdict(ScoreParity.of(wanted, of_other.score(segments))),
        gates_agree=float(np.mean([a.passed == b.passed for a, b in gates])),
    )
    _note("bank: speed")
    asked = _Filled(other, settings, fast, series, size, max(4, size.streams // 10))
    share = asked.teacher_share()
    # The bank stands where its teacher does; these students never ask it.
    silent = _Filled(train(histories[: len(KINDS)], None, settings), settings, there, series, size, size.streams)
    return {
        "bank": {
            "streams": size.streams,
            "slots_per_call": size.slots_a_call,
            "slots_per_s": silent.slots_per_s(size.seconds),
            "slots_per_s_with_teacher": asked.slots_per_s(size.seconds),
            "teacher_share": share,
            "parity": _rounded(ScoreParity.of(wanted, on_device.score(segments))),
        },
        "fit": {
            "streams": size.fits,
            "history": size.history,
            "fits_per_s": _short(size.fits / device_s),
            "cpu_fits_per_s": _short(size.fits / cpu_s),
            "parity": _rounded(fit_parity),
        },
    }


def _fitted(histories: Sequence[History], teacher: Teacher | None, settings: TrainerSettings) -> tuple[Trained, float]:
    begun = time.perf_counter()
    trained = train(histories, teacher, settings)
    trained.data()  # on the CPU, as it is stored
    return trained, time.perf_counter() - begun


class _Filled:
    """A bank on the teacher's device that holds the students of a run under many names, and the newest slots of each."""

    def __init__(
        self,
        trained: Trained,
        settings: TrainerSettings,
        teacher: Teacher,
        series: dict[str, np.ndarray],
        size: Size,
        streams: int,
    ) -> None:
        self.bank = bank_of(trained, settings, teacher)
        refs, students = trained.refs("memory", "0" * 64), students_of(trained)
        copies, self._windows = [], []
        for i in range(streams):
            student = students[i % len(students)]
            name = student.member.stream
            copy = dataclasses.replace(student, member=dataclasses.replace(student.member, stream=f"{name}/{i}"))
            copies.append((refs[name], copy))
            newest_SC = series[name][-(self.bank.context_of(name) + size.slots_a_call) :]
            self._windows.append((copy.member.stream, newest_SC))
        self.bank.put(copies)
        self._slots, self._calls = size.slots_a_call, 0

    def score(self) -> list[SegmentScore]:
        """The newest slots of every copy; calls follow each other, as those of a worker do."""
        self._calls += 1
        last = self._calls * self._slots
        return self.bank.score([Segment(name, rows_SC, self._slots, last) for name, rows_SC in self._windows])

    def slots_per_s(self, seconds: float) -> float:
        """Scored slots per second."""
        return _per_second(lambda: sum(len(score.surprise_K) for score in self.score()), seconds)

    def teacher_share(self) -> float:
        """Share of the slots that the teacher sees."""
        return _short(float(np.concatenate([score.teacher_K for score in self.score()]).mean()))


def _per_second(once: Callable[[], int], seconds: float) -> float:
    """The best rate of a few parts, after one call that is not counted: a machine that stalls does not decide."""
    once()
    best = 0.0
    for _ in range(PARTS):
        done, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds / PARTS:
            done += once()
        best = max(best, done / (time.perf_counter() - begun))
    return round(best)


def _rounded(parity: ScoreParity) -> dict[str, float | None]:
    """JSON has no infinity: null."""
    found = dataclasses.asdict(parity)
    return {name: (_short(value) if np.isfinite(value) else None) for name, value in found.items()}


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.4g}")


def _note(what: str) -> None:
    print(f"gpu: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

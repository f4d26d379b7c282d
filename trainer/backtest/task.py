"""What a backtest asks of every series: replay it through the detector and take its figures.

Shapes: K slots of the test part, S slots of the series, C channels
"""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import torch

from detector.model.teacher import Teacher
from trainer.backtest.metrics import LATENCIES, areas, buffer_of, events, rounded
from trainer.backtest.profiles import profile_of, settings_of_others
from trainer.backtest.replay import Alert, learnt, replay
from trainer.backtest.series import Series
from trainer.backtest.settings import LEFT_OUT, BacktestSettings

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("streamer", "detector", "trainer")
# What does not change a result.
_NO_MATTER = {*LEFT_OUT, "state_dir", "log_format", "log_level", "config"}


def code_digest(paths: Iterable[Path]) -> str:
    """Changes with any line of these files, and of all code and packaged weights of these folders."""
    digest = hashlib.sha256()
    files = [f for path in paths for f in (path.rglob("*") if path.is_dir() else [path])]
    for file in sorted(f for f in files if f.suffix in (".py", ".lua", ".safetensors")):
        digest.update(file.relative_to(ROOT).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def matters(settings: BacktestSettings) -> str:
    """All settings that a result depends on."""
    return settings.model_dump_json(exclude=_NO_MATTER | settings_of_others(settings))


@dataclass(frozen=True)
class ReplayWork(ABC):
    """What is asked of every series of a replay (a `trainer.backtest.runner.Work`), and the name of each result.

    `code` must be taken when the run begins: an edit during it changes no key.
    """

    settings: BacktestSettings
    code: str

    @property
    def state_dir(self) -> Path:
        """Folder of the results."""
        return self.settings.state_dir

    @cached_property
    def _settings_json(self) -> str:
        return matters(self.settings)

    @abstractmethod
    def asked(self, series: Series) -> list[Any]:
        """What is asked of a series beside the settings, in JSON types."""

    def key(self, series: Series) -> str:
        """Names the result: equal for equal settings, data and code."""
        named = [type(self).__name__, self._settings_json, *self.asked(series), series.digest(), self.code]
        return hashlib.sha256(orjson.dumps(named)).hexdigest()[:32]

    def complete(self, name: str) -> bool:
        """Nothing is made beside the result."""
        return True


@dataclass(frozen=True)
class Task(ReplayWork):
    """How every series is replayed."""

    history: int | None = None
    share: float = 1.0
    latency: int = 8
    seed: int = 0
    live: bool = False
    plots: Path | None = None
    drawn: bool = False  # what a report for a browser shows is kept in the row

    def asked(self, series: Series) -> list[Any]:
        """Where the history begins, not how it was asked for: most series are shorter than a live history."""
        begin = learnt(series, self.history, self.share).start
        return [begin, self.history if self.live else None, self.seed, self.drawn]

    def complete(self, name: str) -> bool:
        """Whether there is a picture where one is asked for."""
        return self.plots is None or self._picture(self.plots, name).exists()

    def make(self, series: Series) -> dict[str, Any]:
        """Replay, figures, picture."""
        torch.set_num_threads(1)
        begun = time.perf_counter()
        made = replay(
            series, self.settings, teacher_of(self.settings), history=self.history, share=self.share, live=self.live,
            seed=self.seed, bands=self.plots is not None or self.drawn,
        )  # fmt: skip
        count, start = len(made.surprise_K), series.train_end
        buffer = buffer_of(series.values_SC[:start])
        published = events(made.alerts, series.test_labels_K, count)
        row: dict[str, Any] = {
            "slots": count,
            "channels": series.values_SC.shape[1],
            "history": made.history,
            "gate": made.gate,
            "threshold": made.threshold,
            "student_bytes": made.student_bytes,
            "fit_s": round(made.fit_s, 4),
            "fits": made.fits,
            "updates": made.updates,
            "score_s": round(made.score_s, 4),
            "teacher": made.asks,
            "teacher_slots": made.asked,
            "points_per_s": round(count / made.score_s) if made.score_s else None,
            "wall_s": round(time.perf_counter() - begun, 3),
            "unscored": int((made.surprise_K != made.surprise_K).sum()),
            "vus_buffer": buffer,
            **{f"event_{name}": getattr(published, name) for name in ("precision", "recall", "f1")},
            "events": published.events,
            "hits": published.hits,
            "alerts": published.alerts,
            "false_alerts": published.false_alerts,
            "false_alerts_per_10k": round(published.false_alerts_per_10k, 4),
            "delays": published.delays,
            "delay_points": float(median(published.delays)) if published.delays else None,
            "alert_list": [asdict(alert) | _dated(alert, series) for alert in made.alerts],
        }
        if self.drawn:
            from trainer.backtest.browsed import drawn

            row["drawn"] = drawn(series, made, self.settings.profile == "product")
        for latency in LATENCIES:
            figures = areas(made.rank_K, made.lag_K, series.test_labels_K, series.test_found_within, buffer, latency)
            row[f"latency_{latency}"] = rounded(figures)
        if self.plots is not None:
            from trainer.backtest.plots import plot

            self.plots.mkdir(parents=True, exist_ok=True)
            plot(series, made, self._picture(self.plots, series.name))
        return row

    @staticmethod
    def _picture(folder: Path, name: str) -> Path:
        return folder / f"{''.join(c if c.isalnum() or c in '-_.' else '_' for c in name)}.png"


def _dated(alert: Alert, series: Series) -> dict[str, str | None]:
    """When it was, RFC 3339; None where the data had no time stamps."""
    slots = {"opened_at": alert.opened, "started_at": alert.onset, "ended_at": alert.end}
    return {name: series.at(series.train_end + slot) for name, slot in slots.items()}


def teacher_of(settings: BacktestSettings) -> Teacher | None:
    """The teacher of the profile that settings ask for, loaded once a process."""
    return profile_of(settings).teacher(settings)

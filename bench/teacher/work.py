"""What is asked of every series: the backtest's figures, and what alerts would cost at any threshold.

Shapes: K slots of the test part, S slots of a history, C channels, R rows (stream, channel), M mixtures, A anomalies
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from detector.model.teacher import TeacherError
from trainer.backtest.live import GRID_VERSION
from trainer.backtest.metrics import areas, buffer_of, rounded
from trainer.backtest.replay import Replayed, learnt, replay
from trainer.backtest.series import Series
from trainer.backtest.task import ReplayWork, teacher_of
from trainer.backtest.vus import ranges
from trainer.fit.agreed import budget_of, layout_of
from trainer.fit.distil import Distillation
from trainer.fit.evidence import Evidence
from trainer.fit.full import fit_stack
from trainer.fit.histories import History, stacks
from trainer.inject.kinds import DRAWN

APART = 64  # slots: peaks nearer than this are one alert
_PEAKS = 300  # largest peaks outside of the labelled ranges that are kept: more alerts than anybody bears


@dataclass(frozen=True)
class Figures(ReplayWork):
    """One replay of a series."""

    share: float = 1.0
    latency: int = 8

    def asked(self, series: Series) -> list[Any]:
        """Where the history begins."""
        return [learnt(series, None, self.share).start]

    def make(self, series: Series) -> dict[str, Any]:
        """Replay and figures."""
        torch.set_num_threads(1)
        made = replay(series, self.settings, teacher_of(self.settings), share=self.share)
        buffer = buffer_of(series.values_SC[: series.train_end])
        inside, outside = peaks(made, series.test_labels_K)
        row: dict[str, Any] = {
            "slots": len(made.rank_K),
            "teacher": made.asks,
            "teacher_slots": made.asked,
            "fit_s": round(made.fit_s, 4),
            "score_s": round(made.score_s, 4),
            "inside": inside,
            "outside": outside,
        }
        # One latency: the volumes take longer than the replay.
        figures = areas(made.rank_K, made.lag_K, series.test_labels_K, series.test_found_within, buffer, self.latency)
        return row | {f"latency_{self.latency}": rounded(figures)}


@dataclass(frozen=True)
class Kinds(Figures):
    """The evidence alone: which injected anomalies are found without and with the teacher, by kind."""

    def make(self, series: Series) -> dict[str, Any]:
        """`alone` (kinds, each) and `mixed` (mixtures, kinds, each) as 0 or 1; nothing where the teacher was not asked."""
        torch.set_num_threads(1)
        settings, teacher = self.settings, teacher_of(self.settings)
        if teacher is None:
            raise TeacherError("the evidence of no teacher was asked for: give --teacher")
        found: list[Evidence] = []
        budget = budget_of(settings, teacher)
        how = Distillation(budget, True, found.append)
        rows = learnt(series, None, self.share)
        history = History(series.name, series.channels, series.values_SC[rows], 0, GRID_VERSION)
        with torch.inference_mode():
            for stack in stacks([history], teacher.device):
                fit_stack(stack, layout_of(settings, teacher), settings, teacher, how)
        kinds = list(DRAWN)
        alone = [e.alone_RA.int().reshape(-1, len(kinds), e.alone_RA.shape[1] // len(kinds)).tolist() for e in found]
        mixed = [e.mixed_RMA.int().reshape(*e.mixed_RMA.shape[:2], len(kinds), -1).tolist() for e in found]
        # rows of all stacks one after another
        return {
            "kinds": kinds,
            "alone": [row for part in alone for row in part],
            "mixed": [row for part in mixed for row in part],
            f"latency_{self.latency}": {},
        }


def peaks(made: Replayed, label_K: np.ndarray | None) -> tuple[list[float], list[float]]:
    """Largest surprise in each labelled range (APART slots longer, for what is decided late), and peaks outside of them."""
    score_K = np.nan_to_num(made.surprise_K, nan=0.0)
    if label_K is None:
        label_K = np.zeros(len(score_K), np.uint8)
    near_K = np.zeros(len(score_K), bool)
    inside = []
    for first, last in zip(*ranges(label_K > 0), strict=True):
        late = slice(int(first), min(int(last) + 1 + APART, len(score_K)))
        inside.append(round(float(score_K[late].max()), 3))
        near_K[late] = True
    left_K = np.where(near_K, 0.0, score_K)
    outside: list[float] = []
    for at in np.argsort(-left_K, kind="stable"):
        if len(outside) == _PEAKS or left_K[at] <= 1.0:
            break
        if left_K[at] > 0 and not near_K[at]:
            outside.append(round(float(left_K[at]), 3))
            near_K[max(0, at - APART) : at + APART + 1] = True
    return inside, outside

"""The paper's model as a bank that the detector's own judge can ask: strided windows, a score held until the next.

Shapes: K scored slots, C channels, N windows, L slots of a window, S slots of a segment
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from detector.live.settings import WorkerSettings
from detector.model import calibration
from detector.model.interface import Segment, SegmentScore, ViewName, unscored
from streamer.contracts import ModelRef
from trainer.paper.fit import CHUNK, VERSION, Fitted
from trainer.paper.model import gap
from trainer.paper.settings import PaperSettings
from trainer.paper.windows import standardised, windows


def by_windows(settings: WorkerSettings, held: int) -> WorkerSettings:
    """The same rules for the opening of an incident, counted in windows: a held score is not its own second hit."""
    hits, window = held * (settings.open_hits - 1) + 1, held * settings.open_window
    return settings.model_copy(update={"open_hits": hits, "open_window": window})


class PaperBank:
    """Scores one stream's segments (a `detector.live.judge.Bank`).

    Windows end at slots whose number is a multiple of `paper_stride`, whatever the segments: a score does not depend
    on how the slots come. A slot in between has the score of the newest window that has ended.
    """

    def __init__(self, fitted: Fitted | None, settings: PaperSettings) -> None:
        """Without a fit nothing is scored: the paper has no generic prior."""
        self._fitted = fitted
        self._length, self._stride = settings.paper_window, settings.paper_stride
        self.context = self._length + self._stride - 1

    def with_teacher(self) -> int:
        """Every window goes to the teacher."""
        return 1

    def context_of(self, stream: str, cold: bool = False) -> int:
        """Slots that a score depends on."""
        return self.context

    def model_of(self, stream: str) -> ModelRef | None:
        """The fit in force."""
        return None if self._fitted is None else self._fitted.ref

    @torch.inference_mode()
    def score(self, segments: Sequence[Segment]) -> list[SegmentScore]:
        """Scores of all segments, in order."""
        return [self._scored(segment) for segment in segments]

    def _scored(self, segment: Segment) -> SegmentScore:
        count, channels = segment.scored(self.context), segment.values_SC.shape[1]
        blank = unscored(segment.stream, count, channels, VERSION)
        if self._fitted is None or count == 0:
            return blank
        last = count - 1 if segment.last is None else segment.last
        slot_K = np.arange(last - count + 1, last + 1)
        end_K = slot_K // self._stride * self._stride
        end_N, at_K = np.unique(end_K, return_inverse=True)
        short = max(0, self.context - 1 + count - len(segment.values_SC))
        rows_SC = np.pad(segment.values_SC, ((short, 0), (0, 0)), constant_values=np.nan)
        start_N = end_N - last + len(rows_SC) - self._length
        surprise_N, share_NC, nearest_NC = self._asked(self._fitted, rows_SC, start_N)
        surprise_K = surprise_N[at_K]
        return replace(
            blank,
            views=[ViewName("paper", 0, self._length)],
            surprise_K=surprise_K,
            rank_K=surprise_K,
            channel_KC=surprise_K[:, None] * share_NC[at_K],
            view_KC=np.zeros((count, channels), np.int16),
            scale_KC=np.full((count, channels), self._length, np.int16),
            nearest_KC=nearest_NC[at_K],
            teacher_K=np.isfinite(surprise_K),
            lag_K=(self._length // 2 + slot_K - end_K).astype(np.int16),
        )

    def _asked(
        self, fitted: Fitted, rows_SC: np.ndarray, start_N: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Surprise (N,) of windows; share (N, C) of a channel in how far all are from their prototypes; which (N, C)."""
        z_SC = standardised(rows_SC, fitted.norm)
        surprise, share, nearest = [], [], []
        for at in range(0, len(start_N), CHUNK):
            x_NCL, enough_N = windows(z_SC, start_N[at : at + CHUNK], self._length)
            gap_N = torch.where(enough_N, gap(*fitted.model(x_NCL)), torch.nan)
            cosine_NC, index_NC = fitted.model.student.nearest(x_NCL)
            far_NC = (1.0 - cosine_NC).clamp_min(1e-6)
            surprise.append(calibration.surprise(gap_N, fitted.cal))
            share.append(far_NC / far_NC.sum(-1, keepdim=True))
            nearest.append(index_NC.short())
        return tuple(torch.cat(part).numpy() for part in (surprise, share, nearest))  # type: ignore[return-value]

"""Whether a stream's gap view earns its weight: by anomalies put into the stream's own history.

The same anomalies are judged without and with the head, by the detector's own code. A head that adds nothing costs time
and one more chance of a false alarm: it is then not asked.

Shapes: R rows, A anomalies, L slots, C channels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detector.bank import StudentBank
from detector.forecast import shape_period
from detector.views import Segment
from trainer.anomalies import KINDS, PAD, inject
from trainer.histories import History

EACH = 2  # anomalies of a kind: 28 in all
JUDGED = 72  # newest slots of an anomaly and the few after it
AFTER = 8
LOUD = 6.0  # what is this loud is found anyway: more is no gain
GAIN = 0.1  # decades, mean over the anomalies, that the head must add beyond what it adds to loud normal windows
MIN_SLOTS = 256
ROWS_A_LOOK = 256  # of 72 slots: 230 MB


def gains(bank: StudentBank, histories: Sequence[History], adds_R: Tensor) -> Tensor:
    """Decades (R) that the head adds to the loudest slot of an injected anomaly, mean, beyond the `adds_R` that it adds
    to loud normal windows; rows in the order of histories. 0 where a history is too short to put anomalies into.
    """
    found: list[Tensor] = []
    row = 0
    for history in histories:
        channels = len(history.channels)
        adds_C = adds_R[row : row + channels].cpu()
        row += channels
        if len(history.values_SC) < MIN_SLOTS:
            found.append(torch.zeros(channels))
            continue
        segments = _segments(history)
        # A few at a time: what the head sees of a window is 2 KB beside 4 KB of prototypes.
        step = max(1, ROWS_A_LOOK // channels)
        lifts = [_lifts(bank, segments[at : at + step], adds_C) for at in range(0, len(segments), step)]
        found.append(torch.cat(lifts).mean(0))
    return torch.cat(found)


def _lifts(bank: StudentBank, segments: Sequence[Segment], adds_C: Tensor) -> Tensor:
    """Decades (A, C) that the head adds to the loudest slot of each."""
    lifts = []
    for window in bank.look(segments):
        asked_CK, before_CK, after_CK = (value.cpu() for value in window[2:])
        # What it is not asked about is not lifted by normal windows becoming quieter.
        lifted_CK = torch.where(asked_CK, after_CK - adds_C[:, None], before_CK)
        lifts.append(_top(lifted_CK) - _top(before_CK))
    return torch.stack(lifts)


def _top(surprise_CK: Tensor) -> Tensor:
    return torch.nan_to_num(surprise_CK, nan=0.0).amax(-1).clamp(0.0, LOUD)


def _segments(history: History) -> list[Segment]:
    """Stretches of the history, each channel with an anomaly of its own."""
    values_SC = history.values_SC
    slots = len(values_SC)
    if slots < MIN_SLOTS:
        return []
    with np.errstate(invalid="ignore"):
        there_C = np.isfinite(values_SC).any(0)
        middle_C = np.where(there_C, np.nanmean(np.where(there_C, values_SC, 0.0), 0), 0.0)
        spread_C = np.maximum(np.where(there_C, np.nanstd(np.where(there_C, values_SC, 0.0), 0), 1.0), 1e-6)
    x_CL = torch.from_numpy(((values_SC - middle_C) / spread_C).T.astype(np.float32))
    # One period for all channels: their anomalies then stand at the same place, and one call judges them.
    period_C = shape_period(x_CL).amax().expand(len(x_CL))
    injected = inject(x_CL, period_C, torch.zeros(len(x_CL), dtype=torch.long))
    each = injected.onset_RA.shape[1] // len(KINDS)
    out = []
    for a in (kind * each + i for kind in range(len(KINDS)) for i in range(EACH)):
        onset, length = int(injected.onset_RA[0, a]), int(injected.length_RA[0, a])
        changed_SC = values_SC.copy()
        piece_CB = injected.piece_RAB[:, a, PAD : PAD + length].numpy()
        changed_SC[onset : onset + length] = piece_CB.T * spread_C + middle_C
        stop = min(onset + length + AFTER, slots)
        out.append(Segment(history.stream, changed_SC[:stop], min(JUDGED, stop - onset)))
    return out

"""Windows to train an adapter on, from training parts that no table of the page replays.

Shapes: R rows (stream, channel), L slots, K window ends, T points of a window, N windows
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detector.model.pooling import fill, pool, standardise
from detector.model.student_map import INPUT_CLIP
from trainer.backtest.sources import Item
from trainer.fit.scaling import robust

SCALE = 64  # slots of a window
EACH = 300  # windows of each series
_SLOTS = 20_000  # newest of a training part


def windows_of(items: Sequence[Item]) -> Tensor:
    """Pooled windows (N, T) of training parts, standardised as the detector does."""
    found = []
    for item in items:
        series = item.load()
        values_RL = torch.from_numpy(np.ascontiguousarray(series.training.T[:, -_SLOTS:]))
        scaling = robust(values_RL)
        x_RL = fill(standardise(values_RL, scaling.centre_R, scaling.scale_R))
        count = x_RL.shape[1] - SCALE + 1
        if count < 1:
            continue
        value_RKT, there_RKT, valid_RK = pool(x_RL, SCALE, count)
        if there_RKT is not None:
            valid_RK = valid_RK & there_RKT.all(-1)
        window_NT = value_RKT[valid_RK]
        found.append(window_NT[torch.linspace(0, len(window_NT) - 1, min(EACH, len(window_NT))).long()])
    return torch.cat(found).float().clamp(-INPUT_CLIP, INPUT_CLIP)

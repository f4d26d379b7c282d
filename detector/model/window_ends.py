"""Where windows of rows end: those without a gap, and evenly spread ones among them.

Shapes: R rows (stream, channel), L slots, N places to choose from, M chosen ones
"""

import torch
from torch import Tensor

from detector.model.pooling import moving_mean


def whole(x_RL: Tensor, window: int) -> Tensor:
    """True at the ends (R, L) of windows without a gap."""
    gap_RL = torch.nn.functional.pad(torch.isnan(x_RL).double(), (window - 1, 0), value=1.0)
    return moving_mean(gap_RL, window) < 0.5 / window


def choose(valid_RN: Tensor, count: int) -> Tensor:
    """Indices (R, count) of evenly spaced valid positions of each row; of a row without any its last position.

    How many does not depend on how many are valid, or rows of a stack would influence each other: some are repeated.
    """
    order_RN = valid_RN.long().cumsum(-1)
    many_R = order_RN[:, -1]
    step_M = (torch.arange(count, device=valid_RN.device) + 0.5) / count
    rank_RM = (step_M * many_R[:, None]).floor().long() + 1
    return torch.searchsorted(order_RN, rank_RM).clamp_max(valid_RN.shape[1] - 1)

"""Which windows of a history the teacher is asked of: what it could see, and what depth 0 has made of it.

Shapes: R rows (stream, channel), L slots, V depth-0 views, N chosen windows, T points of a window
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from detector.model.layout import Layout
from detector.model.pooling import pool

# Beside those evenly spread past the gate, the loudest of the history are looked at, one a neighbourhood: what the
# teacher has to beat is the worst that normal life has brought.
LOUDEST, _NEIGHBOURS = 24, 16


@dataclass(frozen=True)
class Shallow:
    """What depth 0 has found at every window end, held back from the half that is judged."""

    x_RL: Tensor  # prepared rows
    first_RL: Tensor  # True in the first half
    view_RLV: Tensor  # surprise of each view
    row_RL: Tensor  # surprise of the row; rows with shapes have it at some ends only

    def of(self, index_R: Tensor) -> "Shallow":
        """Some of its rows."""
        return Shallow(self.x_RL[index_R], self.first_RL[index_R], self.view_RLV[index_R], self.row_RL[index_R])


def able(layout: Layout, shallow: Shallow) -> Tensor:
    """Ends (R, L) of windows that the teacher could see and depth 0 has judged."""
    length = shallow.x_RL.shape[1]
    whole_RL = torch.isfinite(shallow.row_RL)
    for scale in layout.teacher_scales:
        if length < scale:
            return torch.zeros_like(whole_RL)
        # Where depth 0 has no view of the scale (too short a history), there are no prototypes to learn from either.
        there_RL = torch.isfinite(shallow.view_RLV[..., layout.view_of(scale)])
        whole_RL = whole_RL & there_RL & _whole(shallow.x_RL, scale, length)
    both_R1 = torch.stack([(whole_RL & half).any(-1) for half in (shallow.first_RL, ~shallow.first_RL)]).all(0)[:, None]
    return whole_RL & both_R1


def loudest(row_RL: Tensor) -> tuple[Tensor, Tensor]:
    """The LOUDEST ends (R, N) that no neighbour exceeds, and which of them are any (-inf: no candidate)."""
    around_RL = torch.nn.functional.max_pool1d(row_RL[:, None], 2 * _NEIGHBOURS + 1, 1, _NEIGHBOURS)[:, 0]
    row_RL = torch.where(row_RL >= around_RL, row_RL, -torch.inf)
    top = row_RL.topk(min(LOUDEST, row_RL.shape[1]), dim=1)
    return top.indices, torch.isfinite(top.values)


def windows_at(x_RL: Tensor, scale: int, end_RN: Tensor) -> Tensor:
    """Pooled windows (R, N, T) that end at these slots."""
    value_RNT, _, _ = pool(x_RL, scale, x_RL.shape[1] - scale + 1)
    return at(value_RNT, (end_RN - scale + 1).clamp_min(0))


def at(of_RL: Tensor, index_RN: Tensor) -> Tensor:
    """The entries (R, N, …) of each row at its own indices."""
    return of_RL[torch.arange(len(index_RN), device=index_RN.device)[:, None], index_RN]


def _whole(x_RL: Tensor, scale: int, length: int) -> Tensor:
    """Ends (R, L) of windows without a missing point."""
    _, there, valid = pool(x_RL, scale, length - scale + 1)
    whole_RN = valid if there is None else there.all(-1)
    return torch.nn.functional.pad(whole_RN, (scale - 1, 0))

"""What all shape views of a few rows are fitted on: running sums of their histories, and of anomalies put into them.

Shapes: R rows (stream, channel), L slots, N windows, X some of the rows, A anomalies of a row
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from detector.model.row_types import Rows
from detector.model.views import shape_windows
from detector.model.views.shape_windows import WIDTH_MAX, Signals
from detector.model.window_ends import choose
from trainer.inject.drawn import inject
from trainer.inject.splice import Injected, pieces

PAD = WIDTH_MAX // 2 + 1  # slots kept on either side of an anomaly: the widest window, centred on its edge


@dataclass(frozen=True)
class Ground:
    """Histories of rows, and the anomalies that are evidence."""

    rows: Rows  # mean, standard deviation and mean change of each row
    signals: Signals
    pieces: Signals  # of the surroundings of each anomaly, row by row
    injected: Injected
    slots_R: Tensor  # length of each history

    @property
    def anomalies(self) -> int:
        """Of each row."""
        return self.injected.onset_RA.shape[1]

    def of(self, index_X: Tensor) -> "Ground":
        """Some of its rows."""
        piece_X = (index_X[:, None] * self.anomalies + torch.arange(self.anomalies, device=index_X.device)).flatten()
        return Ground(
            {name: value[index_X] for name, value in self.rows.items()},
            Signals(*(value[index_X] for value in self.signals)),
            Signals(*(value[piece_X] for value in self.pieces)),
            Injected(*(value[index_X] for value in self.injected)),
            self.slots_R[index_X],
        )

    def candidates(self, width_R: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Ends (R, N) of at most so many windows without a gap, evenly spread; and whether a row has any (R)."""
        whole_RL = whole(self.signals, width_R)
        return choose(whole_RL, min(most, whole_RL.shape[1])), whole_RL.any(-1)


def ground_of(x_RL: Tensor, period_R: Tensor) -> Ground:
    """Of prepared rows (NaN = gap) whose shortest cycles have these periods."""
    rows = _moments(x_RL)
    first_R = torch.isfinite(x_RL).long().argmax(1)
    own_RL = _own(x_RL, rows["shape.mean"], rows["shape.std"])
    injected = inject(own_RL, period_R, first_R)
    many = injected.onset_RA.shape[1]
    around = shape_windows.running(pieces(own_RL, injected, PAD), rows["shape.step"].repeat_interleave(many))
    return Ground(rows, shape_windows.signals(x_RL, rows), around, injected, x_RL.shape[1] - first_R)


def whole(signals: Signals, width_R: Tensor) -> Tensor:
    """True at the ends (R, L) of windows without a gap."""
    _, gap_RL = signals
    length = gap_RL.shape[1] - 1
    end_L = torch.arange(length, device=width_R.device)
    first_RL = end_L + 1 - width_R[:, None]
    gaps_RL = gap_RL[:, 1:] - gap_RL.gather(1, first_RL.clamp_min(0))
    return (first_RL >= 0) & (gaps_RL == 0)


def each(end_RN: Tensor, width_R: Tensor, kind_R: Tensor) -> tuple[Tensor, Tensor]:
    """Width and kind of every window (R, N)."""
    return width_R[:, None].expand(end_RN.shape), kind_R[:, None].expand(end_RN.shape)


def _moments(x_RL: Tensor) -> Rows:
    there_RL = torch.isfinite(x_RL)
    many_R = there_RL.sum(1).clamp_min(1)
    value_RL = torch.where(there_RL, x_RL, 0.0).double()
    mean_R = value_RL.sum(1) / many_R
    std_R = (torch.where(there_RL, value_RL - mean_R[:, None], 0.0).square().sum(1) / many_R).sqrt().clamp_min(1e-6)
    step_R = _own(x_RL, mean_R, std_R).diff(dim=1).abs().nanmean(1).nan_to_num(nan=1.0).clamp_min(1e-6)
    return {"shape.mean": mean_R, "shape.std": std_R, "shape.step": step_R}


def _own(x_RL: Tensor, mean_R: Tensor, std_R: Tensor) -> Tensor:
    """Rows in standard deviations of their own, as the detector clips them."""
    clip = shape_windows.CLIP
    return ((x_RL - mean_R[:, None]) / std_R[:, None]).clamp(-clip, clip)

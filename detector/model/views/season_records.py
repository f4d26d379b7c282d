"""Records of a row: how far beyond everything that its weeks have had, whatever its band.

A saw tooth is anywhere between empty and full, so that no band is narrow; full to the brim it never was.

Shapes: R rows, B coarse blocks, F figures, X any number
"""

import torch
from torch import Tensor

from detector.model.views.runs import more_than_ever

# Of a row's records: the lowest block, how far below it is far, the lowest slot, and the same of the highest.
# Nothing is known of a side without room.
FIGURES = 6


def score_records(record_RF: Tensor, block_RB: Tensor) -> Tensor:
    """Surprise (R, B) of each block and the one before, where both are beyond; negative below the lowest."""
    lowest_R1, below_R1, _, highest_R1, above_R1, _ = record_RF.T.unsqueeze(-1)
    before_RB = torch.nn.functional.pad(block_RB[:, :-1], (1, 0), value=torch.nan)
    under_RB = torch.where(below_R1 > 0, (lowest_R1 - torch.maximum(block_RB, before_RB)) / below_R1, 0.0)
    over_RB = torch.where(above_R1 > 0, (torch.minimum(block_RB, before_RB) - highest_R1) / above_R1, 0.0)
    found_RB = more_than_ever(torch.maximum(under_RB, over_RB).nan_to_num())
    return torch.where(under_RB > over_RB, -found_RB, found_RB)


def within(low_RX: Tensor, mid_RX: Tensor, high_RX: Tensor, record_RF: Tensor) -> tuple[Tensor, Tensor]:
    """Ends of a band around what is expected, which reach no further than that or the lowest and highest slots with that room."""
    _, below_R1, lowest_R1, _, above_R1, highest_R1 = record_RF.T.unsqueeze(-1)
    least_R1 = torch.where(below_R1 > 0, lowest_R1 - below_R1, -torch.inf)
    most_R1 = torch.where(above_R1 > 0, highest_R1 + above_R1, torch.inf)
    least_RX, most_RX = torch.minimum(mid_RX, least_R1), torch.maximum(mid_RX, most_R1)
    return torch.maximum(low_RX, least_RX), torch.minimum(high_RX, most_RX)


def among(x_RX: Tensor, record_RF: Tensor) -> Tensor:
    """Whether a slot lies between the lowest and the highest that there was."""
    return (x_RX >= record_RF[:, 2:3]) & (x_RX <= record_RF[:, 5:6])

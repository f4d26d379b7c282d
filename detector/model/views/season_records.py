"""Records of a row: how far beyond everything that its weeks have had, whatever its band.

A saw tooth is anywhere between empty and full, so that no band is narrow; full to the brim it never was.

Shapes: R rows, B coarse blocks, X any number
"""

import torch
from torch import Tensor

SIDES = 4  # of a row's records: lowest, how far below it is far, highest, how far above; no room on a side: unknown


def both(block_RB: Tensor) -> tuple[Tensor, Tensor]:
    """The higher and the lower of each block and the one before; NaN where one is not there."""
    before_RB = torch.nn.functional.pad(block_RB[:, :-1], (1, 0), value=torch.nan)
    return torch.maximum(block_RB, before_RB), torch.minimum(block_RB, before_RB)


def score_records(record_R4: Tensor, block_RB: Tensor) -> Tensor:
    """Surprise (R, B) of the pair of blocks that ends at each, negative below the lowest."""
    lowest_R1, below_R1, highest_R1, above_R1 = record_R4.T.unsqueeze(-1)
    higher_RB, lower_RB = both(block_RB)
    under_RB = torch.where(below_R1 > 0, (lowest_R1 - higher_RB) / below_R1, 0.0)
    over_RB = torch.where(above_R1 > 0, (lower_RB - highest_R1) / above_R1, 0.0)
    far_RB = torch.maximum(under_RB, over_RB).nan_to_num()
    found_RB = torch.where(far_RB > 1.0, 6.0 + 4.0 * torch.log10(far_RB.clamp_min(1.0)), 0.0)
    return torch.where(under_RB > over_RB, -found_RB, found_RB)


def within(low_RX: Tensor, high_RX: Tensor, record_R4: Tensor) -> tuple[Tensor, Tensor]:
    """Ends of a band, which reaches no further than the records with their room."""
    lowest_R1, below_R1, highest_R1, above_R1 = record_R4.T.unsqueeze(-1)
    least_R1 = torch.where(below_R1 > 0, lowest_R1 - below_R1, -torch.inf)
    most_R1 = torch.where(above_R1 > 0, highest_R1 + above_R1, torch.inf)
    return torch.maximum(low_RX, least_R1), torch.minimum(high_RX, most_R1)

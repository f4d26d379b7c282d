"""A history with an anomaly in it, read at any slots.

Shapes: R rows (stream, channel), L slots of a history, A anomalies of a row, J slots of the longest anomaly,
B histories with one anomaly each, N slots that are read
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Injected(NamedTuple):
    """Anomalies of rows, and where they stand."""

    changed_RAJ: Tensor  # what stands in the place of the history from the onset on; NaN in gaps
    onset_RA: Tensor
    length_RA: Tensor  # slots that count


def spliced(x_RL: Tensor, made: Injected, row_B: Tensor, anomaly_B: Tensor, slot_BN: Tensor) -> Tensor:
    """Values (B, N) of row `row_B` with anomaly `anomaly_B` in it at slots; NaN before the history and after it.

    Anomalies are counted through all rows: anomaly a of row r has number r·A + a.
    """
    length = x_RL.shape[1]
    outside_BN = (slot_BN < 0) | (slot_BN >= length)
    value_BN = x_RL[row_B[:, None], slot_BN.clamp(0, length - 1)]
    value_BN = torch.where(outside_BN, torch.nan, value_BN)
    within_BN = slot_BN - made.onset_RA.flatten()[anomaly_B, None]
    inside_BN = (within_BN >= 0) & (within_BN < made.length_RA.flatten()[anomaly_B, None])
    longest = made.changed_RAJ.shape[-1]
    changed_BN = made.changed_RAJ.flatten(0, 1)[anomaly_B[:, None], within_BN.clamp(0, longest - 1)]
    return torch.where(inside_BN & ~outside_BN, changed_BN, value_BN)


def pieces(x_RL: Tensor, made: Injected, margin: int) -> Tensor:
    """The surroundings of every anomaly (B, N) with it inside, `margin` slots on either side; row by row."""
    rows, anomalies, longest = made.changed_RAJ.shape
    anomaly_B = torch.arange(rows * anomalies, device=x_RL.device)
    slot_N = torch.arange(-margin, longest + margin, device=x_RL.device)
    return spliced(x_RL, made, anomaly_B // anomalies, anomaly_B, made.onset_RA.flatten()[:, None] + slot_N)

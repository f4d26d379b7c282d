"""Modes of a row: whether it has stayed in one for longer than ever, or goes to and fro between them more than ever.

Shapes: R rows, L slots, M modes
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.views.runs import CONTEXT, run_lengths

MODES = 4
CARRIED = 32  # slots at no mode that interrupt no stay: noise, or on the way
LONGEST = CONTEXT - CARRIED  # stays are not followed further
CHANGES = 32  # slots in which changes are counted …
_NEWEST, _AGAIN = 8, 2  # … while there are so many among the newest ones: what is over is over


class Modes(NamedTuple):
    """Of each row: the lowest and the highest value of each mode (NaN: it has fewer), and what is more than ever; zeros: it has none."""

    low_RM: Tensor
    high_RM: Tensor
    stay_RM: Tensor  # slots in each mode
    changes_R: Tensor  # changes in CHANGES slots


def at_modes(x_RL: Tensor, low_RM: Tensor, high_RM: Tensor) -> Tensor:
    """Mode of each slot, MODES where it is at none, NaN where there is no value."""
    mode_RL = torch.where(torch.isnan(x_RL), torch.nan, float(MODES))
    for mode in range(MODES):
        low_R1, high_R1 = low_RM[:, mode : mode + 1], high_RM[:, mode : mode + 1]
        mode_RL = torch.where((x_RL >= low_R1) & (x_RL <= high_R1), float(mode), mode_RL)
    return mode_RL


def lasting(mode_RL: Tensor) -> Tensor:
    """The same, but of a slot at no mode, or without a value, the last one's that was, up to CARRIED slots ago."""
    at_L = torch.arange(mode_RL.shape[-1], device=mode_RL.device)
    last_RL = torch.where(mode_RL < MODES, at_L, -1).cummax(-1).values
    known_RL = (last_RL >= 0) & (at_L - last_RL <= CARRIED)
    return torch.where(known_RL, mode_RL.gather(-1, last_RL.clamp_min(0)), float(MODES))


def changes(mode_RL: Tensor, window: int = CHANGES) -> Tensor:
    """How many of the newest slots up to each were at another mode than the one before."""
    changed_RL = (mode_RL[:, 1:] != mode_RL[:, :-1]) & (mode_RL[:, 1:] < MODES) & (mode_RL[:, :-1] < MODES)
    total_RL = torch.nn.functional.pad(changed_RL.long().cumsum(-1), (1, 0))
    return total_RL - torch.nn.functional.pad(total_RL, (window, 0))[:, : total_RL.shape[1]]


def score_modes(modes: Modes, x_RL: Tensor, count: int) -> Tensor:
    """Surprise (R, count, 2) of a stay that is longer than ever, and of more changes than ever, at the newest slots."""
    found_RL2 = x_RL.new_zeros((len(x_RL), count, 2))
    [some] = (modes.changes_R > 0).nonzero(as_tuple=True)
    if not len(some):
        return found_RL2
    modes = Modes(*(part[some] for part in modes))
    last_RL = lasting(at_modes(x_RL[some], modes.low_RM, modes.high_RM))
    run_RL = run_lengths(last_RL)[:, -count:].clamp_max(LONGEST)
    limit_RM = torch.nn.functional.pad(modes.stay_RM, (0, 1), value=torch.inf)
    over_RL = run_RL / limit_RM.gather(-1, last_RL[:, -count:].long())
    last_RL = last_RL[:, -count - CHANGES :]
    often_RL = torch.where(changes(last_RL, _NEWEST) >= _AGAIN, changes(last_RL) / modes.changes_R[:, None], 0.0)
    over_RL2 = torch.stack([over_RL, often_RL[:, -count:]], -1)
    found_RL2[some] = torch.where(over_RL2 > 1.0, 6.0 + 4.0 * torch.log10(over_RL2), 0.0)
    return found_RL2

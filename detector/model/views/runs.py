"""How long a row has had one value: its runs; and how surprising it is that something is more than it ever was.

Shapes: R rows, L slots, X rows that stay
"""

import torch
from torch import Tensor

CONTEXT = 600  # slots before a scored one that may count: runs are not followed further


def more_than_ever(over: Tensor) -> Tensor:
    """Surprise of what is so many times as much as would be more than ever.

    >>> more_than_ever(torch.tensor([0.0, 1.0, 10.0])).tolist()
    [0.0, 0.0, 10.0]
    """
    return torch.where(over > 1.0, 6.0 + 4.0 * torch.log10(over), 0.0)


def run_lengths(x_RL: Tensor) -> Tensor:
    """Length in slots of the run of equal values that ends at each slot, at most CONTEXT; gaps interrupt nothing and count nothing."""
    there_RL = torch.isfinite(x_RL)
    at_L = torch.arange(x_RL.shape[-1], device=x_RL.device)
    last_RL = torch.where(there_RL, at_L, 0).cummax(-1).values
    held_RL = x_RL.gather(-1, last_RL)
    changed_RL = torch.ones_like(there_RL)
    changed_RL[:, 1:] = held_RL[:, 1:] != held_RL[:, :-1]
    begun_RL = torch.where(changed_RL, at_L, 0).cummax(-1).values
    return torch.where(there_RL, (at_L - begun_RL + 1).clamp_max(CONTEXT), 0)


def newest_runs(x_RL: Tensor, count: int) -> Tensor:
    """Run lengths of the newest slots. Most rows change from slot to slot: theirs are 1, and not looked for."""
    now_RL, before_RL = x_RL[:, -count:], x_RL[:, -count - 1 : -1]
    runs_RL = torch.isfinite(now_RL).long()
    if before_RL.shape[1] < count:
        return run_lengths(x_RL)[:, -count:]
    [still_X] = ((now_RL == before_RL) | torch.isnan(before_RL)).any(-1).nonzero(as_tuple=True)
    if len(still_X):
        runs_RL[still_X] = run_lengths(x_RL[still_X])[:, -count:]
    return runs_RL

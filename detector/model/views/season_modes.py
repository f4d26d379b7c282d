"""Modes of a row: whether it has stayed in one for longer than ever, or goes to and fro between them more than ever.

Shapes: R rows, L slots, M modes, S statistics
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.views.runs import CONTEXT, more_than_ever
from detector.persistence import STATISTICS, slots_of

MODES = 4
CARRIED = 32  # slots at no mode that interrupt no stay: noise, or on the way
LONGEST = CONTEXT - CARRIED  # stays are not followed further
CHANGES = 32  # slots in which changes are counted …
_HOUR_S = 3_600
_NEWEST, _AGAIN = 8, 2  # … while there are so many among the newest ones: what is over is over


class Modes(NamedTuple):
    """Of each row: the lowest and the highest value of each mode (NaN: it has fewer), and what is more than ever; zeros: it has none."""

    low_RM: Tensor
    high_RM: Tensor
    stay_RM: Tensor  # slots in each mode
    changes_R: Tensor  # changes in CHANGES slots


def at_modes(x_RL: Tensor, low_RM: Tensor, high_RM: Tensor) -> Tensor:
    """Mode of each slot, int8; MODES where it is at none or has no value. Modes do not overlap, and are in order."""
    from_RL, beyond_RL = x_RL.new_zeros((2, *x_RL.shape), dtype=torch.int8)
    for mode in range(MODES):
        from_RL += x_RL >= low_RM[:, mode : mode + 1]
        beyond_RL += x_RL > high_RM[:, mode : mode + 1]
    mode_RL: Tensor = MODES + (from_RL - beyond_RL) * (from_RL - 1 - MODES)
    return mode_RL


def lasting(mode_RL: Tensor) -> Tensor:
    """The same, but of a slot at no mode the last one's that was, up to CARRIED slots ago."""
    at_L = torch.arange(1, mode_RL.shape[-1] + 1, dtype=torch.int32, device=mode_RL.device)
    last_RL = ((mode_RL < MODES) * at_L).cummax(-1).values
    held_RL = mode_RL.gather(-1, (last_RL - 1).clamp_min(0).long())
    return MODES + ((last_RL > 0) & (at_L - last_RL <= CARRIED)) * (held_RL - MODES)


def stays(mode_RL: Tensor) -> Tensor:
    """Slots of the stay that ends at each."""
    at_L = torch.arange(mode_RL.shape[-1], dtype=torch.int32, device=mode_RL.device)
    begun_RL = torch.nn.functional.pad((mode_RL[:, 1:] != mode_RL[:, :-1]) * at_L[1:], (1, 0))
    return at_L - begun_RL.cummax(-1).values + 1


def changes(mode_RL: Tensor, window: int = CHANGES) -> Tensor:
    """How many of the newest slots up to each were at another mode than the one before."""
    changed_RL = (mode_RL[:, 1:] != mode_RL[:, :-1]) & (mode_RL[:, 1:] < MODES) & (mode_RL[:, :-1] < MODES)
    total_RL = torch.nn.functional.pad(changed_RL.long().cumsum(-1), (1, 0))
    return total_RL - torch.nn.functional.pad(total_RL, (window, 0))[:, : total_RL.shape[1]]


def score_modes(modes: Modes, x_RL: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Surprise (R, count, 2) of a stay that is longer than ever, and of more changes than ever, at the newest slots.

    And for how many slots (R, count) a row may be where it is; 0: it has no modes, or is at none.
    """
    found_RL2, may_RL = x_RL.new_zeros((len(x_RL), count, 2)), x_RL.new_zeros((len(x_RL), count))
    [some] = (modes.changes_R > 0).nonzero(as_tuple=True)
    if not len(some):
        return found_RL2, may_RL
    modes = Modes(*(part[some] for part in modes))
    last_RL = lasting(at_modes(x_RL[some], modes.low_RM, modes.high_RM))
    stay_RL = stays(last_RL)[:, -count:].clamp_max(LONGEST)
    limit_RM = torch.nn.functional.pad(modes.stay_RM, (0, 1), value=torch.inf)
    # clamped, whatever a foreign artefact says
    limit_RL = limit_RM.gather(-1, last_RL[:, -count:].long().clamp(0, MODES))
    over_RL = stay_RL / limit_RL
    last_RL = last_RL[:, -count - CHANGES :]
    often_RL = torch.where(changes(last_RL, _NEWEST) >= _AGAIN, changes(last_RL) / modes.changes_R[:, None], 0.0)
    over_RL2 = torch.stack([over_RL, often_RL[:, -count:]], -1)
    found_RL2[some] = more_than_ever(over_RL2)
    may_RL[some] = torch.where(last_RL[:, -count:] < MODES, limit_RL, 0.0)
    return found_RL2, may_RL


def brief(may_RL: Tensor, interval_s: float) -> Tensor:
    """Which statistics (R, L, S) look back no further than a row may be where it is, and an hour at most; not those of spread."""
    least = [
        slots_of(s.seconds, interval_s) if s.seconds <= _HOUR_S and not s.spread else LONGEST + 1 for s in STATISTICS
    ]
    least_S = torch.tensor(least, device=may_RL.device)
    return (may_RL[..., None] >= least_S) & (least_S <= LONGEST)

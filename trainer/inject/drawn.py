"""Synthetic anomalies of 14 kinds for many rows at once: the evidence of what a view can see.

Every row gets the same draws, scaled by its own period, length and spread, so that rows do not influence each other.

Shapes: R rows (stream, channel), L slots of a history, A anomalies of one kind, J slots of the longest anomaly
"""

import torch
from torch import Tensor

from trainer.inject.kinds import DRAWN, SPIKE, Change, Stretch
from trainer.inject.splice import Injected

EACH = 6  # anomalies of a kind: 84 in all, a rate in steps of 1.2 %
SHORTEST = 6
LONGEST = 1500  # one and a half of the longest period
_EDGE = 200  # slots at either end of the history that are left alone, or a tenth of it
_SPREAD_FLOOR = 0.03  # of the row: a flat stretch has no spread of its own to scale an anomaly by


def inject(x_RL: Tensor, period_R: Tensor, first_R: Tensor, seed: int = 0, each: int = EACH) -> Injected:
    """All anomalies of all rows, in the rows' unit (float64).

    Args:
        x_RL: standardised rows, NaN = gap, that begin at slots `first_R`.
        period_R: slots of each row's shortest cycle.
        each: anomalies of a kind; they come kind by kind in the order of DRAWN.
    """
    generator = torch.Generator().manual_seed(seed)
    gap_RL = torch.isnan(x_RL)
    x_RL = torch.where(gap_RL, 0.0, x_RL).double()
    slots_R = (x_RL.shape[1] - first_R).double()
    top_R = torch.minimum(torch.maximum(1.5 * period_R.double(), torch.tensor(60.0)), slots_R / 8)
    top_R = top_R.clamp(SHORTEST, LONGEST)
    width = int(top_R.max().ceil())
    parts = [
        _of_kind(name, change, x_RL, gap_RL, period_R, first_R, slots_R, top_R, width, each, generator)
        for name, change in DRAWN.items()
    ]
    return Injected(*(torch.cat(part, 1) for part in zip(*parts, strict=True)))


def _of_kind(
    name: str, change: Change, x_RL: Tensor, gap_RL: Tensor, period_R: Tensor, first_R: Tensor,
    slots_R: Tensor, top_R: Tensor, width: int, each: int, generator: torch.Generator,
) -> Injected:  # fmt: skip
    u_4A = torch.rand(4, each, generator=generator, dtype=torch.float64).to(x_RL.device)
    noise_AJ = torch.randn(each, LONGEST, generator=generator, dtype=torch.float64)[:, :width].to(x_RL.device)
    length_RA = (SHORTEST * (top_R[:, None] / SHORTEST) ** u_4A[2]).floor()
    if name == SPIKE:
        longest_RA = ((period_R[:, None] / 8).clamp_min(1) * u_4A[2]).floor() + 1
        length_RA = torch.minimum(length_RA, longest_RA)
    edge_R = torch.minimum(slots_R / 10, torch.tensor(float(_EDGE)))
    onset_RA = first_R[:, None] + (edge_R[:, None] + (slots_R - 2 * edge_R)[:, None] * u_4A[3]).floor()
    last_RA = (x_RL.shape[1] - edge_R[:, None] - length_RA).floor()
    onset_RA = torch.minimum(onset_RA, last_RA).clamp_min(0).long()
    length_RA = length_RA.long()
    at_RAJ = onset_RA[..., None] + torch.arange(width, device=x_RL.device)
    flat = at_RAJ.clamp(0, x_RL.shape[1] - 1).flatten(1)
    value_RAJ = x_RL.gather(1, flat).reshape(at_RAJ.shape)
    inside_RAJ = torch.arange(width, device=x_RL.device) < length_RA[..., None]
    stretch = Stretch(
        x_RL=x_RL,
        value_RAJ=value_RAJ,
        onset_RA=onset_RA,
        length_RA=length_RA,
        level_RA1=(value_RAJ * inside_RAJ).sum(-1, keepdim=True) / inside_RAJ.sum(-1, keepdim=True).clamp_min(1),
        spread_RA1=_spread(x_RL, onset_RA, length_RA, period_R)[..., None],
        period_R11=period_R.double()[:, None, None],
        first_R=first_R,
        noise=noise_AJ,
        u_A1=tuple(u[:, None] for u in u_4A),
    )
    gap_RAJ = gap_RL.gather(1, flat).reshape(at_RAJ.shape)
    return Injected(torch.where(gap_RAJ, torch.nan, change(stretch)), onset_RA, length_RA)


def _spread(x_RL: Tensor, onset_RA: Tensor, length_RA: Tensor, period_R: Tensor) -> Tensor:
    """Standard deviation (R, A) around each anomaly, half a period to either side."""
    half_R1 = (period_R / 2).long()[:, None]
    low_RA = (onset_RA - half_R1).clamp_min(0)
    high_RA = (onset_RA + length_RA + half_R1).clamp_max(x_RL.shape[1])

    def moment(y_RL: Tensor) -> Tensor:
        total_RL = torch.nn.functional.pad(y_RL.cumsum(1), (1, 0))
        return (total_RL.gather(1, high_RA) - total_RL.gather(1, low_RA)) / (high_RA - low_RA).clamp_min(1)

    return (moment(x_RL**2) - moment(x_RL) ** 2).clamp_min(0).sqrt() + _SPREAD_FLOOR

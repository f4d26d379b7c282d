"""Synthetic anomalies of 14 kinds, put into many rows' own history at once: the evidence of what a view can see.

Every row gets the same draws, scaled by its own period, length and spread, so that rows do not influence each other.

Shapes: R rows, L slots, A anomalies of one kind, B slots of a piece of history with the anomaly inside, J slots of
the longest anomaly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.views.shapes import WIDTH_MAX

EACH = 6  # anomalies of a kind: 84 in all, a rate in steps of 1.2 %
SHORTEST = 6
LONGEST = 1500  # one and a half of the longest period
PAD = WIDTH_MAX // 2 + 1  # slots kept on either side: the widest window, centred on the anomaly's edge
_EDGE = 200  # slots at either end of the history that are left alone, or a tenth of it
_SPREAD_FLOOR = 0.03  # of the row: a flat stretch has no spread of its own to scale an anomaly by
_FLAT_NOISE = 0.01


class Injected(NamedTuple):
    """Pieces of history with one anomaly each; all of one row stand together."""

    piece_RAB: Tensor
    start_RA: Tensor  # slot of the piece's first value
    onset_RA: Tensor
    length_RA: Tensor


@dataclass(frozen=True)
class _Draw:
    """One kind's anomalies to be."""

    x_RL: Tensor
    seg_RAJ: Tensor  # what is there
    j_J: Tensor
    onset_RA: Tensor
    length_RA: Tensor
    spread_RA1: Tensor
    period_R11: Tensor
    noise_AJ: Tensor
    u_A1: tuple[Tensor, ...]  # uniform draws, (A, 1)
    first_R: Tensor

    def sign(self) -> Tensor:
        """±1."""
        return torch.where(self.u_A1[0] < 0.5, -1.0, 1.0)

    def between(self, draw: int, low: float, high: float) -> Tensor:
        """A uniform number."""
        return low + (high - low) * self.u_A1[draw]

    def inside(self) -> Tensor:
        """Slots of the anomaly."""
        return self.j_J < self.length_RA[..., None]

    def at(self, slot_RAJ: Tensor) -> Tensor:
        """Values of the history between slots, linear."""
        slot_RAJ = slot_RAJ.clamp(0, self.x_RL.shape[1] - 1.001)
        low_RAJ = slot_RAJ.floor().long()
        flat = low_RAJ.flatten(1)
        low, high = self.x_RL.gather(1, flat), self.x_RL.gather(1, flat + 1)
        return torch.lerp(low, high, (slot_RAJ - low_RAJ).flatten(1)).reshape(slot_RAJ.shape)

    def mean(self) -> Tensor:
        """Mean of what is there (R, A, 1)."""
        inside = self.inside()
        return (self.seg_RAJ * inside).sum(-1, keepdim=True) / inside.sum(-1, keepdim=True).clamp_min(1)

    def share(self) -> Tensor:
        """0 at the first slot, 1 at the last."""
        return self.j_J / (self.length_RA[..., None] - 1).clamp_min(1)

    def last(self) -> Tensor:
        """Value at the last slot (R, A, 1)."""
        return self.seg_RAJ.gather(-1, (self.length_RA[..., None] - 1).clamp_min(0))


def _noise(d: _Draw) -> Tensor:
    return d.seg_RAJ + d.noise_AJ * d.spread_RA1 * d.between(1, 0.1, 0.8)


def _spike(d: _Draw) -> Tensor:
    return d.seg_RAJ + d.sign() * d.spread_RA1 * d.between(1, 0.7, 3.0)


def _amplitude(d: _Draw) -> Tensor:
    factor = torch.where(d.u_A1[0] < 0.5, d.between(1, 0.0, 0.7), d.between(1, 1.3, 2.2))
    return d.mean() + (d.seg_RAJ - d.mean()) * factor


def _shift(d: _Draw) -> Tensor:
    length = d.length_RA[..., None]
    edge = torch.minimum(d.j_J.expand_as(d.seg_RAJ), length - 1 - d.j_J).clamp_min(0) / (length * 0.1).clamp_min(1)
    return d.seg_RAJ + edge.clamp_max(1) * d.sign() * d.spread_RA1 * d.between(1, 0.3, 1.5)


def _freeze(d: _Draw) -> Tensor:
    return d.seg_RAJ[..., :1] + d.noise_AJ * _FLAT_NOISE


def _reverse(d: _Draw) -> Tensor:
    return d.seg_RAJ.gather(-1, (d.length_RA[..., None] - 1 - d.j_J).clamp_min(0).long())


def _warp(d: _Draw) -> Tensor:
    factor = torch.where(d.u_A1[0] < 0.5, d.between(1, 0.5, 0.8), d.between(1, 1.25, 2.0))
    return d.at(d.onset_RA[..., None] + d.j_J * factor)


def _elsewhere(d: _Draw) -> Tensor:
    room_RA = (d.x_RL.shape[1] - d.first_R[:, None] - d.length_RA).clamp_min(1)
    start_RA = d.first_R[:, None] + (room_RA * d.u_A1[1][:, 0]).floor()
    other = d.at(start_RA[..., None] + d.j_J.expand_as(d.seg_RAJ))
    return other + torch.where(d.u_A1[0] < 0.5, 0.0, 1.0) * (d.seg_RAJ[..., :1] - other[..., :1])


def _trend(d: _Draw) -> Tensor:
    return d.seg_RAJ + d.share() * d.sign() * d.spread_RA1 * d.between(1, 0.5, 2.0)


def _straight(d: _Draw) -> Tensor:
    return torch.lerp(d.seg_RAJ[..., :1].expand_as(d.seg_RAJ), d.last().expand_as(d.seg_RAJ), d.share())


def _bump(d: _Draw) -> Tensor:
    bell = torch.exp(-((5.0 * d.share() - 2.5) ** 2))
    return d.seg_RAJ + bell * d.spread_RA1 * d.sign() * d.between(1, 0.4, 1.5)


def _flip(d: _Draw) -> Tensor:
    return 2 * d.mean() - d.seg_RAJ


def _smooth(d: _Draw) -> Tensor:
    within = torch.minimum(d.length_RA[..., None].double(), d.period_R11)
    half = (within * d.between(1, 0.1, 0.5)).clamp_min(3) / 2
    total_RL = torch.nn.functional.pad(d.x_RL.cumsum(1), (1, 0))
    at = d.onset_RA[..., None] + d.j_J

    def look(slot: Tensor) -> Tensor:
        return total_RL.gather(1, slot.flatten(1)).reshape(slot.shape)

    low = (at - half).floor().long().clamp(0, d.x_RL.shape[1] - 1)
    high = (at + half).floor().long().clamp(0, d.x_RL.shape[1] - 1) + 1
    return (look(high) - look(low)) / (high - low)


def _clip(d: _Draw) -> Tensor:
    far = torch.where(d.inside(), d.seg_RAJ, torch.nan)
    low, high = (
        far.nan_to_num(nan=math.inf).amin(-1, keepdim=True),
        far.nan_to_num(nan=-math.inf).amax(-1, keepdim=True),
    )
    limit = low + (high - low) * d.between(1, 0.3, 0.85)
    return torch.where(d.u_A1[0] < 0.5, torch.minimum(d.seg_RAJ, limit), torch.maximum(d.seg_RAJ, limit))


KINDS: tuple[Callable[[_Draw], Tensor], ...] = (
    _noise, _spike, _amplitude, _shift, _freeze, _reverse, _warp, _elsewhere, _trend, _straight, _bump, _flip,
    _smooth, _clip,
)  # fmt: skip


def inject(x_RL: Tensor, period_R: Tensor, first_R: Tensor, seed: int = 0, each: int = EACH) -> Injected:
    """All anomalies of all rows. `x_RL` (NaN = gap) begins at slots `first_R`; `period_R` is in slots.

    Kind by kind in the order of KINDS, `each` of them.
    """
    generator = torch.Generator().manual_seed(seed)
    gap_RL = torch.isnan(x_RL)
    x_RL = torch.where(gap_RL, 0.0, x_RL).double()
    slots_R = (x_RL.shape[1] - first_R).double()
    top_R = torch.minimum(torch.maximum(1.5 * period_R.double(), torch.tensor(60.0)), slots_R / 8)
    top_R = top_R.clamp(SHORTEST, LONGEST)
    width = int(top_R.max().ceil())
    parts = [_of_kind(kind, x_RL, gap_RL, period_R, first_R, slots_R, top_R, width, each, generator) for kind in KINDS]
    return Injected(*(torch.cat(part, 1) for part in zip(*parts, strict=True)))


def _of_kind(
    kind: Callable[[_Draw], Tensor], x_RL: Tensor, gap_RL: Tensor, period_R: Tensor, first_R: Tensor,
    slots_R: Tensor, top_R: Tensor, width: int, each: int, generator: torch.Generator,
) -> Injected:  # fmt: skip
    u_DA = torch.rand(4, each, generator=generator, dtype=torch.float64).to(x_RL.device)
    noise_AJ = torch.randn(each, LONGEST, generator=generator, dtype=torch.float64)[:, :width].to(x_RL.device)
    length_RA = (SHORTEST * (top_R[:, None] / SHORTEST) ** u_DA[2]).floor()
    if kind is _spike:
        longest_RA = ((period_R[:, None] / 8).clamp_min(1) * u_DA[2]).floor() + 1
        length_RA = torch.minimum(length_RA, longest_RA)
    edge_R = torch.minimum(slots_R / 10, torch.tensor(float(_EDGE)))
    onset_RA = first_R[:, None] + (edge_R[:, None] + (slots_R - 2 * edge_R)[:, None] * u_DA[3]).floor()
    last_RA = (x_RL.shape[1] - edge_R[:, None] - length_RA).floor()
    onset_RA = torch.minimum(onset_RA, last_RA).clamp_min(0).long()
    length_RA = length_RA.long()
    size = width + 2 * PAD
    at_RAB = onset_RA[..., None] - PAD + torch.arange(size, device=x_RL.device)
    outside_RAB = (at_RAB < first_R[:, None, None]) | (at_RAB >= x_RL.shape[1])
    flat_RX = at_RAB.clamp(0, x_RL.shape[1] - 1).flatten(1)
    piece_RAB = x_RL.gather(1, flat_RX).reshape(at_RAB.shape)
    outside_RAB = outside_RAB | gap_RL.gather(1, flat_RX).reshape(at_RAB.shape)
    draw = _Draw(
        x_RL, piece_RAB[..., PAD : PAD + width], torch.arange(width, device=x_RL.device, dtype=torch.float64),
        onset_RA, length_RA, _spread(x_RL, onset_RA, length_RA, period_R)[..., None],
        period_R.double()[:, None, None], noise_AJ, tuple(u[:, None] for u in u_DA), first_R,
    )  # fmt: skip
    changed_RAJ = torch.where(draw.inside(), kind(draw), draw.seg_RAJ)
    piece_RAB = torch.cat([piece_RAB[..., :PAD], changed_RAJ, piece_RAB[..., PAD + width :]], -1)
    return Injected(torch.where(outside_RAB, torch.nan, piece_RAB), onset_RA - PAD, onset_RA, length_RA)


def _spread(x_RL: Tensor, onset_RA: Tensor, length_RA: Tensor, period_R: Tensor) -> Tensor:
    """Standard deviation (R, A) around each anomaly, half a period to either side."""
    half_R1 = (period_R / 2).long()[:, None]
    low_RA = (onset_RA - half_R1).clamp_min(0)
    high_RA = (onset_RA + length_RA + half_R1).clamp_max(x_RL.shape[1])

    def moment(y_RL: Tensor) -> Tensor:
        total_RL = torch.nn.functional.pad(y_RL.cumsum(1), (1, 0))
        return (total_RL.gather(1, high_RA) - total_RL.gather(1, low_RA)) / (high_RA - low_RA).clamp_min(1)

    return (moment(x_RL**2) - moment(x_RL) ** 2).clamp_min(0).sqrt() + _SPREAD_FLOOR

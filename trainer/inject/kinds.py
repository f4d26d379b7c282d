"""All kinds of synthetic anomalies: what becomes of a stretch of history.

`DRAWN` are the 14 kinds whose strength is drawn: their sizes reach down to what is hard to see, and they are the
evidence of what a view can find. `PLAIN` are the four kinds of the trainer's gate, each so large that a student which
does not see it is blind; they are the same changes with a fixed size.

Shapes: R rows (stream, channel), L slots of a history, A anomalies of one kind, J slots of the longest anomaly
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_FLAT_NOISE = 0.01  # standard deviations: a sensor that is stuck still has its last digit
SPIKE_SLOTS = 4  # of the gate's spike


@dataclass(frozen=True)
class Stretch:
    """Where the anomalies of one kind will be, and what was drawn for them."""

    x_RL: Tensor  # the history, 0 in gaps
    value_RAJ: Tensor  # what is there
    onset_RA: Tensor
    length_RA: Tensor
    level_RA1: Tensor  # what a change of amplitude is around
    spread_RA1: Tensor  # standard deviation of what is around it: the unit of sizes
    period_R11: Tensor  # slots
    first_R: Tensor  # first slot of each history
    noise: Tensor  # standard normal, (A, J) or (R, A, J)
    u_A1: tuple[Tensor, ...]  # uniform draws

    @property
    def j_J(self) -> Tensor:
        """Slots counted from the onset."""
        return torch.arange(self.value_RAJ.shape[-1], device=self.value_RAJ.device, dtype=torch.float64)

    def sign(self) -> Tensor:
        """±1."""
        return torch.where(self.u_A1[0] < 0.5, -1.0, 1.0)

    def size(self, low: float, high: float) -> Tensor:
        """How strong each anomaly is: uniform between two bounds."""
        return low + (high - low) * self.u_A1[1]

    def less_or_more(self, less: tuple[float, float], more: tuple[float, float]) -> Tensor:
        """A factor in one of two ranges, each with an even chance."""
        return torch.where(self.u_A1[0] < 0.5, self.size(*less), self.size(*more))

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

    def share(self) -> Tensor:
        """0 at the first slot, 1 at the last."""
        return self.j_J / (self.length_RA[..., None] - 1).clamp_min(1)

    def last(self) -> Tensor:
        """Value at the last slot (R, A, 1)."""
        return self.value_RAJ.gather(-1, (self.length_RA[..., None] - 1).clamp_min(0))


Change = Callable[[Stretch], Tensor]  # what stands in the place of the stretch, (R, A, J)


def _noise(s: Stretch, size: Tensor | float) -> Tensor:
    """Noise on top."""
    return s.value_RAJ + s.noise * s.spread_RA1 * size


def _lift(s: Stretch, size: Tensor | float) -> Tensor:
    """All slots move by the same, up or down."""
    return s.value_RAJ + s.sign() * s.spread_RA1 * size


def _amplitude(s: Stretch, factor: Tensor | float) -> Tensor:
    """Deviations from the level grow or shrink."""
    return s.level_RA1 + (s.value_RAJ - s.level_RA1) * factor


def _shift(s: Stretch) -> Tensor:
    """The level moves, over a tenth of the length at either end."""
    length = s.length_RA[..., None]
    edge = torch.minimum(s.j_J.expand_as(s.value_RAJ), length - 1 - s.j_J).clamp_min(0) / (length * 0.1).clamp_min(1)
    return s.value_RAJ + edge.clamp_max(1) * s.sign() * s.spread_RA1 * s.size(0.3, 1.5)


def _freeze(s: Stretch) -> Tensor:
    """The first value stays."""
    return s.value_RAJ[..., :1] + s.noise * _FLAT_NOISE


def _reverse(s: Stretch) -> Tensor:
    """The same backwards."""
    return s.value_RAJ.gather(-1, (s.length_RA[..., None] - 1 - s.j_J).clamp_min(0).long())


def _warp(s: Stretch) -> Tensor:
    """The same, slower or faster."""
    return s.at(s.onset_RA[..., None] + s.j_J * s.less_or_more((0.5, 0.8), (1.25, 2.0)))


def _elsewhere(s: Stretch) -> Tensor:
    """Another stretch of the history, on its own level or on that of this one."""
    room_RA = (s.x_RL.shape[1] - s.first_R[:, None] - s.length_RA).clamp_min(1)
    start_RA = s.first_R[:, None] + (room_RA * s.u_A1[1][:, 0]).floor()
    other = s.at(start_RA[..., None] + s.j_J.expand_as(s.value_RAJ))
    return other + torch.where(s.u_A1[0] < 0.5, 0.0, 1.0) * (s.value_RAJ[..., :1] - other[..., :1])


def _trend(s: Stretch) -> Tensor:
    """A drift that ends at once."""
    return s.value_RAJ + s.share() * s.sign() * s.spread_RA1 * s.size(0.5, 2.0)


def _straight(s: Stretch) -> Tensor:
    """A line from the first value to the last."""
    return torch.lerp(s.value_RAJ[..., :1].expand_as(s.value_RAJ), s.last().expand_as(s.value_RAJ), s.share())


def _bump(s: Stretch) -> Tensor:
    """A bell on top."""
    bell = torch.exp(-((5.0 * s.share() - 2.5) ** 2))
    return s.value_RAJ + bell * s.spread_RA1 * s.sign() * s.size(0.4, 1.5)


def _flip(s: Stretch) -> Tensor:
    """The same upside down."""
    return 2 * s.level_RA1 - s.value_RAJ


def _smooth(s: Stretch) -> Tensor:
    """A moving mean of the history."""
    within = torch.minimum(s.length_RA[..., None].double(), s.period_R11)
    half = (within * s.size(0.1, 0.5)).clamp_min(3) / 2
    total_RL = torch.nn.functional.pad(s.x_RL.cumsum(1), (1, 0))
    at = s.onset_RA[..., None] + s.j_J

    def total(slot: Tensor) -> Tensor:
        return total_RL.gather(1, slot.flatten(1)).reshape(slot.shape)

    low = (at - half).floor().long().clamp(0, s.x_RL.shape[1] - 1)
    high = (at + half).floor().long().clamp(0, s.x_RL.shape[1] - 1) + 1
    return (total(high) - total(low)) / (high - low)


def _clip(s: Stretch) -> Tensor:
    """Nothing above, or nothing below, a limit within the range of the stretch."""
    known = torch.where(s.inside(), s.value_RAJ, torch.nan)
    low = known.nan_to_num(nan=math.inf).amin(-1, keepdim=True)
    high = known.nan_to_num(nan=-math.inf).amax(-1, keepdim=True)
    limit = low + (high - low) * s.size(0.3, 0.85)
    return torch.where(s.u_A1[0] < 0.5, torch.minimum(s.value_RAJ, limit), torch.maximum(s.value_RAJ, limit))


SPIKE = "spike"  # the one kind that lasts only a few slots in both catalogues
DRAWN: dict[str, Change] = {
    "noise": lambda s: _noise(s, s.size(0.1, 0.8)),
    SPIKE: lambda s: _lift(s, s.size(0.7, 3.0)),
    "amplitude": lambda s: _amplitude(s, s.less_or_more((0.0, 0.7), (1.3, 2.2))),
    "shift": _shift,
    "freeze": _freeze,
    "reverse": _reverse,
    "warp": _warp,
    "elsewhere": _elsewhere,
    "trend": _trend,
    "straight": _straight,
    "bump": _bump,
    "flip": _flip,
    "smooth": _smooth,
    "clip": _clip,
}
PLAIN: dict[str, Change] = {
    "shift": lambda s: _lift(s, 5.0),  # the level moves by 5 standard deviations
    "burst": lambda s: _amplitude(s, 10.0),  # deviations from the median are ten times as large
    "noise": lambda s: _noise(s, 4.0),  # noise of 4 standard deviations
    SPIKE: lambda s: _lift(s, 12.0),  # four slots 12 standard deviations away
}

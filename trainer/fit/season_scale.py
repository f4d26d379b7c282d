"""How widely a row scatters at each phase of the day.

Shapes: R rows, B coarse blocks, L slots, D days, K phases (blocks of a day), M values of a day at one phase.
"""

import torch
from torch import Tensor

from detector import persistence
from detector.model.views import season
from detector.model.views.season import DAY_S
from trainer.fit.season_days import History, quantile

SCALE_DAYS = 21
# What the rare weighs in the scale of an hour, of a row that moves and of one that is nearly always the same: of that the
# rare is all there is, and an hour without it must be told from one with it.
_MOVES, _SPARSE = 0.6, 1.2
_STEEP, _STEEP_LEAST = 1.0, 12  # scales that make an average steep, and how many such averages say what onsets shift by
_WORKDAYS = 5  # that say how calm they are
GRAINS = 1.2  # a count more or less is no departure where counts are rare


def floor(h: History) -> Tensor:
    """Smallest scale of a row: a twentieth of what one slot usually differs from the next, or of float16's steps."""
    step = (h.slot_RL[:, 1:] - h.slot_RL[:, :-1]).double()
    many = torch.isfinite(step).sum(-1).clamp_min(1)
    size = torch.sqrt(step.nan_to_num().square().sum(-1) / many).float()
    return 0.05 * size + 1e-4 * h.slot_RL.abs().nan_to_num().amax(-1) + 1e-9


def outside(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """How far values lie outside their band."""
    return x - torch.minimum(torch.maximum(x, low), high)


def grain(slot_RL: Tensor) -> Tensor:
    """Smallest difference between a row's values: large where they are counts or come in steps."""
    ordered = torch.where(torch.isfinite(slot_RL), slot_RL, torch.inf).sort(-1).values
    steps = ordered[:, 1:] - ordered[:, :-1]
    steps = torch.where((steps > 0) & torch.isfinite(steps), steps, torch.inf).amin(-1)
    # values without steps differ by next to nothing somewhere among 8 192
    return torch.where(torch.isfinite(steps), steps, 0.0)


def sum_scale(sum_RB: Tensor, step_RB: Tensor, at_RB: Tensor, per_day: int) -> Tensor:
    """Scale of an average by the phase at which it ends, in that of all phases.

    The hour that ends within a job's jitter has two jobs or none, all the others have one: pooled, nothing would miss it.
    `step_RB` is what the average would depart by if all came one block late: what onsets shift by at one phase of the
    day says something of the others.
    """
    whole = quantile(sum_RB.abs(), 0.9)[:, None] / 1.645 + 1e-6
    count = int(at_RB.max()) // per_day + 1

    def by_phase(x_RB: Tensor) -> Tensor:
        grid = torch.full((x_RB.shape[0], count * per_day), torch.nan).scatter(1, at_RB, x_RB)
        return grid.view(-1, count, per_day).abs()[:, -SCALE_DAYS:]

    grid, step_RDK = by_phase(sum_RB), by_phase(step_RB)
    shifts = torch.where(step_RDK > _STEEP * whole[..., None], grid / step_RDK, torch.nan).flatten(1)
    shift_R = torch.where(torch.isfinite(shifts).sum(-1) >= _STEEP_LEAST, quantile(shifts, 0.75) / 1.15, 0.0)
    usual = torch.hypot(whole, shift_R[:, None] * quantile(step_RDK.transpose(1, 2), 0.75).nan_to_num())
    reach = 1 if per_day >= 96 else 0
    near = torch.cat([grid.roll(s, 2) for s in range(-reach, reach + 1)], 1).transpose(1, 2)
    many = torch.isfinite(near).sum(-1)
    scale = torch.maximum(quantile(near, 0.5) / 0.6745, quantile(near, 0.9) / 1.645)
    # few days say little of a single phase: as if forty more had had the scale of all
    mixed = (many * scale.nan_to_num() + 40.0 * usual) / (many + 40.0)
    return (mixed / whole).clamp(0.3, 10.0)


def slowness(error_RB: Tensor, block_s: int) -> Tensor:
    """Share of the blocks' variance that is left in averages over four hours, 0 to 1."""
    long_RB = season.trailing(error_RB, persistence.slots_of(14_400, block_s))
    wide, narrow = (quantile(x.abs(), 0.8).square() for x in (error_RB, long_RB))
    return (narrow / (wide + 1e-12)).nan_to_num().clamp(0.0, 1.0)


def _near(error_RDKM: Tensor, reach: int, step: int) -> Tensor:
    """All errors of the neighbouring phases (R, K, N)."""
    rolled = [error_RDKM.roll(s, 2) for s in range(-reach, reach + 1, step)]
    return torch.cat(rolled, -1).transpose(1, 2).flatten(2)


def scales(error_RDKM: Tensor, floor_RK: Tensor) -> Tensor:
    """Scale of each phase: of the bulk, of the 90 % quantile and of what is rare within the hour, whichever is largest."""
    per_day = error_RDKM.shape[2]
    reach = max(1, round(600 * per_day / DAY_S))
    near = _near(error_RDKM.abs(), reach, 1)
    bulk, rare = quantile(near, 0.5) / 0.6745, quantile(near, 0.9) / 1.645
    wide = _near(error_RDKM.abs(), max(1, 3600 * per_day // DAY_S), max(1, 600 * per_day // DAY_S))
    cap = quantile(wide, 0.995)[..., None]
    many = torch.isfinite(wide).sum(-1).clamp_min(1)
    root = torch.sqrt(torch.minimum(wide, cap).nan_to_num().square().sum(-1) / many)
    whole = (quantile(error_RDKM.abs().flatten(1), 0.5) / 0.6745)[:, None]
    share = torch.where(whole > 0, _MOVES, _SPARSE)
    scale = torch.stack([bulk, rare, share * root, (0.3 * whole).expand_as(bulk)]).nan_to_num().amax(0)
    soft = max(1, round(900 * per_day / DAY_S))
    smooth = torch.stack([scale.roll(s, -1) for s in range(-soft, soft + 1)]).mean(0)
    return torch.maximum(smooth, floor_RK)


def calmer(work: tuple[Tensor, Tensor], whole: tuple[Tensor, Tensor], many_RK: Tensor) -> Tensor:
    """What part of two scales (R, K) workdays have, the larger one: less than all where weekends err more.

    Where so `many` workdays are known. A Saturday that ends at noon says nothing of how far a Tuesday morning may be off.
    """
    part_RK = torch.maximum(*(a / b for a, b in zip(work, whole, strict=True))).clamp(0.05, 1.0)
    return torch.where(many_RK >= _WORKDAYS, part_RK, 1.0)


def slot_scales(error_RL: Tensor, h: History, block_scale_RK: Tensor, floor_RK: Tensor) -> Tensor:
    """Scale of single slots by phase; phases the ring does not hold: as much wider than blocks as elsewhere."""
    per_day = block_scale_RK.shape[-1]
    first = (h.slot_local_RL[:, 0] // DAY_S)[:, None] * DAY_S
    place = (h.slot_local_RL - first) // h.interval_s
    slots = DAY_S // h.interval_s
    count = int(place.max()) // slots + 1
    grid = torch.full((error_RL.shape[0], count * slots), torch.nan).scatter(1, place, error_RL)
    grid = grid.view(error_RL.shape[0], count, per_day, slots // per_day)
    # a fine ring of one second has 300 slots a block: 30 of them say the same
    grid = grid[..., :: max(1, slots // per_day // 30)]
    scale = scales(grid, floor_RK)
    known = torch.isfinite(grid).flatten(3).any(-1).any(1)
    ratio = quantile(torch.where(known, scale / block_scale_RK, torch.nan), 0.5)[:, None].nan_to_num(1.0)
    return torch.where(known, scale, torch.maximum(ratio * block_scale_RK, floor_RK))

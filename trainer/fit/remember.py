"""Which rows keep a shape memory, and how much it counts beside the row's other views.

Shapes: R rows (stream, channel), L slots, S streams, X rows with a shape memory, M sampled slots, C channels
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from detector.model import calibration
from detector.model.archive import GAP, STRETCH, Archive
from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.periods import shape_period
from detector.model.row_types import Rows
from detector.model.shallow import blended
from detector.model.views import shapes
from detector.model.views.season import DAY_S
from streamer.timestamps import NS
from trainer.fit.archive import KEPT_SHAPED, joined, thinned
from trainer.fit.histories import History, Stack
from trainer.fit.levels import ROW_FLOOR
from trainer.fit.scaling import Scaling, has_few
from trainer.fit.shapes import FROM, FULL, fit_shapes
from trainer.settings import TrainerSettings

# With more channels than this a memory's share is too small to pay for it. Shapes of 19 channels (asd) that counted in
# full took .30 off a VUS-PR of .69.
SHAPED_CHANNELS = 4
A_DAY_OFF = 0.02  # of a day, that a row's cycle may be off it
LEAST_BLEND = 0.1  # a memory that counts for less is not kept


class Remembered(NamedTuple):
    """Normal slots of rows with a shape memory, each judged without its neighbours in time."""

    at_X: Tensor  # rows
    end_XM: Tensor
    row_XM: Tensor  # surprise of the row with its shapes; NaN where either is missing

    def published(self, row_RL: Tensor) -> Tensor:
        """Surprise (R, L) of rows with the shapes that they have: of those with some, NaN but at these slots."""
        out_RL = row_RL.clone()
        nowhere_XL = torch.full_like(row_RL[self.at_X], torch.nan)
        out_RL[self.at_X] = nowhere_XL.scatter(1, self.end_XM, self.row_XM.to(row_RL))
        return out_RL


def remember(
    x_RL: Tensor, rows: Rows, row_RL: Tensor, scaling: Scaling, layout: Layout, stack: Stack, settings: TrainerSettings
) -> tuple[Memories, Remembered | None]:
    """Shape memories of the rows whose evidence asks for one, and how they judge the history.

    Sets `blend`, `rest` and `lag` of all rows. `row_RL` is the rows' held-back surprise without shapes. The channels
    of a stream that may have shapes share one weight: each of them is one more chance to fire.
    """
    rows |= {name: torch.zeros(len(x_RL), device=x_RL.device) for name in ("blend", "rest", "lag")}
    many_S = torch.zeros(len(stack.histories), device=x_RL.device).index_add_(
        0, stack.stream_R, (~scaling.few_R).float()
    )
    many_R = many_S[stack.stream_R]
    # What the archive has more of is no shape: of a ring at rest every injected anomaly is found, and all else would be one.
    able_R = ~scaling.few_R & ~has_few(x_RL) & (many_R <= SHAPED_CHANNELS) & ~_daily(x_RL, stack)
    [able_X] = able_R.nonzero(as_tuple=True)
    if not len(able_X) or settings.shape_share == 0:
        return Memories(), None
    past_XL = older(able_X, stack, scaling)
    apart_S = torch.tensor([history.apart for history in stack.histories], device=x_RL.device)
    learnt_XL = torch.where(apart_S[stack.stream_R[able_X], None], torch.nan, past_XL)  # beside a new level it is not
    found = fit_shapes(x_RL[able_X], layout.shapes, layout.medoids, settings.shape_sharpness, learnt_XL)
    sure_X = ((found.evidence_R[found.fitted_X] - FROM) / (FULL - FROM)).clamp(0.0, 1.0)
    blend_X = settings.shape_share * sure_X / many_R[able_X[found.fitted_X]]
    [with_X] = (blend_X > LEAST_BLEND).nonzero(as_tuple=True)
    if not len(with_X):
        return Memories(), None
    blend_X, kept_X, past_XL = blend_X[with_X], able_X[found.fitted_X[with_X]], past_XL[found.fitted_X[with_X]]
    own = {name: value[with_X] for name, value in found.rows.items()}
    # The less evidence there is for shapes, the more the rest counts.
    mix = {"blend": blend_X, "rest": settings.shape_rest / blend_X}
    for name, value_X in mix.items():
        rows[name][kept_X] = value_X
    lag_X = (shapes.mean_width(own) + shapes.smoothing(own)) / 2
    rows["lag"][kept_X] = lag_X.float()
    end_XM, fused_XM, whole_XM = (value[with_X] for value in found.sample)
    shape_XM = calibration.surprise(fused_XM, own["shape.cal"][:, None])
    mixed_XM = blended(row_RL[kept_X].gather(1, end_XM), shape_XM, mix)
    mix_cal = calibration.fit(mixed_XM, whole_XM & torch.isfinite(mixed_XM), ROW_FLOOR, shape=calibration.FUSED_SHAPE)
    own["shape.mix"] = calibration.cap(mix_cal, scaling.cap_R[kept_X])
    both_XM = calibration.surprise(torch.where(whole_XM, mixed_XM, torch.nan), own["shape.mix"][:, None])
    histories, places = list[Tensor](), list[list[int]]()
    for i, row in enumerate(kept_X.tolist()):
        history = stack.histories[int(stack.stream_R[row])]
        known = before(history).places()
        past_L = past_XL[i, past_XL.shape[1] - len(known) * (STRETCH + GAP) :]
        first = int(torch.isfinite(x_RL[row]).long().argmax())
        histories.append(torch.cat([past_L, x_RL[row, first:]]).float().cpu())
        places.append([history.hi, *known])
        ends, begin = own["shape.ends"][i], past_XL.shape[1]
        skipped = torch.where(ends < begin, begin - len(past_L), begin - len(past_L) + first)
        own["shape.ends"][i] = (ends - skipped).clamp_min(0)
    return Memories(kept_X.tolist(), own, histories, places), Remembered(kept_X, end_XM, both_XM)


def before(history: History) -> Archive:
    """The stretches of a stream's past that its shape memories remember."""
    return thinned(history.shapes.until(history.lo), history.hi, KEPT_SHAPED)


def older(row_X: Tensor, stack: Stack, scaling: Scaling) -> Tensor:
    """What rows' streams have carried on, standardised, on the right (X, L): stretches, each with a gap after it."""
    parts = []
    for row in row_X.tolist():
        history = stack.histories[int(stack.stream_R[row])]
        values, _ = joined(before(history), history.values_SC[:0])
        own = torch.from_numpy(values[:, int(stack.channel_R[row])]).to(row_X.device).double()[None]
        # Neither clipped nor filled: it has been, and would be more so from fit to fit.
        parts.append((own - scaling.centre_R[row]) / scaling.scale_R[row])
    most = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (most - part.shape[1], 0), value=torch.nan) for part in parts])


def _daily(x_RL: Tensor, stack: Stack) -> Tensor:
    """Rows of which a shape would be as wide as a day or several: their season judges those."""
    past_L = [history.past for history in stack.histories]
    interval_S = [past.interval_ns / NS if past is not None and past.seasonal else math.nan for past in past_L]
    days_R = shape_period(x_RL) * torch.tensor(interval_S, device=x_RL.device)[stack.stream_R] / DAY_S
    return (days_R.round() > 0) & ((days_R - days_R.round()).abs() < A_DAY_OFF)

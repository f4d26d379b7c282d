"""Windows as the shape memory sees them: any width, averaged to 24 points, normalised in one of four ways.

Shapes: R rows (stream, channel), L slots, X windows, T = 24 points, V views kept for a row, P medoids of a view
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.row_types import Rows

POINTS = 24  # points a window is averaged to: more gained nothing on the shapes of the UCR archive
KINDS = ("level", "shape", "form", "change")
LEVEL, SHAPE, FORM, CHANGE = range(4)
# Denominators std + x of the two centred kinds: a flat window must not be blown up to its noise.
_SOFT = {SHAPE: 0.5, FORM: 0.05}
CLIP = 20.0  # standard deviations of the training part
_CHANGE_CLIP = 30.0  # mean changes of the training part
WIDTH_MAX = 512  # slots of the widest window: 1 600 found no more, and cost context, delay and memory
FIXED = (16, 32, 64, 128, 256)
PERIODS = ((0.5, 8, 200), (1.0, 16, 400), (2.0, 32, WIDTH_MAX), (4.0, 64, WIDTH_MAX))
SCALES = len(FIXED) + len(PERIODS)


def widths(period_R: Tensor, slots_R: Tensor) -> Tensor:
    """Widths (R, 9) in slots: fixed ones and multiples of the row's period, at most a quarter of its history."""
    fixed_R5 = torch.tensor(FIXED, device=period_R.device).expand(len(period_R), -1)
    own_R4 = torch.stack([(period_R * m).long().clamp(low, high) for m, low, high in PERIODS], 1)
    quarter_R1 = (slots_R // 4).clamp_min(4).long()[:, None]
    return torch.minimum(torch.cat([fixed_R5, own_R4], 1), quarter_R1)


class Signals(NamedTuple):
    """Running sums of rows, with a leading 0: the mean of any window takes two of their entries."""

    sum_RX: Tensor  # float64 (R, 2(L + 1)): values, then the size of changes
    gap_RX: Tensor  # (R, L + 1): slots missing


def signals(x_RL: Tensor, rows: Rows) -> Signals:
    """Running sums of standardised rows (NaN = gap), brought to mean 0 and standard deviation 1 of training."""
    own_RL = ((x_RL - rows["shape.mean"][:, None]) / rows["shape.std"][:, None]).clamp(-CLIP, CLIP)
    return running(own_RL, rows["shape.step"])


def running(own_RL: Tensor, step_R: Tensor) -> Signals:
    """The same of rows that are standardised already."""
    gap_RL = torch.isnan(own_RL)
    own_RL = torch.where(gap_RL, 0.0, own_RL)
    change_RL = torch.nn.functional.pad(own_RL.diff(dim=1).abs(), (1, 0))
    change_RL = (change_RL / step_R[:, None]).clamp_max(_CHANGE_CLIP)
    lead = (1, 0)
    sums = [torch.nn.functional.pad(part.double().cumsum(1), lead) for part in (own_RL, change_RL)]
    return Signals(torch.cat(sums, 1), torch.nn.functional.pad(gap_RL.long().cumsum(1), lead))


def windows(of: Signals, end_RX: Tensor, width_RX: Tensor, kind_RX: Tensor) -> tuple[Tensor, Tensor]:
    """Features (R, X, T) of windows that end at slots `end_RX`, and which of them are whole (R, X)."""
    length = of.gap_RX.shape[1]
    first_RX = end_RX + 1 - width_RX
    whole_RX = first_RX >= 0
    first_RX = first_RX.clamp_min(0)
    whole_RX = whole_RX & (of.gap_RX.gather(1, end_RX + 1) == of.gap_RX.gather(1, first_RX))
    edge_T = torch.arange(POINTS + 1, device=end_RX.device, dtype=torch.float64) / POINTS
    at_RXT = first_RX[..., None] + edge_T * width_RX[..., None]
    low_RXT = at_RXT.floor().long().clamp_max(length - 2)
    part_RXT = at_RXT - low_RXT
    low_RXT = low_RXT + (kind_RX == CHANGE)[..., None] * length
    flat_RX = low_RXT.flatten(1)
    low_value, high_value = of.sum_RX.gather(1, flat_RX), of.sum_RX.gather(1, flat_RX + 1)
    sum_RXT = torch.lerp(low_value, high_value, part_RXT.flatten(1)).reshape(at_RXT.shape)
    mean_RXT = (sum_RXT.diff(dim=-1) * (POINTS / width_RX[..., None])).float()
    return normalised(mean_RXT, kind_RX), whole_RX


def normalised(mean_RXT: Tensor, kind_RX: Tensor) -> Tensor:
    """What a kind keeps of a window: its level, its shape with a soft or a hard norm, or the size of its changes."""
    centred_RXT = mean_RXT - mean_RXT.mean(-1, keepdim=True)
    std_RX = centred_RXT.square().mean(-1).sqrt()
    soft_RX = torch.where(kind_RX == SHAPE, _SOFT[SHAPE], _SOFT[FORM])
    is_centred_RX1 = ((kind_RX == SHAPE) | (kind_RX == FORM))[..., None]
    return torch.where(is_centred_RX1, centred_RXT / (std_RX + soft_RX)[..., None], mean_RXT)


def memory(history_RL: Tensor, rows: Rows) -> Tensor:
    """Features (R, V, T, P) of the medoids of stored histories (R, L): what a student is unpacked to when it loads."""
    end_RVP = rows["shape.ends"].long()
    shape = end_RVP.shape
    width_RX, kind_RX = (rows[f"shape.{n}"].long()[..., None].expand(shape).flatten(1) for n in ("width", "kind"))
    feature_RXT, _ = windows(signals(history_RL, rows), end_RVP.flatten(1), width_RX, kind_RX)
    return feature_RXT.reshape(*shape, POINTS).mT.contiguous()

"""Rows of a stream's channels to the one surprise of the stream.

Shapes: S streams, C channels, K slots.
"""

import torch
from torch import Tensor

from detector.model import calibration

CORRECTION_LEVEL = (
    2.5  # surprise from which the correction holds in full; below it, in proportion. Alerts are counted at it
)


def fuse_channels(row_SCK: Tensor) -> Tensor:
    """Mean of the top ⌈C/8⌉ channels (S, K); NaN = channel absent; NaN where all are."""
    there_SCK = torch.isfinite(row_SCK)
    many_SK = there_SCK.sum(1)
    ranked_SCK = torch.where(there_SCK, row_SCK, -1.0).sort(1, descending=True).values.clamp_min(0.0)
    top_SK = (many_SK + 7) // 8
    index_C = torch.arange(row_SCK.shape[1], device=row_SCK.device)
    mean_SK = torch.where(index_C[None, :, None] < top_SK[:, None], ranked_SCK, 0.0).sum(1) / top_SK.clamp_min(1)
    return torch.where(many_SK > 0, mean_SK, torch.nan)


def ranked(row_SCK: Tensor, few_SC: Tensor) -> Tensor:
    """What slots of a stream are ranked by (S, K): its loudest channels (S, C, K) together, not calibrated.

    Channels with few values (`few_SC`) count apart: an unseen value adds its own surprise once.
    """
    return _with_novelty(fuse_channels(torch.where(few_SC[..., None], torch.nan, row_SCK)), row_SCK, few_SC)


def _with_novelty(fused_SK: Tensor, row_SCK: Tensor, few_SC: Tensor) -> Tensor:
    """Surprise of the other channels plus that of those with few values; NaN where no channel is there."""
    there_SCK = torch.isfinite(row_SCK)
    novel_SK = torch.where(there_SCK & few_SC[..., None], row_SCK, 0.0).amax(1)
    return torch.where(there_SCK.any(1), torch.nan_to_num(fused_SK, nan=0.0) + novel_SK, torch.nan)


def corrected(surprise_SK: Tensor, correction_S: Tensor) -> Tensor:
    """Surprises corrected by what alerts the stream's held-back history gave, in full from CORRECTION_LEVEL on."""
    part_SK = (surprise_SK / CORRECTION_LEVEL).clamp(0.0, 1.0)
    return (surprise_SK - correction_S[:, None] * part_SK).clamp_min(0.0)


def finish(row_SCK: Tensor, few_SC: Tensor, stream_cal_SC: Tensor) -> Tensor:
    """The stream's surprise (S, K) from its channels' (S, C, K).

    Channels with few values (`few_SC`) count apart: an unseen value adds its own surprise once.
    The fusion of several channels is calibrated once more. It is never below that of the loudest channel among
    as many (Bonferroni: C channels have C times the chance), which holds however the channels hang together.
    """
    rich_SCK = torch.where(few_SC[..., None], torch.nan, row_SCK)
    fused_SK = fuse_channels(rich_SCK)
    channels_SK = torch.isfinite(rich_SCK).sum(1)
    loudest_SK = torch.nan_to_num(rich_SCK, nan=-1.0).amax(1)
    bound_SK = loudest_SK - channels_SK.clamp_min(1).log10()
    several_SK = torch.maximum(calibration.surprise(fused_SK, stream_cal_SC[:, None]), bound_SK)
    whole_SK = torch.where(channels_SK > 1, several_SK, fused_SK)
    return _with_novelty(whole_SK, row_SCK, few_SC)

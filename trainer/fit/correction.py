"""How many alerts a history gives for the surprises it has: what a stream's surprises are corrected by.

Shapes: S streams, N slots, X incidents
"""

import torch
from torch import Tensor

from detector.incidents.machine import SURE, closing
from detector.live.settings import WorkerSettings
from detector.model.fusion import CORRECTION_LEVEL

# Slots above a level come in clusters, and an incident needs two among three: fewer alerts than slots. A history that
# drifts gives more.
_SHRINK = 1.0  # alerts expected and seen that are added to both: of a short history little can be concluded
# Decades above what the rarest slot of a history should have: incidents that reach it are anomalies nobody marked.
# They are most of what a web KPI has above CORRECTION_LEVEL, and no reason to be calm.
_SURE = 0.5
_MIN, _MAX = -2.0, 1.5  # decades: a web KPI's incidents are a tenth to a hundredth of its slots above the level


def correction(unseen_SN: Tensor, shaped_S: Tensor) -> Tensor:
    """Decades (S) by which alerts come more often than promised, NaN slots left out.

    Counted on the history without shapes. Streams with shapes (`shaped_S`) are only made calmer by it.
    """
    slots_S = torch.isfinite(unseen_SN).sum(-1)
    expected_S = slots_S * 10.0**-CORRECTION_LEVEL + _SHRINK
    every_S, doubtful_S = counts(unseen_SN.nan_to_num(nan=0.0), CORRECTION_LEVEL, slots_S.clamp_min(1).log10() + _SURE)
    more_S, fewer_S = ((many_S + _SHRINK) / expected_S for many_S in (every_S, doubtful_S))
    correction_S = torch.where(more_S > 1, more_S, fewer_S).log10().clamp(_MIN, _MAX)
    return torch.where(shaped_S, correction_S.clamp_min(0.0), correction_S).float()


def counts(surprise_SN: Tensor, level: float, sure_S: Tensor) -> tuple[Tensor, Tensor]:
    """Incidents (S) of the default rules at a threshold, without those that end as a new baseline.

    All of them, and those of which no slot reaches `sure_S`.
    """
    fields = WorkerSettings.model_fields
    hits, window, quiet = (int(fields[name].default) for name in ("open_hits", "open_window", "quiet"))
    hot_SN = (surprise_SN >= level).int()
    opens_SN = (_last(hot_SN, window) >= hits) | (surprise_SN >= level + SURE)
    # An incident lasts until `quiet` slots in a row are below the closing threshold.
    active_SN = _last((surprise_SN >= closing(level)).int(), quiet) > 0
    begins_SN = active_SN & ~torch.nn.functional.pad(active_SN[:, :-1], (1, 0))
    episode_SN = begins_SN.long().cumsum(1)

    def any_of_each(flag_SN: Tensor) -> Tensor:
        found_SX = torch.zeros(len(flag_SN), flag_SN.shape[1] + 1, device=flag_SN.device)
        return found_SX.scatter_reduce_(1, episode_SN, (flag_SN & active_SN).float(), "amax")[:, 1:]

    opened_SX, sure_SX = any_of_each(opens_SN), any_of_each(surprise_SN >= sure_S[:, None])
    return opened_SX.sum(1), (opened_SX * (1 - sure_SX)).sum(1)


def _last(flag_SN: Tensor, slots: int) -> Tensor:
    """How many of the newest `slots` slots are set (S, N)."""
    total_SN = flag_SN.cumsum(1)
    return total_SN - torch.nn.functional.pad(total_SN, (slots, 0))[:, : flag_SN.shape[1]]

"""How many alerts a history gives for the surprises it has: what the dial is corrected by.

Shapes: S streams, N slots.
"""

import torch
from torch import Tensor

from detector.incidents import SURE, closing
from detector.student import LEAN_LEVEL
from detector.workersettings import WorkerSettings

# Slots above a level come in clusters, and an incident needs two among three: fewer alerts than slots. A history that
# drifts gives more. Anomalies nobody marked are few among what exceeds so low a level.
_SHRINK = 5.0  # alerts expected and seen that are added to both: a short history says little
# Decades. A web KPI's incidents are a tenth to a twentieth of its slots above the level; half a decade more than one
# taken off (aiops) gave 10 more false alerts and not one more hit.
_MIN, _MAX = -1.0, 1.5


def lean(unseen_SN: Tensor, shaped_S: Tensor) -> Tensor:
    """Decades (S) by which alerts come more often than promised, NaN slots left out.

    Counted on the history without shapes. Streams with shapes (`shaped_S`) are only made calmer by it.
    """
    expected_S = torch.isfinite(unseen_SN).sum(-1) * 10.0**-LEAN_LEVEL
    ratio_S = (count(unseen_SN.nan_to_num(nan=0.0), LEAN_LEVEL) + _SHRINK) / (expected_S + _SHRINK)
    lean_S = ratio_S.log10().clamp(_MIN, _MAX)
    return torch.where(shaped_S, lean_S.clamp_min(0.0), lean_S).float()


def count(surprise_SN: Tensor, level: float) -> Tensor:
    """Incidents (S) of the default rules at a threshold, without those that end as a new baseline."""
    fields = WorkerSettings.model_fields
    hits, window, quiet = (int(fields[name].default) for name in ("open_hits", "open_window", "quiet"))
    hot_SN = (surprise_SN >= level).int()
    opens_SN = (_last(hot_SN, window) >= hits) | (surprise_SN >= level + SURE)
    # An incident lasts until `quiet` slots in a row are below the closing threshold.
    active_SN = _last((surprise_SN >= closing(level)).int(), quiet) > 0
    begins_SN = active_SN & ~torch.nn.functional.pad(active_SN[:, :-1], (1, 0))
    episode_SN = begins_SN.long().cumsum(1)
    opened_SX = torch.zeros(len(surprise_SN), surprise_SN.shape[1] + 1, device=surprise_SN.device)
    opened_SX.scatter_reduce_(1, episode_SN, (opens_SN & active_SN).float(), "amax")
    return opened_SX[:, 1:].sum(1)


def _last(flag_SN: Tensor, slots: int) -> Tensor:
    """How many of the newest `slots` slots are set (S, N)."""
    total_SN = flag_SN.cumsum(1)
    return total_SN - torch.nn.functional.pad(total_SN, (slots, 0))[:, : flag_SN.shape[1]]

"""A shape view's medoids where the stream's past holds other shapes than its ring (docs/decisions/060).

Shapes: R rows (stream, channel), L slots, N windows, P medoids
"""

import torch
from torch import Tensor

from detector.model.views import shape_windows
from detector.model.views.shape_windows import Signals
from detector.model.window_ends import choose
from trainer.fit.ground import Ground, each, whole
from trainer.fit.medoids import away, less_own, when, zone
from trainer.fit.shape_view import FittedView, remembered

# Share of a past's windows that must be farther from the ring's medoids than one in a hundred of the ring's own. More
# medoids of what is no other shape only take the place of the ring's.
_STRANGE, _TRIED = 0.1, 512


def with_past(
    ground: Ground, joined: Signals, past: int, width_R: Tensor, kind_R: Tensor, candidates: int, view: FittedView
) -> FittedView:
    """A view (its ends count from the first of `past` slots before the ring) with medoids of those slots, too, where they
    hold what is strange to it; its evidence stays.

    What is normal for it, its median and its largest scores, is the ring's: a shape that came once a month ago is none.
    """
    whole_RL = whole(joined, width_R)
    zone_R = zone(width_R, ground.slots_R)
    at_L = torch.arange(whole_RL.shape[1], device=width_R.device)
    old_RL = whole_RL & (at_L < past)
    end_RN = choose(old_RL, min(_TRIED, past))
    feature, medoid = (
        shape_windows.windows(joined, end, *each(end, width_R, kind_R))[0] for end in (end_RN, view.ends_RP)
    )
    far_RNP = away(feature, when(end_RN, past, width_R, zone_R), medoid, view.ends_RP, zone_R)
    score_RN = less_own(far_RNP, view.own_RP)
    strange_R = (score_RN > (view.centre_R + view.unit_R)[:, None]).float().mean(1)
    use_R = old_RL.any(1) & (strange_R > _STRANGE)
    if not bool(use_R.any()):
        return view
    end_RN = choose(whole_RL, min(candidates, whole_RL.shape[1] - past))
    found = remembered(joined, past, end_RN, width_R, kind_R, zone_R, view.ends_RP.shape[1])
    new = FittedView(*found[1:5], view.rate_R)
    return FittedView(*[torch.where(_like(use_R, a), a, b) for a, b in zip(new, view, strict=True)])


def _like(mask_R: Tensor, value: Tensor) -> Tensor:
    return mask_R.reshape(-1, *[1] * (value.dim() - 1))

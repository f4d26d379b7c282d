"""The teacher's views get their weight by the injected anomalies that they find and depth 0 does not.

The rule is the one that weighs shapes: an anomaly is found when it scores above everything that the row's own history
has brought. The teacher is asked twice of each anomaly.

Shapes: R rows (stream, channel), A anomalies, X probes of an anomaly, N windows that the teacher is asked of,
W views of the teacher, M mixtures of depth 0 and these views
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.layout import Layout
from detector.model.row_types import Rows
from detector.model.teacher import Teacher
from detector.model.views.teacher import joined, surprises
from trainer.fit.probes import Probes

ASKED = 2  # probes of an anomaly that the teacher sees: the most surprising ones past the gate
# Of 28 anomalies: one more or less is chance, and so are two where as many are lost.
LEAST = 2


class Normal(NamedTuple):
    """Normal windows past the gate, held back: those to calibrate by, then the loudest."""

    shallow_RN: Tensor
    deep_RNW: Tensor  # surprise of each view of the teacher
    real_RN: Tensor  # False: repeated, or none at all


class Evidence(NamedTuple):
    """Which injected anomalies are found by depth 0 alone, and by each mixture with the teacher."""

    alone_RA: Tensor
    mixed_RMA: Tensor

    def gain(self) -> Tensor:
        """Anomalies won less those lost (R, M)."""
        return (self.mixed_RMA.float() - self.alone_RA[:, None].float()).sum(-1)


def mixtures(layout: Layout, device: torch.device) -> Tensor:
    """Weights (M, W) that are tried: each view alone as loud as depth 0, and all of them together."""
    eye_WW = torch.eye(layout.deep_views, device=device)
    return eye_WW if len(eye_WW) == 1 else torch.cat([eye_WW, eye_WW.mean(0, keepdim=True)])


def weigh(teacher: Teacher, layout: Layout, rows: Rows, normal: Normal, probes: Probes, gate: float) -> Evidence:
    """Ask the teacher of the anomalies, and count what each mixture finds."""
    open_RAX = probes.surprise_RAX >= gate
    for scale in layout.teacher_scales:
        open_RAX = open_RAX & probes.whole(layout.scales.index(scale))
    shallow_RAX, at_RAX = torch.where(open_RAX, probes.surprise_RAX, -torch.inf).topk(ASKED, dim=-1)
    r_N, a_N, x_N = torch.isfinite(shallow_RAX).nonzero().unbind(1)
    at_N = at_RAX[r_N, a_N, x_N]
    deep_RAXW = torch.zeros(*shallow_RAX.shape, layout.deep_views, device=shallow_RAX.device)
    deep = []
    for scale in layout.teacher_scales:
        window, nearest_N = probes.at(layout.scales.index(scale), r_N, a_N, at_N)
        proto = rows[f"proto.{scale}"][r_N, nearest_N]
        deep.append(surprises(teacher, scale, rows, r_N, window, nearest_N, proto))
    deep_RAXW[r_N, a_N, x_N] = torch.cat(deep, -1)

    def found(weight_W: Tensor) -> Tensor:
        normal_RN = joined(normal.shallow_RN, normal.deep_RNW, weight_W)
        top_R = torch.where(normal.real_RN, normal_RN, -torch.inf).amax(-1)
        score_RAX = joined(shallow_RAX, deep_RAXW, weight_W)
        score_RA = torch.where(torch.isfinite(shallow_RAX), score_RAX, -torch.inf).amax(-1)
        return score_RA > top_R[:, None]

    weight_MW = mixtures(layout, shallow_RAX.device)
    return Evidence(found(torch.zeros_like(weight_MW[0])), torch.stack([found(weight_W) for weight_W in weight_MW], 1))


def weights(evidence: Evidence, layout: Layout) -> Tensor:
    """Weight (R, W) of the mixture that gains most; 0 where none gains LEAST."""
    best = evidence.gain().max(-1)
    weight_RW = mixtures(layout, best.values.device)[best.indices]
    return torch.where((best.values >= LEAST)[:, None], weight_RW, 0.0)

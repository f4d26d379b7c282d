"""The teacher's views earn their weight: by the injected anomalies that they find and depth 0 does not.

The rule is the one that weighs shapes: an anomaly is found when it scores above everything that the row's own history
has brought. The teacher is asked only of rows where depth 0 leaves something that it could find, and twice an anomaly.

Shapes: R rows, Y rows that may ask the teacher, A anomalies, X probes an anomaly, G normal windows past the gate,
W views of the teacher, M mixtures.
"""

import torch
from torch import Tensor

from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.row_types import Rows
from detector.model.teacher import Teacher
from detector.model.views.teacher import joined, surprises
from trainer.fit.distil import Distillation, Normal, Shallow, able, distil, settle, without
from trainer.fit.probes import Evidence, Probes, probe

ASKED = 2  # probes of an anomaly that the teacher sees: the most surprising ones past the gate
# Of 28 anomalies: one more or less is chance, and so are two where as many are lost.
LEAST = 2


def mixtures(layout: Layout, device: torch.device) -> Tensor:
    """Weights (M, W) that are tried: each view alone as loud as depth 0, and all of them together."""
    eye_WW = torch.eye(layout.deep_views, device=device)
    return eye_WW if len(eye_WW) == 1 else torch.cat([eye_WW, eye_WW.mean(0, keepdim=True)])


def deepen(
    teacher: Teacher, layout: Layout, rows: Rows, memories: Memories, shallow: Shallow, how: Distillation
) -> Rows:
    """The teacher's part of all rows; those to which it brings nothing never ask it."""
    device = shallow.x_RL.device
    out = without(layout, len(shallow.x_RL), device)
    able_R = able(layout, shallow).any(-1)
    probes = None
    if how.evidence and bool(able_R.any()):
        probes = probe(shallow.x_RL, rows, memories, layout)
        able_R = able_R & (_open(probes.surprise_RAX, shallow.row_RL, how.gate).sum(-1) >= LEAST)
    [index_Y] = able_R.nonzero(as_tuple=True)
    if not len(index_Y):
        return out
    own = {name: value[index_Y] for name, value in rows.items()}
    distilled = distil(teacher, layout, own, shallow.of(index_Y), how)
    own |= distilled.rows
    weight_YW = mixtures(layout, device)[-1].expand(len(index_Y), -1)
    if probes is not None:
        mine = Probes(
            probes.surprise_RAX[index_Y], [w[index_Y] for w in probes.windows_Q], probes.nearest_RAXQ[index_Y]
        )
        evidence = weigh(teacher, layout, own, distilled.normal, mine, how.gate)
        if how.on_evidence is not None:
            how.on_evidence(evidence)
        weight_YW = weights(evidence, layout)
    own |= settle(distilled, own, weight_YW, how)
    # What nobody asks for need not be kept.
    asks_Y = torch.isfinite(own["gate"])
    for name in out:
        out[name][index_Y[asks_Y]] = own[name][asks_Y].to(out[name])
    return out


def weigh(teacher: Teacher, layout: Layout, rows: Rows, normal: Normal, probes: Probes, gate: float) -> Evidence:
    """Ask the teacher of the anomalies, and count what each mixture finds."""
    rows_, anomalies = probes.surprise_RAX.shape[:2]
    open_RAX = probes.surprise_RAX >= gate
    for scale in layout.teacher_scales:
        open_RAX = open_RAX & torch.isfinite(probes.windows_Q[layout.scales.index(scale)]).all(-1)
    shallow_RAX, at_RAX = torch.where(open_RAX, probes.surprise_RAX, -torch.inf).topk(ASKED, dim=-1)
    r_N, a_N, x_N = torch.isfinite(shallow_RAX).nonzero().unbind(1)
    at_N = at_RAX[r_N, a_N, x_N]
    deep_RAXW = torch.zeros(rows_, anomalies, ASKED, layout.deep_views, device=shallow_RAX.device)
    deep = []
    for scale in layout.teacher_scales:
        q = layout.scales.index(scale)
        window_NT, nearest_N = probes.windows_Q[q][r_N, a_N, at_N], probes.nearest_RAXQ[r_N, a_N, at_N, q]
        proto_NT = rows[f"proto.{scale}"][r_N, nearest_N]
        deep.append(surprises(teacher, scale, rows, r_N, window_NT, nearest_N, proto_NT)[0])
    deep_RAXW[r_N, a_N, x_N] = torch.cat(deep, -1)

    def found(weight_W: Tensor) -> Tensor:
        normal_RG = joined(normal.shallow_RG, normal.deep_RGW, weight_W)
        top_R = torch.where(normal.real_RG, normal_RG, -torch.inf).amax(-1)
        score_RA = torch.where(torch.isfinite(shallow_RAX), joined(shallow_RAX, deep_RAXW, weight_W), -torch.inf).amax(
            -1
        )
        return score_RA > top_R[:, None]

    weight_MW = mixtures(layout, shallow_RAX.device)
    return Evidence(found(torch.zeros_like(weight_MW[0])), torch.stack([found(weight_W) for weight_W in weight_MW], 1))


def weights(evidence: Evidence, layout: Layout) -> Tensor:
    """Weight (R, W) of the mixture that gains most; 0 where none gains LEAST."""
    best = evidence.gain().max(-1)
    weight_RW = mixtures(layout, best.values.device)[best.indices]
    return torch.where((best.values >= LEAST)[:, None], weight_RW, 0.0)


def _open(surprise_RAX: Tensor, row_RL: Tensor, gate: float) -> Tensor:
    """Anomalies (R, A) that pass the gate and that depth 0 does not find by itself."""
    top_R = torch.where(torch.isfinite(row_RL), row_RL, -torch.inf).amax(1)
    loudest_RA = surprise_RAX.nan_to_num(nan=-torch.inf).amax(-1)
    return (loudest_RA >= gate) & (loudest_RA <= top_R[:, None])

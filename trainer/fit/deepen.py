"""The teacher's part of a fit, from the rows that may ask it to the weights of its views.

The teacher is asked only of rows where depth 0 leaves something that it could find.

Shapes: R rows (stream, channel), L slots, A anomalies, X probes of an anomaly, W views of the teacher
"""

import torch
from torch import Tensor

from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.row_types import Rows
from detector.model.teacher import Teacher
from trainer.fit.distil import Distillation, distil, settle, without
from trainer.fit.evidence import LEAST, mixtures, weigh, weights
from trainer.fit.probes import probe
from trainer.fit.teacher_windows import Shallow, able


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
    [asking] = able_R.nonzero(as_tuple=True)
    if not len(asking):
        return out
    own = {name: value[asking] for name, value in rows.items()}
    distilled = distil(teacher, layout, own, shallow.of(asking), how)
    own |= distilled.rows
    weight_RW = mixtures(layout, device)[-1].expand(len(asking), -1)
    if probes is not None:
        evidence = weigh(teacher, layout, own, distilled.normal, probes.of(asking), how.gate)
        if how.on_evidence is not None:
            how.on_evidence(evidence)
        weight_RW = weights(evidence, layout)
    own |= settle(distilled, own, weight_RW, how)
    # What nobody asks for need not be kept.
    kept = torch.isfinite(own["gate"])
    for name in out:
        out[name][asking[kept]] = own[name][kept].to(out[name])
    return out


def _open(surprise_RAX: Tensor, row_RL: Tensor, gate: float) -> Tensor:
    """Anomalies (R, A) that pass the gate and that depth 0 does not find by itself."""
    top_R = torch.where(torch.isfinite(row_RL), row_RL, -torch.inf).amax(1)
    loudest_RA = surprise_RAX.nan_to_num(nan=-torch.inf).amax(-1)
    return (loudest_RA >= gate) & (loudest_RA <= top_R[:, None])

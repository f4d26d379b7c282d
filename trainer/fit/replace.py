"""Stale prototypes make room for recent normal windows.

Shapes: R rows (stream, channel), L slots, K recent window ends, P prototypes, Q of them that are replaced, T points
"""

import torch
from torch import Tensor

from detector.model.layout import Layout
from detector.model.pooling import pool
from detector.model.row_types import Rows
from detector.model.teacher import Teacher
from detector.model.views.prototypes import BAND_POINTS, prototypes
from detector.model.window_ends import choose
from trainer.fit.prototypes import kmeans

AT_MOST = 8  # one prototype in eight is replaced at a time: a stream's normal does not change overnight
STALE = 0.25  # of the average use: prototypes that fewer windows are nearest to are stale
ENOUGH = 64  # recent normal windows without a gap from which a row's use of prototypes is known
_LEARNT_WINDOWS = 256


def replace(x_RL: Tensor, rows: Rows, scale: int, from_RK: Tensor, teacher: Teacher | None, layout: Layout) -> None:
    """Put the most distant of the normal windows in the place of prototypes that are hardly used any more."""
    proto_RPT = rows[f"proto.{scale}"]
    count = from_RK.shape[1]
    windows = pool(x_RL, scale, count)
    whole_RK = from_RK & (windows.valid_RK if windows.there_RKT is None else windows.there_RKT.all(-1))
    distance_RK, nearest_RK, _ = prototypes(x_RL, rows, scale, count)
    many_R1 = whole_RK.sum(-1, keepdim=True).clamp_min(1)
    recent_RP = torch.zeros_like(rows[f"used.{scale}"]).scatter_add_(1, nearest_RK, whole_RK.float()) / many_R1
    enough_R1 = whole_RK.sum(-1, keepdim=True) >= ENOUGH
    used_RP = torch.where(enough_R1, 0.5 * (rows[f"used.{scale}"] + recent_RP), rows[f"used.{scale}"])
    places = max(1, layout.prototypes // AT_MOST)
    stalest_RQ = used_RP.topk(places, largest=False).indices
    stale_RQ = enough_R1 & (used_RP.gather(1, stalest_RQ) < STALE / layout.prototypes)
    # Candidates: the upper half of the distances among normal windows; their means, so that none is an odd one out.
    middle_R = torch.nanquantile(torch.where(whole_RK, distance_RK, torch.nan), 0.5, dim=-1)
    far_RK = whole_RK & (distance_RK >= torch.nan_to_num(middle_R)[:, None])
    row_R1 = torch.arange(len(x_RL), device=x_RL.device)[:, None]
    found = kmeans(windows.value_RKT[row_R1, choose(far_RK, _LEARNT_WINDOWS)], places, BAND_POINTS)
    stale_RQ = stale_RQ & far_RK.any(-1, keepdim=True)
    values = {"radius": found.radius_RP, "band": found.band_RP, "used": found.used_RP * 0.5}
    rows[f"used.{scale}"] = used_RP
    for name, value_RQ in values.items():
        table_RP = rows[f"{name}.{scale}"].clone()
        table_RP[row_R1, stalest_RQ] = torch.where(stale_RQ, value_RQ, table_RP.gather(1, stalest_RQ))
        rows[f"{name}.{scale}"] = table_RP
    table_RPT = proto_RPT.clone()
    table_RPT[row_R1, stalest_RQ] = _either(stale_RQ, found.proto_RPT, proto_RPT[row_R1, stalest_RQ])
    rows[f"proto.{scale}"] = table_RPT
    if teacher is None or scale not in layout.teacher_scales:
        return
    stale_RQ = stale_RQ & torch.isfinite(rows["gate"])[:, None]  # nobody else asks the teacher
    if bool(stale_RQ.any()):
        tokens = rows[f"tokens.{scale}"].clone()
        at, q = stale_RQ.nonzero().unbind(1)
        tokens[at, stalest_RQ[at, q]] = teacher.tokens(found.proto_RPT[at, q])
        rows[f"tokens.{scale}"] = tokens


def _either(choice_RQ: Tensor, yes_RQT: Tensor, no_RQT: Tensor) -> Tensor:
    """Per row and place one of two windows."""
    return torch.where(choice_RQ[..., None], yes_RQT, no_RQT)

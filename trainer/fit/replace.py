"""New normal windows join the prototypes, in the place of those that another one stands for as well: a bounded k-centre.

What has not come for days is kept: a prototype goes because its neighbour is nearer than what is new, never because
it is old. Gonzalez 1985 has the bound for windows that are all there, Charikar et al. 1997 for those that come one by one.

Shapes: R rows (stream, channel), L slots, K recent window ends, P prototypes, T points
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
ENOUGH = 64  # recent normal windows without a gap from which a row's use of prototypes is known
_LEARNT_WINDOWS = 256


def replace(x_RL: Tensor, rows: Rows, scale: int, from_RK: Tensor, teacher: Teacher | None, layout: Layout) -> None:
    """Put the most distant of the normal windows, if they are far enough, among the prototypes."""
    count = from_RK.shape[1]
    windows = pool(x_RL, scale, count)
    whole_RK = from_RK & (windows.valid_RK if windows.there_RKT is None else windows.there_RKT.all(-1))
    distance_RK, nearest_RK, _ = prototypes(x_RL, rows, scale, count)
    many_R = whole_RK.sum(-1)
    recent_RP = torch.zeros_like(rows[f"used.{scale}"]).scatter_add_(1, nearest_RK, whole_RK.float())
    recent_RP = recent_RP / many_R.clamp_min(1)[:, None]
    enough_R = many_R >= ENOUGH
    used_RP = torch.where(enough_R[:, None], 0.5 * (rows[f"used.{scale}"] + recent_RP), rows[f"used.{scale}"])
    places = max(1, layout.prototypes // AT_MOST)
    # Candidates: the upper half of the distances among normal windows; their means, so that none is an odd one out.
    middle_R = torch.nanquantile(torch.where(whole_RK, distance_RK, torch.nan), 0.5, dim=-1)
    far_RK = whole_RK & (distance_RK >= torch.nan_to_num(middle_R)[:, None])
    row_R = torch.arange(len(x_RL), device=x_RL.device)
    found = kmeans(windows.value_RKT[row_R[:, None], choose(far_RK, _LEARNT_WINDOWS)], places, BAND_POINTS)
    able_R = enough_R & far_RK.any(-1)
    tables = {name: rows[f"{name}.{scale}"].clone() for name in ("proto", "radius", "band")} | {"used": used_RP}
    new = {"proto": found.proto_RPT, "radius": found.radius_RP, "band": found.band_RP, "used": found.used_RP * 0.5}
    new_RP = torch.zeros_like(used_RP, dtype=torch.bool)
    for q in range(places):
        away_R = torch.cdist(found.proto_RPT[:, q : q + 1], tables["proto"])[:, 0].amin(-1)
        place_R, pair_R = _spare(tables["proto"], tables["used"])
        [at] = (able_R & (away_R > pair_R)).nonzero(as_tuple=True)
        for name, table in tables.items():
            table[at, place_R[at]] = new[name][at, q]
        new_RP[at, place_R[at]] = True
    rows |= {f"{name}.{scale}": table for name, table in tables.items()}
    if teacher is None or scale not in layout.teacher_scales:
        return
    new_RP &= torch.isfinite(rows["gate"])[:, None]  # nobody else asks the teacher
    if bool(new_RP.any()):
        tokens = rows[f"tokens.{scale}"].clone()
        tokens[new_RP] = teacher.tokens(tables["proto"][new_RP])
        rows[f"tokens.{scale}"] = tokens


def _spare(proto_RPT: Tensor, used_RP: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row's two nearest prototypes the one that is less used (R), and how far the two are apart (R)."""
    many = proto_RPT.shape[1]
    apart_RPP = torch.cdist(proto_RPT, proto_RPT)
    apart_RPP.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    pair_R, at_R = apart_RPP.flatten(1).min(-1)
    both_R2 = torch.stack([at_R // many, at_R % many], -1)
    less_R1 = used_RP.gather(1, both_R2).argmin(-1, keepdim=True)
    return both_R2.gather(1, less_R1)[:, 0], pair_R

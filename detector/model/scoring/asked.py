"""Third phase: the windows of all groups that pass the gate go to the teacher, in one call for each scale.

Shapes: R rows (stream, channel), K scored slots, V views, N windows that pass the gate, T points, Q scales
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.installed import InstalledStudents
from detector.model.scoring.depth0 import Depth0
from detector.model.scoring.gathered import Group
from detector.model.teacher import Teacher
from detector.model.views import teacher as deep


class Asked(NamedTuple):
    """What is known of a group's windows once the teacher has been asked."""

    row_RK: Tensor  # surprise of the row
    view_RKV: Tensor  # surprise of each view, those of the teacher last; NaN where it was not asked
    teacher_RK: Tensor  # True where it was


def asked(
    groups: Sequence[Group], depth0: Sequence[Depth0], students: InstalledStudents, wanted: bool = True
) -> list[Asked]:
    """Ask the teacher of the windows past the gate; without a teacher, what depth 0 has found."""
    teacher = students.teacher
    if teacher is not None and not wanted:
        deep = students.layout.deep_views
        nobody = [torch.zeros_like(d.row_RK, dtype=torch.bool) for d in depth0]
        return [Asked(d.row_RK, _with_room(d.view_RKV, deep), none) for d, none in zip(depth0, nobody, strict=True)]
    if teacher is None:
        return [Asked(d.row_RK, d.view_RKV, torch.zeros_like(d.row_RK, dtype=torch.bool)) for d in depth0]
    passing = [_passing(shallow, students) for shallow in depth0]
    views = [_with_room(shallow.view_RKV, students.layout.deep_views) for shallow in depth0]
    rows = [shallow.row_RK for shallow in depth0]
    places = [teacher_RK.nonzero() for teacher_RK in passing]
    sizes = [len(place) for place in places]
    if sum(sizes):
        row_N = torch.cat([group.row_R[place[:, 0]] for group, place in zip(groups, places, strict=True)])
        deep_NV = torch.cat(
            [_surprises(teacher, scale, row_N, depth0, places, students) for scale in students.layout.teacher_scales],
            -1,
        )
        judged_N = _judged(deep_NV, row_N, depth0, places, students)
        for at, (place, deep_part, judged) in enumerate(
            zip(places, torch.split(deep_NV, sizes), torch.split(judged_N, sizes), strict=True)
        ):
            r_N, k_N = place.unbind(1)
            views[at][r_N, k_N, -students.layout.deep_views :] = deep_part
            rows[at] = rows[at].index_put((r_N, k_N), judged.to(rows[at]))
    return [Asked(*parts) for parts in zip(rows, views, passing, strict=True)]


def _passing(shallow: Depth0, students: InstalledStudents) -> Tensor:
    """True at windows (R, K) without a gap that are surprising enough for the teacher."""
    row_RK = shallow.row_RK
    whole_RK = torch.isfinite(row_RK) & (shallow.rows["novel"][:, None] == 0)
    for scale in students.layout.teacher_scales:
        windows = shallow.windows[students.layout.scales.index(scale)]
        whole_RK = whole_RK & windows.valid_RK
        if windows.there_RKT is not None:
            whole_RK = whole_RK & windows.there_RKT.all(-1)
    return whole_RK & (row_RK >= shallow.rows["gate"][:, None])


def _with_room(view_RKV: Tensor, more: int) -> Tensor:
    """The same with so many absent views behind."""
    absent_RKV = torch.full((*view_RKV.shape[:2], more), torch.nan, device=view_RKV.device)
    return torch.cat([view_RKV, absent_RKV], -1)


def _surprises(
    teacher: Teacher, scale: int, row_N: Tensor, depth0: Sequence[Depth0], places: Sequence[Tensor],
    students: InstalledStudents,
) -> Tensor:  # fmt: skip
    """Surprises (N, depths) of the teacher's views at one scale."""
    q = students.layout.scales.index(scale)
    here = list(zip(depth0, places, strict=True))
    window_NT = torch.cat([shallow.windows[q].value_RKT[at[:, 0], at[:, 1]] for shallow, at in here])
    nearest_N = torch.cat([shallow.nearest_RKQ[at[:, 0], at[:, 1], q] for shallow, at in here])
    proto_NT = students.tables.rows[f"proto.{scale}"][row_N, nearest_N]
    at_N = students.tables.rows["deep_at"][row_N].long()
    return deep.surprises(teacher, scale, students.deep.rows, at_N, window_NT, nearest_N, proto_NT)


def _judged(
    deep_NV: Tensor, row_N: Tensor, depth0: Sequence[Depth0], places: Sequence[Tensor], students: InstalledStudents
) -> Tensor:
    """Surprise (N) of rows whose windows passed the gate."""
    rows = {name: students.tables.rows[name][row_N] for name in ("gate", "widen", "blend")}
    at_N = students.tables.rows["deep_at"][row_N].long()
    rows |= {name: students.deep.rows[name][at_N] for name in ("gate_cal", "deep")}
    shallow_N = torch.cat([d.row_RK[at[:, 0], at[:, 1]] for d, at in zip(depth0, places, strict=True)])
    return deep.gated(deep.joined(shallow_N, deep_NV, rows["deep"]), rows)

"""The gap as a view of the bank: which windows the head is asked about, and what its answer does.

It corrects what alerts, by decades either way: of what the bank finds surprising it knows, from many other streams, what
tends to be normal life. Where the worst of a stream is, it does not know better than the bank: ranks are left alone.

Shapes: R rows, K scored slots, V depth-0 views, Q scales, N windows asked, X channels of the form, T points, U channels
of the teacher, J its tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from detector import calibration, gaphead
from detector.deep import Left
from detector.gaphead import About, GapHead, Seen
from detector.pooling import Windows
from detector.rowtypes import Rows
from detector.student import LOOKS, PLAIN_MAX, Layout

# Surprise from which a window is asked: a fifth of what is normal. What the other four fifths would have said is never
# the loudest, and the head costs as much as everything else together.
ASK = 0.7
# Decades taken off all alerts of a row that is all shapes: shapes of a test part drift from those that were learnt, and
# the head lifts what is an anomaly. Of rows without shapes the head only lifts: on web KPIs what is rare is the anomaly,
# and a head that has learnt shapes talks it away. Figures: docs/decisions/012-gap-head.md.
TAKEN = 1.0


class Said(NamedTuple):
    """What depth 0 says beside its views."""

    row_RK: Tensor  # surprise of rows
    plain_RK: Tensor  # without shapes
    shape_RK: Tensor  # of their shapes, 0 without


class Part(Protocol):
    """What the bank knows of a group's windows."""

    rows: Rows
    windows: list[Windows]
    view_RKW: Tensor
    said: Said
    left: Left | None
    row_RK: Tensor
    alert_RK: Tensor
    early_RK: Tensor


class Window(NamedTuple):
    """What the head sees of every window, and surprises without and with it: a stream's C rows, K slots."""

    seen: Seen  # (C, K, …)
    whole_CK: Tensor  # False: the head cannot judge the window
    asked_CK: Tensor  # it would be asked about it
    before_CK: Tensor
    after_CK: Tensor

    def cut(self, rows: slice, slots: slice) -> "Window":
        """Some rows and slots."""
        seen = self.seen.over(lambda value: value[rows, slots])
        return Window(seen, *(value[rows, slots] for value in self[1:]))


def ask_gap(head: GapHead, layout: Layout, parts: Sequence[Part]) -> None:
    """Correct what alerts in rows where the head has earned a weight; adds its view to all parts.

    Comes after the teacher: windows that it looked at are corrected from what it made of them.
    """
    places = []
    for part in parts:
        asked_RK = (
            (part.said.row_RK >= ASK) & (part.rows["gap.weight"][:, None] > 0) & whole_of(part, layout, head.about)
        )
        places.append(asked_RK.nonzero(as_tuple=True))
    seen = [_seen(part, layout, head.about, at) for part, at in zip(parts, places, strict=True)]
    logits = head.gap(Seen.joined(seen))
    sizes = [len(at[0]) for at in places]
    for part, at, logit_N in zip(parts, places, torch.split(logits, sizes), strict=True):
        gap_cal, blend_N = part.rows["gap.cal"][at[0]], part.rows["blend"][at[0]]
        view_RK = torch.full_like(part.row_RK, torch.nan)
        view_RK[at] = ASK + calibration.surprise(logit_N, gap_cal)
        part.view_RKW = torch.cat([part.view_RKW, view_RK[..., None]], -1)
        part.alert_RK = _put(part.alert_RK, at, corrected(part.row_RK[at], logit_N, blend_N))
        early_N = corrected(part.early_RK[at], logit_N, blend_N).clamp_max(PLAIN_MAX)
        part.early_RK = _put(part.early_RK, at, torch.where(part.early_RK[at] > 0, early_N, 0.0))


def _put(of_RK: Tensor, at: tuple[Tensor, ...], value_N: Tensor) -> Tensor:
    out_RK = of_RK.clone()
    out_RK[at] = value_N.to(of_RK)
    return out_RK


def corrected(surprise_N: Tensor, logit_N: Tensor, blend_N: Tensor) -> Tensor:
    """Surprise by which windows alert, given their gap and how much of the row is shapes."""
    by_N = gaphead.correction(logit_N)
    by_N = torch.where(blend_N > 0, by_N - TAKEN * blend_N, by_N.clamp_min(0.0))
    return (surprise_N + by_N).clamp_min(0.0)


def hears(about: About, layout: Layout) -> bool:
    """Whether the head has learnt from what this layout's teacher says."""
    return about.deep > 0 and (about.teacher, about.teacher_scales) == (layout.teacher, layout.teacher_scales)


def columns(layout: Layout, about: About) -> list[int]:
    """Views of depth 0 that the head listens to."""
    return [*range(len(LOOKS)), *(layout.view_of(scale) for scale in about.listens)]


def whole_of(part: Part, layout: Layout, about: About) -> Tensor:
    """Windows (R, K) of which enough is there at all scales that the head looks at."""
    return torch.stack([part.windows[layout.scales.index(scale)].valid_RK for scale in about.scales]).all(0)


def looked_at(layout: Layout, part: Part, about: About) -> Window:
    """What a head sees of every window of a part."""
    rows, slots = part.row_RK.shape
    device = part.row_RK.device
    r_N = torch.arange(rows, device=device).repeat_interleave(slots)
    k_N = torch.arange(slots, device=device).repeat(rows)
    seen = _seen(part, layout, about, (r_N, k_N)).over(lambda value: value.reshape(rows, slots, *value.shape[1:]))
    whole_RK = whole_of(part, layout, about) & torch.isfinite(part.row_RK) & (part.rows["novel"][:, None] == 0)
    return Window(seen, whole_RK, whole_RK & (part.said.row_RK >= ASK), part.row_RK, part.alert_RK)


def _seen(part: Part, layout: Layout, about: About, at: tuple[Tensor, ...]) -> Seen:
    r_N, k_N = at
    forms = []
    for scale in about.scales:
        windows = part.windows[layout.scales.index(scale)]
        there_NT = None if windows.there_RKT is None else windows.there_RKT[r_N, k_N][:, None]
        proto_RPT, radius_RP = part.rows[f"proto.{scale}"], part.rows[f"radius.{scale}"]
        form_N1CT = gaphead.form(windows.value_RKT[r_N, k_N][:, None], there_NT, proto_RPT[r_N], radius_RP[r_N])
        forms.append(form_N1CT[:, 0])
    view_NV = part.view_RKW[r_N, k_N][:, columns(layout, about)]
    row_N, plain_N, shape_N = (value[r_N, k_N] for value in part.said)
    backed_N, blend_N = part.rows["row_cal"][r_N, -1], part.rows["blend"][r_N]
    deep_NUJ = _left(part.left, part.row_RK.shape, at) if part.left is not None and hears(about, layout) else None
    return Seen(torch.cat(forms, 1), gaphead.said(view_NV, row_N, plain_N, shape_N, backed_N, blend_N), deep_NUJ)


def _left(left: Left, size: torch.Size, at: tuple[Tensor, ...]) -> Tensor:
    """The teacher's channels (N, U, J) of windows; NaN of those that it has not looked at."""
    left_NUJ = gaphead.deep_channels(left.left_NDO)
    place_RK = torch.full(size, len(left_NUJ), device=left_NUJ.device)
    place_RK[left.at] = torch.arange(len(left_NUJ), device=place_RK.device)
    nothing_1UJ = left_NUJ.new_full((1, *left_NUJ.shape[1:]), torch.nan)
    return torch.cat([left_NUJ, nothing_1UJ])[place_RK[at]]

"""What the gap is in one stream: how rare, and whether it would alarm, on windows held back from what the head compares with.

Windows of one half of the history are compared with prototypes of the other half, as in the fit of views, and only those
that the head would be asked about count: a view past the gate.

Shapes: R rows, L slots, M windows of a row, V views, Q scales, X rows with a shape memory, N windows that a teacher looks
at, P prototypes, T points, U channels of the teacher, J its tokens.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from detector import calibration, gaphead
from detector.gaphead import GapHead, Seen
from detector.gapview import ASK, columns, corrected, hears
from detector.looks import choose
from detector.pooling import pool
from detector.rowtypes import Rows
from detector.student import Layout, pick
from detector.teacher import Teacher, residual
from trainer.levels import OVERLAP

WINDOWS = 1024  # a row, at most
_GAP_FLOOR = 0.2  # smallest tail scale of a logit
_ALARM = 3.0  # surprise at which held-back false alarms are counted: 1 in 1000 of all slots
_LOUD = 0.95  # quantile among windows past the gate: 1 in 100 of all slots
_MORE, _FEW = 2.0, 4.0  # times as many as without the head, and so many more, are let pass
_LEAST = 48  # held-back windows past the gate: fewer calibrate nothing


class Remembered(NamedTuple):
    """Normal slots of rows with a shape memory, each judged without its neighbours in time."""

    at_X: Tensor  # rows
    end_XM: Tensor
    shape_XM: Tensor  # surprise of shapes
    row_XM: Tensor  # of the row with them; NaN where either is missing

    def told(self, row_RL: Tensor) -> Tensor:
        """Surprise (R, L) of rows with the shapes that they have: of those with some, NaN but at these slots."""
        out_RL = row_RL.clone()
        nowhere_XL = torch.full_like(row_RL[self.at_X], torch.nan)
        out_RL[self.at_X] = nowhere_XL.scatter(1, self.end_XM, self.row_XM.to(row_RL))
        return out_RL


@dataclass(frozen=True)
class Held:
    """A history as it was judged, held back."""

    x_RL: Tensor  # prepared
    first_RL: Tensor  # slots of the first half
    halves: tuple[Rows, Rows]  # prototypes of each half
    view_RLV: Tensor
    plain_RL: Tensor  # surprise of rows without shapes
    remembered: Remembered | None


class _Ends(NamedTuple):
    end_RM: Tensor
    real_RM: Tensor  # False: a repetition, or not past the gate
    row_RM: Tensor
    shape_RM: Tensor
    memory_R: Tensor  # windows that tell the same


def fit_gap(head: GapHead, layout: Layout, rows: Rows, held: Held, teacher: Teacher | None) -> Rows:
    """The gap's part of rows. A weight of 0: too little to calibrate on; else 1, until injected anomalies say no.

    Rows that ask the teacher have its part already: the head hears it. What it corrects here is the surprise before the
    teacher, of which few windows on a CPU are changed.
    """
    ends = _ends(layout, head, rows, held)
    deep_NUJ = _left(teacher, layout, rows, held, ends) if teacher is not None and hears(head.about, layout) else None
    logit_RM = _logits(head, layout, rows, held, ends, deep_NUJ)
    real_RM = ends.real_RM & torch.isfinite(logit_RM)
    gap_cal = calibration.fit(logit_RM, real_RM, _GAP_FLOOR, ends.memory_R)
    usable_R = torch.isfinite(gap_cal).all(-1) & (real_RM.sum(-1) >= _LEAST) & (rows["novel"] == 0)
    row_RM = torch.where(real_RM, ends.row_RM, torch.nan)
    corrected_RM = torch.where(real_RM, corrected(ends.row_RM, logit_RM, rows["blend"][:, None]), torch.nan)
    usable_R &= _alarms(corrected_RM) <= _MORE * _alarms(row_RM) + _FEW
    adds_R = _loudness(corrected_RM) - _loudness(row_RM)
    return {
        "gap.weight": usable_R.float(),
        "gap.adds": torch.where(usable_R, adds_R, 0.0).float(),
        "gap.cal": gap_cal,
    }


def _alarms(surprise_RM: Tensor) -> Tensor:
    """Held-back windows (R) that are loud: normal ones, as far as anybody knows."""
    return (surprise_RM >= _ALARM).sum(-1)


def _loudness(surprise_RM: Tensor) -> Tensor:
    """Surprise (R) of the loudest normal windows; NaN where there are none."""
    return torch.nanquantile(surprise_RM.float(), _LOUD, dim=-1)


def _ends(layout: Layout, head: GapHead, rows: Rows, held: Held) -> _Ends:
    """Windows past the gate: evenly spaced, or in rows with shapes those slots whose shapes were judged held back."""
    there_RL = torch.stack([torch.isfinite(held.view_RLV[..., layout.view_of(s)]) for s in head.about.scales]).all(0)
    past_RL = there_RL & (held.plain_RL >= ASK)
    end_RM = choose(past_RL, WINDOWS)
    many_R = past_RL.sum(-1)
    fresh_RM = torch.nn.functional.pad(end_RM[:, 1:] != end_RM[:, :-1], (1, 0), value=True)
    real_RM = fresh_RM & (many_R > 0)[:, None]
    row_RM = held.plain_RL.gather(1, end_RM)
    shape_RM = torch.zeros_like(row_RM)
    # Neighbours tell the same; of thinned windows fewer do.
    alike_R = max(head.about.scales) * OVERLAP * real_RM.sum(-1) / many_R.clamp_min(1)
    if held.remembered is not None:
        at_X, end_XM, told_XM, both_XM = held.remembered
        wide = end_XM.shape[1]
        pad = (0, WINDOWS - wide)
        end_XM, told_XM, both_XM = (torch.nn.functional.pad(v, pad)[:, :WINDOWS] for v in (end_XM, told_XM, both_XM))
        end_RM[at_X], shape_RM[at_X] = end_XM, told_XM.to(shape_RM)
        ok_XM = (
            there_RL[at_X].gather(1, end_XM) & (both_XM >= ASK) & (torch.arange(WINDOWS, device=end_RM.device) < wide)
        )
        row_RM[at_X], real_RM[at_X] = both_XM.to(row_RM), ok_XM
        alike_R[at_X] = max(head.about.scales) * OVERLAP * wide / held.x_RL.shape[1]
    return _Ends(end_RM, real_RM, row_RM, shape_RM, alike_R.clamp_min(1.0))


def _left(teacher: Teacher, layout: Layout, rows: Rows, held: Held, ends: _Ends) -> Tensor | None:
    """What rows that ask the teacher leave unexplained of their windows past its gate (R · M, U, J); NaN of all others,
    None when no row asks.

    Prototypes are those of the other half. Of the ridge maps these are new windows, but for the few dozen they are of.
    """
    past_RM = ends.real_RM & (ends.row_RM >= rows["gate"][:, None])
    for scale in layout.teacher_scales:  # a window that crosses into the other half has no held-back score
        past_RM = past_RM & torch.isfinite(held.view_RLV[..., layout.view_of(scale)]).gather(1, ends.end_RM)
    if not bool(past_RM.any()):
        return None
    found = []
    for scale in layout.teacher_scales:
        windows = pool(held.x_RL, scale, held.x_RL.shape[1] - scale + 1)
        at_RM = (ends.end_RM - scale + 1).clamp_min(0)
        window_RMT = pick(windows.value_RKT, at_RM)
        if windows.there_RKT is not None:
            past_RM = past_RM & pick(windows.there_RKT, at_RM).all(-1)
        found.append((scale, window_RMT))
    r_N, m_N = past_RM.nonzero(as_tuple=True)
    first_N11 = held.first_RL[r_N, ends.end_RM[r_N, m_N]][:, None, None]
    every_N = torch.arange(len(r_N), device=r_N.device)
    channels = []
    for scale, window_RMT in found:
        window_NT = window_RMT[r_N, m_N]
        of_first, of_second = (half[f"proto.{scale}"][r_N] for half in held.halves)
        proto_NPT = torch.where(first_N11, of_second, of_first)
        nearest_N = (proto_NPT - window_NT[:, None]).square().sum(-1).argmin(-1)
        proto_NT = proto_NPT[every_N, nearest_N]
        token_NDO, anchor_NDO = teacher.tokens(torch.cat([window_NT, proto_NT])).chunk(2)
        ridge_NDFO, spread_NDO = (rows[f"{name}.{scale}"][r_N] for name in ("ridge", "spread"))
        left_NDO = residual(token_NDO, anchor_NDO, window_NT, proto_NT, ridge_NDFO, spread_NDO)
        channels.append(gaphead.deep_channels(left_NDO))
    left_NUJ = torch.cat(channels, 1)
    out = left_NUJ.new_full((past_RM.numel(), *left_NUJ.shape[1:]), torch.nan)
    out[r_N * past_RM.shape[1] + m_N] = left_NUJ
    return out


def _logits(head: GapHead, layout: Layout, rows: Rows, held: Held, ends: _Ends, deep_NUJ: Tensor | None) -> Tensor:
    in_first_RM = held.first_RL.gather(1, ends.end_RM)
    forms = []
    for scale in head.about.scales:
        windows = pool(held.x_RL, scale, held.x_RL.shape[1] - scale + 1)
        at_RM = (ends.end_RM - scale + 1).clamp_min(0)
        value_RMT = pick(windows.value_RKT, at_RM)
        there_RMT = None if windows.there_RKT is None else pick(windows.there_RKT, at_RM)
        # Each window meets the prototypes of the half that it is not in.
        by_half = [
            gaphead.form(value_RMT, there_RMT, half[f"proto.{scale}"], half[f"radius.{scale}"]) for half in held.halves
        ]
        forms.append(torch.where(in_first_RM[..., None, None], by_half[1], by_half[0]))
    view_RMV = pick(held.view_RLV, ends.end_RM)[..., columns(layout, head.about)]
    many = ends.end_RM.shape[1]
    plain_RM = held.plain_RL.gather(1, ends.end_RM)
    blend_RM, backed_RM = (value[:, None].expand(-1, many) for value in (rows["blend"], rows["row_cal"][:, -1]))
    said_RMV = gaphead.said(view_RMV, ends.row_RM, plain_RM, ends.shape_RM, backed_RM, blend_RM)
    seen = Seen(torch.cat(forms, 2).flatten(0, 1), said_RMV.flatten(0, 1), deep_NUJ)
    logit_RM = torch.full(ends.end_RM.shape, torch.nan, device=ends.end_RM.device)
    asked_N = ends.real_RM.flatten().nonzero()[:, 0]
    logit_RM.view(-1)[asked_N] = head.gap(seen.at(asked_N))
    return logit_RM

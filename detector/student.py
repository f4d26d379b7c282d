"""What one student is, as rows of stacked tensors, and what it makes of windows without the teacher (depth 0).

Shapes: R rows (stream, channel), S streams, L slots, K scored slots, V depth-0 views (one a scale), P prototypes,
T points, D teacher depths, O numbers of the teacher's tokens at one depth, F = 2T + 1 features of the ridge map.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from detector import calibration
from detector.pooling import POINTS, Windows, baseline, clipped_off, fill, points_of, pool, standardise

# d(window, prototype) − 0.5 · (mean distance of the prototype's own members): a window near a loose cluster is less
# of a surprise than one as far from a tight cluster.
LOCAL = 0.5
TAIL_FLOOR = 0.05  # smallest tail scale of a distance, in standard deviations of the row
BAND_POINTS = 4  # newest points of the window whose deviation is reported


@dataclass(frozen=True)
class Layout:
    """What must agree between two students that stand in one stack."""

    scales: tuple[int, ...]
    prototypes: int
    teacher: str = ""  # identity of the teacher, "" without one
    depths: tuple[int, ...] = ()
    teacher_scales: tuple[int, ...] = ()
    outputs: int = 0

    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape without the leading R of everything a row has."""
        shapes: dict[str, tuple[int, ...]] = {
            "centre": (),
            "scale": (),
            "local": (),
            "widen": (),
            "view_cal": (len(self.scales), calibration.WIDTH),
            "row_cal": (calibration.WIDTH,),
        }
        for scale in self.scales:
            shapes[f"proto.{scale}"] = (self.prototypes, points_of(scale))
            shapes[f"radius.{scale}"] = (self.prototypes,)
            shapes[f"band.{scale}"] = (self.prototypes,)
            shapes[f"used.{scale}"] = (self.prototypes,)
        if self.teacher:
            shapes["gate"] = ()  # depth-0 surprise from which a window goes to the teacher
            shapes["gate_cal"] = (calibration.WIDTH,)
            for scale in self.teacher_scales:
                shapes[f"tokens.{scale}"] = (self.prototypes, len(self.depths), self.outputs)
                shapes[f"ridge.{scale}"] = (len(self.depths), 2 * POINTS + 1, self.outputs)
                shapes[f"spread.{scale}"] = (len(self.depths), self.outputs)
                shapes[f"teacher_cal.{scale}"] = (len(self.depths), calibration.WIDTH)
        return shapes

    def stream_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape without the leading S of everything a stream has."""
        return {"stream_cal": (calibration.WIDTH,)}


Rows = dict[str, Tensor]  # by the names of `Layout.row_shapes`


class Measures(NamedTuple):
    """Distances of the newest K windows to the nearest prototypes, NaN where there is no window."""

    distance_RKV: Tensor
    nearest_RKV: Tensor
    windows: list[Windows]  # a scale


def prepare(values_RL: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Standardised and filled rows, float64 (R, L), and the moving level that was taken off them (R, L)."""
    level_RL = baseline(values_RL, rows["local"])
    return fill(standardise(values_RL.double() - level_RL, rows["centre"], rows["scale"])), level_RL


def beyond(values_RL: Tensor, level_RL: Tensor, rows: Rows) -> Tensor | None:
    """How far values lie outside what windows are clipped to, in the data's unit (R, L); None when none does.

    Distances need no more than the clip; a deviation is told in full, above all of a stream that was constant.
    """
    return clipped_off(values_RL.double() - level_RL, rows["centre"], rows["scale"])


def nearest(windows: Windows, proto_RPT: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean square distance (R, K) to the nearest prototype over the points that are there, and its index."""
    value_RKT, there_RKT, valid_RK = windows
    norm_RP = (proto_RPT * proto_RPT).sum(-1)
    if there_RKT is None:
        off_RKP = torch.baddbmm(norm_RP[:, None, :], value_RKT, proto_RPT.mT, alpha=-2.0)
    else:
        there = there_RKT.to(value_RKT.dtype)
        off_RKP = torch.bmm(there, (proto_RPT * proto_RPT).mT) - 2.0 * torch.bmm(value_RKT, proto_RPT.mT)
    index_RK = off_RKP.argmin(-1)
    # The product form picks the prototype; its distance is taken exactly, large values would drown it.
    difference_RKT = value_RKT - pick(proto_RPT, index_RK)
    if there_RKT is None:
        square_RK = (difference_RKT * difference_RKT).mean(-1)
    else:
        square_RK = (difference_RKT**2 * there).sum(-1) / there.sum(-1).clamp_min(1.0)
    return torch.where(valid_RK, square_RK.sqrt(), torch.nan), index_RK


def pick(of_RPX: Tensor, index_RK: Tensor) -> Tensor:
    """Per row the entries of an index: (R, P, …) and (R, K) → (R, K, …)."""
    row_R1 = torch.arange(of_RPX.shape[0], device=of_RPX.device)[:, None]
    return of_RPX[row_R1, index_RK]


def measure(x_RL: Tensor, rows: Rows, scales: tuple[int, ...], count: int) -> Measures:
    """Distances of windows that end at the last `count` slots of prepared rows."""
    distances, indices, windows = [], [], []
    for scale in scales:
        found = pool(x_RL, scale, count)
        distance_RK, index_RK = nearest(found, rows[f"proto.{scale}"])
        distances.append(distance_RK - LOCAL * pick(rows[f"radius.{scale}"], index_RK))
        indices.append(index_RK)
        windows.append(found)
    return Measures(torch.stack(distances, -1), torch.stack(indices, -1), windows)


def judge(distance_RKV: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Surprise of each view (R, K, V) and of the row at depth 0 (R, K), both calibrated."""
    view_RKV = calibration.surprise(distance_RKV, rows["view_cal"][:, None])
    fused_RK = calibration.upper_half(view_RKV)
    return view_RKV, widened(calibration.surprise(fused_RK, rows["row_cal"][:, None]), rows["widen"][:, None])


def gated(fused_N: Tensor, rows: Rows) -> Tensor:
    """Surprise of rows whose windows passed the gate, from the fusion of all views, the teacher's among them.

    Past the gate the probability is that of passing it times that of the fusion, given that: no seam, and a teacher
    that finds nothing takes a window back to the gate.
    """
    return widened(rows["gate"] + calibration.surprise(fused_N, rows["gate_cal"]), rows["widen"])


def widened(surprise_B: Tensor, widen_B: Tensor) -> Tensor:
    """Surprises whose tail is stretched: what exceeds the body counts for 1 / widen."""
    over_B = (surprise_B - calibration.BODY).clamp_min(0.0)
    return torch.where(over_B > 0, calibration.BODY + over_B / widen_B, surprise_B)


def fuse_channels(row_SCK: Tensor) -> Tensor:
    """Mean of the top ⌈C/8⌉ channels (S, K); NaN = channel absent; NaN where all are."""
    there_SCK = torch.isfinite(row_SCK)
    many_SK = there_SCK.sum(1)
    ranked_SCK = torch.where(there_SCK, row_SCK, -1.0).sort(1, descending=True).values.clamp_min(0.0)
    top_SK = (many_SK + 7) // 8
    index_C = torch.arange(row_SCK.shape[1], device=row_SCK.device)
    mean_SK = torch.where(index_C[None, :, None] < top_SK[:, None], ranked_SCK, 0.0).sum(1) / top_SK.clamp_min(1)
    return torch.where(many_SK > 0, mean_SK, torch.nan)


def finish(row_SCK: Tensor, channels_S: Tensor, stream_cal_SC: Tensor) -> Tensor:
    """The stream's surprise (S, K) from its channels' (S, C, K).

    The fusion of several channels is calibrated once more. It never says less than the loudest channel does among
    as many (Bonferroni: C channels have C times the chance), which holds however the channels hang together.
    """
    fused_SK = fuse_channels(row_SCK)
    loudest_SK = torch.nan_to_num(row_SCK, nan=-1.0).amax(1)
    bound_SK = loudest_SK - channels_S.clamp_min(1).log10()[:, None]
    several_SK = torch.maximum(calibration.surprise(fused_SK, stream_cal_SC[:, None]), bound_SK)
    return torch.where((channels_S > 1)[:, None], several_SK, fused_SK)

"""What one student is, as rows of stacked tensors, and what it makes of windows without the teacher (depth 0).

Shapes: R rows (stream, channel), S streams, L slots, K scored slots, V depth-0 views, Q scales, P prototypes,
T points, C channels, D teacher depths, O numbers of the teacher's tokens at one depth, F = 2T + 1 features of the
ridge map.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from detector import calibration, shapes
from detector.forecast import PERIOD_MAX, Forecast
from detector.looks import Difference, Look, Mahalanobis, MovingStd
from detector.pooling import FILL, POINTS, Windows, clipped_off, fill, points_of, pool, standardise
from detector.rowtypes import Rows

# d(window, prototype) − 0.5 · (mean distance of the prototype's own members): a window near a loose cluster is less
# of a surprise than one as far from a tight cluster.
LOCAL = 0.5
TAIL_FLOOR = 0.05  # smallest tail scale of a view, in its own unit
FEW = 8  # this many distinct values or fewer: states, flags, small counts
BAND_POINTS = 4  # newest points of the window whose deviation is reported

# The mean of the four loudest of looks and prototypes, of which the least surprised scale is left out: mean VUS-PR of
# eight sets .634. The louder half of all: .622, the loudest scale alone: .636 with .03 less on web KPIs.
HEARD = 4
PLAIN_MAX = 4.5  # half a decade above the default threshold
PLAIN_LESS = 0.3  # decades taken off: of two chances to fire each has half
_SAME = 1e-6  # float32 resolves 1e-7

# Each sees what the others miss; together they beat any one of them and any learnt mixture on KPIs and telemetry.
LOOKS: tuple[Look, ...] = (
    Mahalanobis(8),
    Mahalanobis(16),
    Mahalanobis(64),
    Forecast(1, 16),
    Forecast(8, 8),
    MovingStd(8),
    MovingStd(32),
    Difference(),
)
# Slots up to and including a scored one that any view may look at: two seasons, or the widest shape.
CONTEXT = max(2 * PERIOD_MAX + 1, shapes.REACH) + FILL


@dataclass(frozen=True)
class Layout:
    """What must agree between two students that stand in one stack."""

    scales: tuple[int, ...]
    prototypes: int
    shapes: int  # shape views kept a row
    medoids: int
    teacher: str = ""  # identity of the teacher, "" without one
    depths: tuple[int, ...] = ()
    teacher_scales: tuple[int, ...] = ()
    outputs: int = 0

    @property
    def views(self) -> int:
        """Views at depth 0 that every row has."""
        return len(LOOKS) + len(self.scales)

    @property
    def spans(self) -> list[int]:
        """Slots that the windows of those views cover."""
        return [*(look.slots for look in LOOKS), *self.scales]

    @property
    def deep_views(self) -> int:
        """Views of the teacher: scale by scale, the depths of each."""
        return len(self.teacher_scales) * len(self.depths)

    def view_of(self, scale: int) -> int:
        """Index of the prototype view of a scale."""
        return len(LOOKS) + self.scales.index(scale)

    def shallow_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape without the leading R of what a row has at depth 0."""
        found: dict[str, tuple[int, ...]] = {
            "centre": (),
            "scale": (),
            "period": (),
            "widen": (),
            "blend": (),  # weight of the shape memory's surprise: 0 there is none, 1 full
            "rest": (),  # up to where surprise without shapes counts beside it
            # Surprise of a value never seen, of rows with few values beside other channels; 0: all other rows.
            "novel": (),
            "levels": (FEW,),  # the values they have shown
            "lag": (),  # slots from the middle of the windows that fire to the slot they are scored at
            "view_cal": (self.views, calibration.WIDTH),
            "row_cal": (calibration.WIDTH,),
        }
        for look in LOOKS:
            found |= look.shapes()
        for scale in self.scales:
            found[f"proto.{scale}"] = (self.prototypes, points_of(scale))
            found[f"radius.{scale}"] = (self.prototypes,)
            found[f"band.{scale}"] = (self.prototypes,)
            found[f"used.{scale}"] = (self.prototypes,)
        return found

    def deep_shapes(self) -> dict[str, tuple[int, ...]]:
        """The same of what a row has for the teacher."""
        if not self.teacher:
            return {}
        found: dict[str, tuple[int, ...]] = {
            "gate": (),  # depth-0 surprise from which a window goes to the teacher
            "gate_cal": (calibration.WIDTH,),
            "deep": (self.deep_views,),  # weight of each view of the teacher beside depth 0's 1
        }
        for scale in self.teacher_scales:
            found[f"tokens.{scale}"] = (self.prototypes, len(self.depths), self.outputs)
            found[f"ridge.{scale}"] = (len(self.depths), 2 * POINTS + 1, self.outputs)
            found[f"spread.{scale}"] = (len(self.depths), self.outputs)
            found[f"teacher_cal.{scale}"] = (len(self.depths), calibration.WIDTH)
        return found

    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """The same of everything a row has."""
        return self.shallow_shapes() | self.deep_shapes()

    def shape_shapes(self) -> dict[str, tuple[int, ...]]:
        """The same of what a row with a shape memory has besides, as it is stored."""
        found: dict[str, tuple[int, ...]] = {f"shape.{name}": () for name in ("mean", "std", "step")}
        found |= {f"shape.{name}": (self.shapes,) for name in ("width", "kind", "weight", "centre", "unit")}
        found |= {f"shape.{name}": (self.shapes, self.medoids) for name in ("ends", "own")}
        # Of the shapes' fused score, and of its mixture with the rest of the row.
        return found | {"shape.cal": (calibration.WIDTH,), "shape.mix": (calibration.WIDTH,)}

    def stream_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape without the leading S of everything a stream has."""
        # `lean`: decades by which alerts of its held-back history come more often than surprises promise.
        return {"stream_cal": (calibration.WIDTH,), "lean": ()}


class Measures(NamedTuple):
    """Discrepancies of the newest K windows, NaN where there is no window."""

    distance_RKV: Tensor
    nearest_RKQ: Tensor  # nearest prototype at each scale
    windows: list[Windows]  # a scale


def prepare(values_RL: Tensor, rows: Rows) -> Tensor:
    """Standardised and filled rows, float64 (R, L)."""
    return fill(standardise(values_RL, rows["centre"], rows["scale"]))


def beyond(values_RL: Tensor, rows: Rows) -> Tensor | None:
    """How far values lie outside what windows are clipped to, in the data's unit (R, L); None when none does.

    Distances need no more than the clip; a deviation is told in full, above all of a stream that was constant.
    """
    return clipped_off(values_RL, rows["centre"], rows["scale"])


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


def prototypes(x_RL: Tensor, rows: Rows, scale: int, count: int) -> tuple[Tensor, Tensor, Windows]:
    """The prototype view of one scale: discrepancy (R, K), nearest prototype (R, K), windows."""
    found = pool(x_RL, scale, count)
    distance_RK, index_RK = nearest(found, rows[f"proto.{scale}"])
    return distance_RK - LOCAL * pick(rows[f"radius.{scale}"], index_RK), index_RK, found


def measure(x_RL: Tensor, rows: Rows, scales: tuple[int, ...], count: int) -> Measures:
    """Discrepancies at the last `count` slots of prepared rows, in the order of `Layout.view_of`."""
    distances = [look.score(x_RL, rows, count) for look in LOOKS]
    indices, windows = [], []
    for scale in scales:
        distance_RK, index_RK, found = prototypes(x_RL, rows, scale, count)
        distances.append(distance_RK)
        indices.append(index_RK)
        windows.append(found)
    return Measures(torch.stack(distances, -1), torch.stack(indices, -1), windows)


def fuse_views(view_RKV: Tensor) -> Tensor:
    """What the views of depth 0 say together (R, K), not yet calibrated; NaN where there is none."""
    proto_RKQ = view_RKV[..., len(LOOKS) :]
    if proto_RKQ.shape[-1] > 1:
        proto_RKQ = proto_RKQ.nan_to_num(nan=-1.0).sort(-1, descending=True).values[..., :-1]
        proto_RKQ = torch.where(proto_RKQ < 0, torch.nan, proto_RKQ)
    return calibration.loudest(torch.cat([view_RKV[..., : len(LOOKS)], proto_RKQ], -1), HEARD)


def judge(distance_RKV: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Surprise of each view (R, K, V) and of the row without its shapes (R, K), both calibrated."""
    view_RKV = calibration.surprise(distance_RKV, rows["view_cal"][:, None])
    row_RK = calibration.surprise(fuse_views(view_RKV), rows["row_cal"][:, None])
    return view_RKV, widened(row_RK, rows["widen"][:, None])


def blended(row_RK: Tensor, shape_RK: Tensor, rows: Rows) -> Tensor:
    """Surprise of rows mixed with that of their shapes, not yet calibrated; NaN where one of them is.

    Root of the sum of squares: the louder of the two decides, and what is not shape is heard up to a limit. Of a row
    that is all shapes the rarest values, steps and spreads are no news; below that they rank what shapes do not see.
    """
    return torch.hypot(torch.minimum(row_RK, rows["rest"][:, None]), rows["blend"][:, None] * shape_RK)


def at_once(plain_RK: Tensor) -> Tensor:
    """What rows with shapes alert by before a shape is complete: their surprise without shapes, less a chance of two.

    It is one more chance to fire, and enough to alert; where the worst of a stream is, its shapes say.
    """
    return (plain_RK - PLAIN_LESS).clamp(0.0, PLAIN_MAX)


def novelty(values_RK: Tensor, rows: Rows) -> Tensor:
    """Surprise (R, K) of rows with few values: `novel` for one never seen, else 0; NaN for gaps."""
    level_R1F = rows["levels"][:, None]
    near_RKF = (values_RK[..., None] - level_R1F).abs() <= _SAME * level_R1F.abs().clamp_min(1.0)
    new_RK = torch.where(near_RKF.any(-1), 0.0, rows["novel"][:, None])
    return torch.where(torch.isfinite(values_RK), new_RK, torch.nan)


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


def ranked(row_SCK: Tensor, few_SC: Tensor) -> Tensor:
    """What slots of a stream are ranked by (S, K): its loudest channels (S, C, K) together, not calibrated.

    Channels with few values (`few_SC`) have their say apart: an unseen value adds its own surprise once.
    """
    return _with_novelty(fuse_channels(torch.where(few_SC[..., None], torch.nan, row_SCK)), row_SCK, few_SC)


def _with_novelty(fused_SK: Tensor, row_SCK: Tensor, few_SC: Tensor) -> Tensor:
    """What the other channels say together, and on top what those with few values do; NaN where no channel is there."""
    there_SCK = torch.isfinite(row_SCK)
    novel_SK = torch.where(there_SCK & few_SC[..., None], row_SCK, 0.0).amax(1)
    return torch.where(there_SCK.any(1), torch.nan_to_num(fused_SK, nan=0.0) + novel_SK, torch.nan)


LEAN_LEVEL = 2.5  # surprise up to where a lean is taken in proportion: the level at which alerts are counted


def leaning(surprise_SK: Tensor, lean_S: Tensor) -> Tensor:
    """Surprises corrected by what alerts the stream's held-back history gave, in full from LEAN_LEVEL on."""
    part_SK = (surprise_SK / LEAN_LEVEL).clamp(0.0, 1.0)
    return (surprise_SK - lean_S[:, None] * part_SK).clamp_min(0.0)


def finish(row_SCK: Tensor, few_SC: Tensor, stream_cal_SC: Tensor) -> Tensor:
    """The stream's surprise (S, K) from its channels' (S, C, K).

    Channels with few values (`few_SC`) have their say apart: an unseen value adds its own surprise once.
    The fusion of several channels is calibrated once more. It never says less than the loudest channel does among
    as many (Bonferroni: C channels have C times the chance), which holds however the channels hang together.
    """
    rich_SCK = torch.where(few_SC[..., None], torch.nan, row_SCK)
    fused_SK = fuse_channels(rich_SCK)
    channels_SK = torch.isfinite(rich_SCK).sum(1)
    loudest_SK = torch.nan_to_num(rich_SCK, nan=-1.0).amax(1)
    bound_SK = loudest_SK - channels_SK.clamp_min(1).log10()
    several_SK = torch.maximum(calibration.surprise(fused_SK, stream_cal_SC[:, None]), bound_SK)
    whole_SK = torch.where(channels_SK > 1, several_SK, fused_SK)
    return _with_novelty(whole_SK, row_SCK, few_SC)

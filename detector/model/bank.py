"""The student bank: students of all streams as stacked tensors, scored in one call.

Shapes: R rows (stream, channel), S streams, L slots, K scored slots, V depth-0 views, W all views but shapes, Q scales,
X rows with a shape memory, N windows for the teacher, D depths, O numbers of the teacher's tokens, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detector.model import calibration, prior
from detector.model.fusion import corrected, finish, ranked
from detector.model.installed import Installed, InstalledStudents
from detector.model.interface import Segment, SegmentScore, unscored
from detector.model.pooling import FILL, Windows, moving_mean, points_of
from detector.model.row_types import Rows
from detector.model.shallow import at_once, beyond, blended, judge, measure, novelty, prepare
from detector.model.teacher import Teacher
from detector.model.views import shapes
from detector.model.views import teacher as deep
from detector.model.views.forecast import SEASON_AFTER, SEASON_SPAN
from detector.model.views.prototypes import BAND_POINTS, pick

__all__ = ["LayoutBank", "Segment", "SegmentScore"]


class _Group(NamedTuple):
    """Segments scored together: the numbers of slots to score lie within a factor of two."""

    segments: list[int]
    values_RL: Tensor
    season: tuple[Tensor, Tensor] | None  # values around one season before, and two before, when any row has one
    row_R: Tensor  # row in the tables
    stream_R: Tensor  # index into `segments`
    channel_R: Tensor
    place_S: Tensor  # stream in the tables
    counts: list[int]
    width: int  # K
    follows: bool  # on what the bank has scored last: the memories' trails hold


@dataclass
class _Part:
    """What is known of a group's windows so far."""

    rows: Rows
    beyond_RL: Tensor | None  # what clipping has cut off
    nearest_RKQ: Tensor
    windows: list[Windows]  # a scale
    view_RKW: Tensor
    shape_RK: Tensor  # share of the shape memory in the row's surprise
    width_RK: Tensor  # of the shape view that contributes most
    row_RK: Tensor
    early_RK: Tensor  # surprise that alerts before a shape is complete, 0 in rows without shapes
    teacher_RK: Tensor


# Deviations beyond this many standard deviations of the nearest prototype's members are outside the band shown.
BAND_WIDTH = 3.0
_BAND_FLOOR = 0.05  # of the row's scale


_FOLLOW_MAX = 64  # slots: of more, the few before them are soon worked out again


def _put_last(out_X: np.ndarray, value_S: np.ndarray, stop: int) -> None:
    """Values before `stop` into the end of `out_X`; what is missing stays."""
    piece = value_S[max(0, stop - len(out_X)) : max(0, stop)]
    out_X[len(out_X) - len(piece) :] = piece


class LayoutBank(InstalledStudents):
    """Scores windows of any number of streams against their students, which are all of one layout.

    `put` and `remove` may be called from another thread than `score`: each call sees all of a swap or nothing.
    """

    def score(self, segments: Sequence[Segment]) -> list[SegmentScore]:
        """Scores of all segments, in order: by the generic prior where there is no student, NaN where it knows other channels."""
        out: list[SegmentScore | None] = [None] * len(segments)
        with self._lock, torch.inference_mode():
            cold = [i for i, segment in enumerate(segments) if segment.cold or segment.stream not in self._installed]
            for i, score in zip(cold, prior.score([segments[i] for i in cold], self.device), strict=True):
                out[i] = score
            groups = self._gather(segments, out)
            parts = [self._shallow(group) for group in groups]
            self._ask_teacher(groups, parts)
            for group, part in zip(groups, parts, strict=True):
                self._finish(group, part, segments, out)
        return [score for score in out if score is not None]

    def _gather(self, segments: Sequence[Segment], out: list[SegmentScore | None]) -> list[_Group]:
        buckets: dict[tuple[int, int, bool], list[tuple[int, Installed, int]]] = {}
        here: set[str] = set()
        for index, segment in enumerate(segments):
            if out[index] is not None:
                continue
            channels = segment.values_SC.shape[1]
            installed = self._installed[segment.stream]
            count = segment.scored(installed.reach)
            if installed.place.channels != channels or count == 0:
                out[index] = unscored(segment.stream, count, channels, installed.ref.version)
            else:
                # A trail ends where the new slots begin, so that these must be all there are.
                first = segment.last - count + 1 if segment.last is not None else None
                again = segment.stream in here  # several pieces in one call: none can wait for another
                follows = first is not None and installed.judged == first - 1 and count <= _FOLLOW_MAX and not again
                width = count if follows else 1 << (count - 1).bit_length()
                buckets.setdefault((width, installed.near, follows), []).append((index, installed, count))
                installed.judged = None if again else segment.last
                here.add(segment.stream)
        # In the order of the tables: the memories of neighbours are then matched without a copy.
        return [
            self._group(width, near, follows, sorted(members, key=lambda member: member[1].place.start), segments)
            for (width, near, follows), members in sorted(buckets.items())
        ]

    def _group(
        self,
        width: int,
        near: int,
        follows: bool,
        members: list[tuple[int, Installed, int]],
        segments: Sequence[Segment],
    ) -> _Group:
        length = near + width - 1
        sizes = np.array([installed.place.channels for _, installed, _ in members])
        values_RL = np.full((int(sizes.sum()), length), np.nan, np.float32)
        seasonal = any(any(installed.periods) for _, installed, _ in members)
        once_RX = np.full((len(values_RL), width + SEASON_SPAN + FILL if seasonal else 0), np.nan, np.float32)
        twice_RX = np.full((len(values_RL), width + FILL if seasonal else 0), np.nan, np.float32)
        row = 0
        for index, installed, _ in members:
            values_SC = segments[index].values_SC
            newest_SC = values_SC[-length:]
            values_RL[row : row + installed.place.channels, length - len(newest_SC) :] = newest_SC.T
            for c, period in enumerate(installed.periods):
                if period:
                    _put_last(once_RX[row + c], values_SC[:, c], len(values_SC) - period + SEASON_AFTER)
                    _put_last(twice_RX[row + c], values_SC[:, c], len(values_SC) - 2 * period)
            row += installed.place.channels
        starts = np.array([installed.place.start for _, installed, _ in members])
        channel_R = np.arange(row) - np.repeat(np.cumsum(sizes) - sizes, sizes)

        def there(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(self.device)

        return _Group(
            [index for index, _, _ in members],
            there(values_RL),
            (there(once_RX), there(twice_RX)) if seasonal else None,
            there(np.repeat(starts, sizes) + channel_R),
            there(np.repeat(np.arange(len(members)), sizes)),
            there(channel_R),
            there(np.array([installed.place.seat for _, installed, _ in members])),
            [count for _, _, count in members],
            width,
            follows,
        )

    def _shallow(self, group: _Group) -> _Part:
        """Depth 0: everything that needs no teacher."""
        at = shapes.together(group.row_R)
        rows = {name: self._tables.rows[name][at] for name in self._shallow_names}
        x_RL = prepare(group.values_RL, rows)
        if group.season is not None:
            rows["season.once"], rows["season.twice"] = (prepare(x_RX, rows)[:, FILL:] for x_RX in group.season)
        measures = measure(x_RL, rows, self.layout.scales, group.width)
        view_RKV, plain_RK = judge(measures.distance_RKV, rows)
        row_RK, early_RK, shape_RK, width_RK = self._remember(x_RL, rows, plain_RK, group.follows)
        few_R1 = rows["novel"][:, None] > 0
        if bool(few_R1.any()):
            row_RK = torch.where(few_R1, novelty(group.values_RL[:, -group.width :], rows), row_RK)
        counts_R = torch.tensor(group.counts, device=self.device)[group.stream_R]
        padding_RK = torch.arange(group.width, device=self.device) < group.width - counts_R[:, None]
        row_RK = torch.where(padding_RK, torch.nan, row_RK)
        return _Part(
            rows,
            beyond(group.values_RL, rows),
            measures.nearest_RKQ,
            measures.windows,
            view_RKV,
            shape_RK,
            width_RK,
            row_RK,
            early_RK,
            torch.zeros_like(padding_RK),
        )

    def _remember(
        self, x_RL: Tensor, rows: Rows, plain_RK: Tensor, follows: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rows' surprise with the shape memories of those that have one; what alerts before; share and loudest width."""
        share_RK = torch.zeros_like(plain_RK)
        early_RK = torch.zeros_like(plain_RK)
        width_RK = torch.zeros_like(plain_RK, dtype=torch.long)
        [with_X] = (rows["memory"] >= 0).nonzero(as_tuple=True)
        if not len(with_X):
            return plain_RK, early_RK, share_RK, width_RK
        at_X = rows["memory"][with_X].long()
        memories = self._memories.rows
        found = shapes.score(x_RL[with_X], memories, at_X, plain_RK.shape[1], follows)
        memories["trail"][at_X] = found.trail_RX.float()
        shape_XK = calibration.surprise(found.fused_RK, memories["shape.cal"][at_X, None])
        own = {name: rows[name][with_X] for name in ("blend", "rest")}
        row_RK = plain_RK.clone()
        mixed_XK = blended(plain_RK[with_X], shape_XK, own)
        both_XK = calibration.surprise(mixed_XK, memories["shape.mix"][at_X, None])
        # Where shapes cannot be judged: without them.
        row_RK[with_X] = torch.where(torch.isfinite(both_XK), both_XK, plain_RK[with_X])
        early_RK[with_X] = at_once(plain_RK[with_X])
        share_XK = torch.nan_to_num((own["blend"][:, None] * shape_XK / mixed_XK.clamp_min(1e-6)).square())
        share_RK[with_X] = torch.where(early_RK[with_X] > row_RK[with_X], 0.0, share_XK)
        width_RK[with_X] = found.width_RK
        return row_RK, early_RK, share_RK, width_RK

    def _ask_teacher(self, groups: list[_Group], parts: list[_Part]) -> None:
        """Windows past the gate of all groups go to the teacher in one call a scale."""
        teacher = self.teacher
        if teacher is None:
            return
        views = self.layout.deep_views
        places = []
        for part in parts:
            gate_R = part.rows["gate"]
            whole_RK = torch.isfinite(part.row_RK) & (part.rows["novel"][:, None] == 0)
            for scale in self.layout.teacher_scales:
                windows = part.windows[self.layout.scales.index(scale)]
                whole_RK = whole_RK & windows.valid_RK
                if windows.there_RKT is not None:
                    whole_RK = whole_RK & windows.there_RKT.all(-1)
            part.teacher_RK = whole_RK & (part.row_RK >= gate_R[:, None])
            places.append(part.teacher_RK.nonzero())
            absent_RKW = torch.full((*part.row_RK.shape, views), torch.nan, device=self.device)
            part.view_RKW = torch.cat([part.view_RKW, absent_RKW], -1)
        sizes = [len(place) for place in places]
        if not sum(sizes):
            return
        row_N = torch.cat([group.row_R[place[:, 0]] for group, place in zip(groups, places, strict=True)])
        found = [self._discrepancies(teacher, scale, row_N, parts, places) for scale in self.layout.teacher_scales]
        deep_NW = torch.cat(found, -1)
        for part, place, deep_W in zip(parts, places, torch.split(deep_NW, sizes), strict=True):
            r_N, k_N = place.unbind(1)
            part.view_RKW[r_N, k_N, -views:] = deep_W
        rows = {name: self._tables.rows[name][row_N] for name in ("gate", "widen", "blend")}
        at_N = self._tables.rows["deep_at"][row_N].long()
        rows |= {name: self._deep.rows[name][at_N] for name in ("gate_cal", "deep")}
        shallow_N = torch.cat([p.row_RK[at[:, 0], at[:, 1]] for p, at in zip(parts, places, strict=True)])
        judged_N = deep.gated(deep.joined(shallow_N, deep_NW, rows["deep"]), rows)
        for part, place, judged in zip(parts, places, torch.split(judged_N, sizes), strict=True):
            part.row_RK = part.row_RK.index_put(place.unbind(1), judged.to(part.row_RK))

    def _discrepancies(
        self, teacher: Teacher, scale: int, row_N: Tensor, parts: list[_Part], places: list[Tensor]
    ) -> Tensor:
        """Surprises (N, D) of the teacher's views at one scale."""
        view = self.layout.scales.index(scale)
        here = list(zip(parts, places, strict=True))
        window_NT = torch.cat([part.windows[view].value_RKT[at[:, 0], at[:, 1]] for part, at in here])
        nearest_N = torch.cat([part.nearest_RKQ[at[:, 0], at[:, 1], view] for part, at in here])
        proto_NT = self._tables.rows[f"proto.{scale}"][row_N, nearest_N]
        at_N = self._tables.rows["deep_at"][row_N].long()
        return deep.surprises(teacher, scale, self._deep.rows, at_N, window_NT, nearest_N, proto_NT)

    def _finish(self, group: _Group, part: _Part, segments: Sequence[Segment], out: list[SegmentScore | None]) -> None:
        """Fuse channels, add what a person wants to know, cut into segments."""
        channels = int(group.channel_R.max()) + 1
        scored_RK = torch.isfinite(part.row_RK)
        row_SCK = torch.full((len(group.segments), channels, group.width), torch.nan, device=self.device)
        row_SCK[group.stream_R, group.channel_R] = part.row_RK
        few_SC = torch.zeros(row_SCK.shape[:2], dtype=torch.bool, device=self.device)
        few_SC[group.stream_R, group.channel_R] = part.rows["novel"] > 0
        stream_cal_SC = self._tables.streams["stream_cal"][group.place_S]
        rank_SK = ranked(row_SCK, few_SC)
        alert_RK = torch.fmax(part.row_RK, part.early_RK).where(scored_RK, torch.nan)
        row_SCK[group.stream_R, group.channel_R] = alert_RK
        correction_S = self._tables.streams["correction"][group.place_S]
        surprise_SK = corrected(finish(row_SCK, few_SC, stream_cal_SC), correction_S)
        explained = self._explain(part)
        view_RK, scale_RK, nearest_RK = (
            torch.where(scored_RK, i, -1).to(torch.int16).cpu().numpy() for i in explained[:3]
        )
        expected_RK, low_RK, high_RK, deviation_RK = (
            torch.where(scored_RK, value, torch.nan).float().cpu().numpy() for value in explained[3:]
        )
        lag_R = part.rows["lag"].round().to(torch.int16).cpu().numpy()
        ranked_RK, channel_RK, alert_SK, ranked_SK = (
            value.float().cpu().numpy() for value in (part.row_RK, alert_RK, surprise_SK, rank_SK)
        )
        teacher_RK = part.teacher_RK.cpu().numpy()
        loud_RK = np.nan_to_num(ranked_RK, nan=-1.0)
        row = 0
        for s, index in enumerate(group.segments):
            stream, size = segments[index].stream, segments[index].values_SC.shape[1]
            newest = slice(group.width - group.counts[s], None)
            mine = slice(row, row + size)
            out[index] = SegmentScore(
                stream=stream,
                version=self._installed[stream].ref.version,
                views=self._views,
                surprise_K=alert_SK[s, newest],
                rank_K=ranked_SK[s, newest],
                channel_KC=channel_RK[mine, newest].T,
                view_KC=view_RK[mine, newest].T,
                scale_KC=scale_RK[mine, newest].T,
                nearest_KC=nearest_RK[mine, newest].T,
                expected_KC=expected_RK[mine, newest].T,
                low_KC=low_RK[mine, newest].T,
                high_KC=high_RK[mine, newest].T,
                deviation_KC=deviation_RK[mine, newest].T,
                teacher_K=np.asarray(teacher_RK[mine, newest].any(0)),
                lag_K=lag_R[mine][loud_RK[mine, newest].argmax(0)],
            )
            row += size

    def _explain(self, part: _Part) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Loudest view, its scale, nearest prototype, expected value, band and deviation: all (R, K)."""
        loudest_RK = torch.nan_to_num(part.view_RKW, nan=-1.0).argmax(-1)
        scale_W = torch.tensor([view.scale for view in self._views], device=self.device)
        by_shape_RK = part.shape_RK > 0.5
        loudest_RK = torch.where(by_shape_RK, len(self._views) - 1, loudest_RK)
        scale_RK = torch.where(by_shape_RK, part.width_RK, scale_W[loudest_RK])
        # Expected value and band come from the prototypes of the scale next to the view's window.
        scale_Q = torch.tensor(self.layout.scales, device=self.device)
        told_RK = (scale_RK[..., None] - scale_Q).abs().argmin(-1)
        nearest_RK = part.nearest_RKQ.gather(-1, told_RK[..., None])[..., 0]
        newest_RK = torch.zeros_like(part.row_RK)
        band_RK, mean_RK, square_RK, over_RK = (torch.zeros_like(newest_RK) for _ in range(4))
        for q, scale in enumerate(self.layout.scales):
            mine_RK = told_RK == q
            proto_RKT = pick(part.rows[f"proto.{scale}"], part.nearest_RKQ[..., q])
            recent = min(BAND_POINTS, points_of(scale))
            off_RKT = (part.windows[q].value_RKT - proto_RKT)[..., -recent:]
            newest_RK = torch.where(mine_RK, proto_RKT[..., -1], newest_RK)
            mean_RK = torch.where(mine_RK, off_RKT.mean(-1), mean_RK)
            square_RK = torch.where(mine_RK, (off_RKT**2).mean(-1), square_RK)
            if part.beyond_RL is not None:
                slots = recent * (scale // points_of(scale))
                over_RK = torch.where(mine_RK, moving_mean(part.beyond_RL, slots)[:, -mine_RK.shape[1] :], over_RK)
            band_RK = torch.where(mine_RK, pick(part.rows[f"band.{scale}"], part.nearest_RKQ[..., q]), band_RK)
        unit_R1 = part.rows["scale"][:, None].double()
        expected_RK = part.rows["centre"][:, None] + unit_R1 * newest_RK
        half_RK = unit_R1 * BAND_WIDTH * band_RK.clamp_min(_BAND_FLOOR)
        deviation_RK = unit_R1 * square_RK.sqrt() * torch.where(mean_RK < 0, -1.0, 1.0) + over_RK
        return loudest_RK, scale_RK, nearest_RK, expected_RK, expected_RK - half_RK, expected_RK + half_RK, deviation_RK

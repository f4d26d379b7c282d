"""How depth 0 judges injected anomalies: every probe is a slot over one of them, judged as the detector would.

Shapes: R rows (stream, channel), L slots, A anomalies of a row, X probes of an anomaly, Q scales, N probes that are asked
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.periods import shape_period
from detector.model.row_types import Rows
from trainer.fit.probing import judged, unpacked
from trainer.inject.drawn import inject
from trainer.inject.kinds import DRAWN
from trainer.inject.splice import Injected

EACH = 2  # anomalies of a kind: 28 in all, for depth 0 is asked six times of each and the teacher twice
PROBES = 6
ANOMALIES = EACH * len(DRAWN)
_AFTER = 8  # slots after the anomaly's last that are probed, of rows without shapes
_ROWS_A_PASS = 8  # 168 probes each, of up to 552 slots
_CLIP = 20.0  # standard deviations of a row's own: an outlier in it must not make all anomalies large


class Probes(NamedTuple):
    """Depth 0 at the probes; NaN: not to be judged."""

    surprise_RAX: Tensor
    windows: list[Tensor]  # (R, A, X, points) at each scale, NaN where a point is missing
    nearest_RAXQ: Tensor  # nearest prototype

    def of(self, index_R: Tensor) -> "Probes":
        """Those of some rows."""
        return Probes(self.surprise_RAX[index_R], [w[index_R] for w in self.windows], self.nearest_RAXQ[index_R])

    def whole(self, q: int) -> Tensor:
        """True at probes (R, A, X) whose window of scale number `q` has all of its points."""
        return torch.isfinite(self.windows[q]).all(-1)

    def at(self, q: int, row_N: Tensor, anomaly_N: Tensor, probe_N: Tensor) -> tuple[Tensor, Tensor]:
        """Windows (N, points) of scale number `q`, and the nearest prototype of each (N)."""
        return self.windows[q][row_N, anomaly_N, probe_N], self.nearest_RAXQ[row_N, anomaly_N, probe_N, q]


def probe(x_RL: Tensor, rows: Rows, memories: Memories, layout: Layout) -> Probes:
    """Inject anomalies into prepared rows and let depth 0 judge them."""
    shaped_R = torch.zeros(len(x_RL), dtype=torch.bool, device=x_RL.device)
    shaped_R[memories.at] = True
    where = {row: at for at, row in enumerate(memories.at)}
    parts: list[tuple[Tensor, Probes]] = []
    for with_shapes in (False, True):
        [all_R] = (shaped_R == with_shapes).nonzero(as_tuple=True)
        for index_R in torch.split(all_R, _ROWS_A_PASS) if len(all_R) else ():
            own = {name: value[index_R] for name, value in rows.items()}
            mine = [where[row] for row in index_R.tolist()] if with_shapes else []
            parts.append((index_R, _probe(x_RL[index_R], own, unpacked(memories, mine), layout)))
    order_R = torch.cat([index_R for index_R, _ in parts]).argsort()
    found = [part for _, part in parts]
    windows = [torch.cat([part.windows[q] for part in found])[order_R] for q in range(len(layout.scales))]
    surprise_RAX = torch.cat([part.surprise_RAX for part in found])[order_R]
    return Probes(surprise_RAX, windows, torch.cat([part.nearest_RAXQ for part in found])[order_R])


def injected(x_RL: Tensor) -> Injected:
    """The anomalies of rows, in the rows' own unit."""
    first_R = torch.isfinite(x_RL).long().argmax(1)
    mean_R1 = x_RL.nanmean(1, keepdim=True).nan_to_num(nan=0.0)
    off_RL = x_RL - mean_R1
    many_R1 = torch.isfinite(off_RL).sum(1, keepdim=True).clamp_min(1)
    std_R1 = (off_RL.square().nansum(1, keepdim=True) / many_R1).sqrt().clamp_min(1e-6)
    changed, onset_RA, length_RA = inject(
        (off_RL / std_R1).clamp(-_CLIP, _CLIP), shape_period(x_RL), first_R, each=EACH
    )
    return Injected(changed * std_R1[..., None] + mean_R1[..., None], onset_RA, length_RA)


def slots(made: Injected, lag_R: Tensor, length: int) -> Tensor:
    """Where anomalies are probed (R, A, X): from the first slot to when the row's views have seen the last."""
    after_R = lag_R.round().clamp_min(_AFTER)
    step_X = torch.linspace(0, 1, PROBES, device=lag_R.device)
    span_RA1 = (made.length_RA - 1 + after_R[:, None])[..., None]
    return (made.onset_RA[..., None] + (span_RA1 * step_X).round().long()).clamp_max(length - 1)


def _probe(x_RL: Tensor, rows: Rows, tables: Rows, layout: Layout) -> Probes:
    made = injected(x_RL)
    end_RAX = slots(made, rows["lag"], x_RL.shape[1])
    found = judged(x_RL, made, end_RAX.flatten(1), rows, tables, layout)
    size = end_RAX.shape
    windows = [window.reshape(*size, -1) for window in found.windows]
    return Probes(found.surprise.reshape(size), windows, found.nearest.reshape(*size, -1))

"""What the seasons of streams are fitted from: their fine and coarse rings with real time, and the fit of many streams.

Shapes: R rows (stream, channel), B blocks, L slots, S slots of one stream, C channels
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detector.model.seasons import Seasons, stored
from detector.model.views.season import DAY_S
from streamer.local_time import local_s
from streamer.timestamps import NS
from streamer.windows.coarse import CoarseWindow
from trainer.fit.season import fit
from trainer.fit.season_days import History

LEAST_S = 2 * DAY_S  # of blocks: less has no season
SLOTS = 8192  # newest slots that are looked at one by one


@dataclass(frozen=True)
class Past:
    """One stream's rings. What incidents cover is given beside the values: what recurs in them is a habit."""

    values_SC: np.ndarray  # float32, NaN = gap
    lo: int  # slot of the first row
    interval_ns: int
    phase_ns: int
    blocks: CoarseWindow
    exclude: Sequence[tuple[int, int]] = ()  # slots, inclusive
    zone: str | None = None
    since: int | None = None  # slot at which a lasting new level began
    previous: Seasons | None = None  # of the student before

    @property
    def seasonal(self) -> bool:
        """Whether a season can be fitted: slots of whole seconds that fill blocks, and two days of blocks."""
        block_ns = self.blocks.block_ns
        whole = self.interval_ns % NS == 0 and block_ns % self.interval_ns == 0
        return whole and (len(self.blocks.mean_BC) - 1) * block_ns >= LEAST_S * NS


@dataclass(frozen=True)
class _Timed:
    """A stream's blocks and slots as a fit takes them, channels in front."""

    block_RB: np.ndarray
    block_local_B: np.ndarray
    out_B: np.ndarray
    slot_RL: np.ndarray
    slot_local_L: np.ndarray
    out_L: np.ndarray
    since: int  # block
    since_day: float


def fit_seasons(pasts: Sequence[Past | None], sizes: Sequence[int]) -> Seasons:
    """Seasons of all rows that can have one; `sizes` are the channels of each stream."""
    starts = np.cumsum([0, *sizes])[:-1].tolist()
    groups: dict[tuple[int, int, int, int, bool], list[tuple[int, Past, _Timed]]] = {}
    for start, past in zip(starts, pasts, strict=True):
        if past is not None and past.seasonal:
            timed = _timed(past)
            shape = (len(timed.block_local_B), len(timed.slot_local_L))
            key = (past.interval_ns, past.blocks.block_ns, *shape, _fits(past))
            groups.setdefault(key, []).append((start, past, timed))
    found: list[tuple[int, dict[str, Tensor]]] = []
    for (interval_ns, block_ns, *_, known), members in groups.items():
        found += _fit_group(members, interval_ns // NS, block_ns // NS, known)
    found.sort(key=lambda item: item[0])
    if not found:
        return Seasons()
    return Seasons([row for row, _ in found], {n: torch.stack([of[n] for _, of in found]) for n in found[0][1]})


def _fits(past: Past) -> bool:
    """Whether the tables before mean the same as those to come."""
    before, channels = past.previous, past.values_SC.shape[1]
    if before is None or len(before) != channels:
        return False
    return int(before.rows["block"][0]) * NS == past.blocks.block_ns


def _timed(past: Past) -> _Timed:
    blocks, interval_ns = past.blocks, past.interval_ns
    block_s = blocks.block_ns // NS
    mean_BC = blocks.mean_BC[:-1]  # the newest is not complete
    at_B = blocks.first + np.arange(len(mean_BC))
    lo = max(past.lo, past.lo + len(past.values_SC) - SLOTS)
    values_SC = past.values_SC[lo - past.lo :]
    slot_L = lo + np.arange(len(values_SC))
    out_B, out_L = np.zeros(len(at_B), bool), np.zeros(len(slot_L), bool)
    for first, last in past.exclude:
        out_L[max(0, first - lo) : max(0, last - lo + 1)] = True
        edges = [(slot * interval_ns + past.phase_ns) // blocks.block_ns - blocks.first for slot in (first, last)]
        out_B[max(0, edges[0]) : max(0, edges[1] + 1)] = True
    since_s = 0.0
    if past.since is not None:
        since_s = (past.since * interval_ns + past.phase_ns) / NS
    elif past.previous is not None and len(past.previous):
        since_s = float(past.previous.rows["since"][0]) * DAY_S
    since = int(since_s // block_s) - blocks.first if since_s else 0
    return _Timed(
        mean_BC.T.astype(np.float32),
        local_s(past.zone, at_B * block_s),
        out_B,
        values_SC.T,
        local_s(past.zone, (slot_L * interval_ns + past.phase_ns) // NS),
        out_L,
        since if 0 < since < len(mean_BC) else 0,
        since_s / DAY_S,
    )


def _fit_group(
    members: Sequence[tuple[int, Past, _Timed]], interval_s: int, block_s: int, known: bool
) -> list[tuple[int, dict[str, Tensor]]]:
    """Rows of streams with the same interval, blocks and lengths, by their place."""
    sizes = [past.values_SC.shape[1] for _, past, _ in members]

    def rows(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(timed, name) for *_, timed in members]))

    def each(name: str) -> Tensor:
        parts = [
            np.repeat(getattr(timed, name)[None], size, 0) for (*_, timed), size in zip(members, sizes, strict=True)
        ]
        return torch.from_numpy(np.concatenate(parts))

    since_R = torch.tensor([timed.since for *_, timed in members]).repeat_interleave(torch.tensor(sizes))
    history = History(
        rows("block_RB"), each("block_local_B"), rows("slot_RL"), each("slot_local_L"), interval_s, block_s,
        each("out_B"), each("out_L"), since_R,
    )  # fmt: skip
    previous = None
    if known:
        before = [past.previous for _, past, _ in members if past.previous is not None]
        previous = Seasons.joined(before, sizes).bank()
    with torch.inference_mode():
        bank = fit(history, previous)
    since_day_R = torch.tensor([timed.since_day for *_, timed in members]).repeat_interleave(torch.tensor(sizes))
    made = stored(bank, interval_s, block_s, since_day_R)
    out = []
    row = 0
    for (start, *_), size in zip(members, sizes, strict=True):
        out += [(start + c, {name: value[row + c] for name, value in made.items()}) for c in range(size)]
        row += size
    return out

"""Replays a folder of made streams through the season family alone, causally: two days of history, a fit a day.

  python -m bench.season_sim FOLDER RESULT.json [--opens 5]

FOLDER as opsbench makes it; RESULT.json has the `alert_list` of each stream for its judge.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from detector import episodes, season
from detector.episodes import State
from trainer import seasonfit
from trainer.seasondays import History

DAY_S = 86_400
RING = 8_192  # fine slots that a fit has
START_S = 1_704_067_200  # Monday 2024-01-01
AROUND_S = 1_800  # left out of later fits on both sides of an incident
BASELINE_S = DAY_S  # an incident that has been open for so long is the new level


class Replay:
    """Streams of one interval, a day at a time."""

    def __init__(self, values: np.ndarray, interval_s: int, opens: float) -> None:
        self.interval_s, self.block_s = interval_s, max(300, interval_s)
        self.day = DAY_S // interval_s
        self.per_block = self.block_s // interval_s
        self.slot_RL = torch.from_numpy(values.astype(np.float32))
        self.block_RB = _stored(_means(self.slot_RL, self.per_block), 2 * DAY_S // self.block_s)
        rows, slots = values.shape
        self.local_L = START_S + torch.arange(slots) * interval_s
        self.block_local_B = START_S + torch.arange(slots // self.per_block) * self.block_s
        self.keep_RL = torch.ones(rows, slots, dtype=torch.bool)
        self.rules = episodes.rules(interval_s, self.block_s, opens)
        self.states = [State() for _ in range(rows)]
        self.alerts: list[list[dict[str, float | int | str | None]]] = [[] for _ in range(rows)]
        self.since = [0] * rows
        self.fit_s = self.score_s = 0.0
        self.seasons: list[list[int]] = []

    def run(self) -> None:
        """From the third day to the last."""
        rows, slots = self.slot_RL.shape
        bank = None
        for day in range(2, slots // self.day):
            begin = time.perf_counter()
            self._rebase(day * self.day)
            bank = seasonfit.fit(self._history(day), bank)
            self.seasons.append(bank.season_R.tolist())
            middle = time.perf_counter()
            scores = self._score(bank, day)
            end = time.perf_counter()
            self.fit_s += middle - begin
            self.score_s += end - middle
            each = scores.each_RLS.numpy()
            for row in range(rows):
                self._follow(row, day * self.day, each[row])
        for row, state in enumerate(self.states):
            if state.opened >= 0:
                self._tell(row, state.opened, state.last, state.peak, state.column)

    def _history(self, day: int) -> History:
        rows, end, blocks = len(self.states), day * self.day, day * DAY_S // self.block_s
        first = max(0, end - RING)
        kept_RB = self.keep_RL[:, :end].view(rows, blocks, self.per_block).all(-1)
        return History(
            self.block_RB[:, :blocks],
            self.block_local_B[:blocks].expand(rows, -1),
            self.slot_RL[:, first:end],
            self.local_L[first:end].expand(rows, -1),
            self.interval_s,
            self.block_s,
            ~kept_RB,
            ~self.keep_RL[:, first:end],
            torch.tensor(self.since) // self.per_block,
        )

    def _score(self, bank: season.Bank, day: int) -> season.Scores:
        rows, begin, end = len(self.states), day * self.day, (day + 1) * self.day
        first, block_first = begin - season.CONTEXT, begin // self.per_block - season.blocks_needed(self.block_s)
        first, block_first = max(0, first), max(0, block_first)
        done_L = (torch.arange(first, end) + 1) // self.per_block - 1 - block_first
        with torch.inference_mode():
            return season.score(
                bank,
                self.slot_RL[:, first:end],
                self.local_L[first:end].expand(rows, -1),
                self.block_RB[:, block_first : end // self.per_block],
                self.block_local_B[block_first : end // self.per_block].expand(rows, -1),
                done_L.clamp_min(-1).expand(rows, -1),
                self.interval_s,
                self.block_s,
                end - begin,
            )

    def _follow(self, row: int, begin: int, each_LS: np.ndarray) -> None:
        state = self.states[row]
        hot_L = each_LS.max(-1) >= self.rules.opens
        at = 0
        while at < len(each_LS):
            if state.opened < 0 and not hot_L[at]:
                ahead = int(hot_L[at:].argmax())
                if not ahead:
                    break
                at += ahead
            state, over = episodes.step(state, self.rules, begin + at, each_LS[at])
            if over is not None:
                self._tell(row, *over)
            at += 1
        self.states[row] = state
        # slots as surprising as an incident's teach nothing, whether or not one opened
        if 0 < hot_L.mean() < 0.5:
            around = AROUND_S // 2 // self.interval_s
            near = np.convolve(hot_L, np.ones(2 * around + 1), "same") > 0
            self.keep_RL[row, begin : begin + len(near)] &= torch.from_numpy(~near)
        if state.opened >= 0:
            self._leave_out(row, state.opened, begin + len(each_LS), state.column)

    def _tell(self, row: int, opened: int, last: int, peak: float, column: int) -> None:
        start = 2 * self.day
        names = [*(s.name for s in season.STATISTICS), "same", "unseen"]
        if self.alerts[row] and self.alerts[row][-1]["opened"] == opened - start:
            self.alerts[row].pop()  # reopened
        self.alerts[row].append({"opened": opened - start, "end": last - start, "peak": peak, "scale": names[column]})
        self._leave_out(row, opened, last, column)

    def _leave_out(self, row: int, opened: int, last: int, column: int) -> None:
        around = AROUND_S // self.interval_s
        self.keep_RL[row, max(0, opened - around - self.rules.windows[column]) : last + around] = False

    def _rebase(self, now: int) -> None:
        """What has been open for a day is how things are."""
        for row, state in enumerate(self.states):
            if state.opened >= 0 and (now - state.opened) * self.interval_s >= BASELINE_S:
                self._tell(row, state.opened, state.last, state.peak, state.column)
                self.keep_RL[row, state.opened : now] = True
                self.since[row] = state.opened
                self.states[row] = State(ended=now)


def _means(slot_RL: torch.Tensor, per_block: int) -> torch.Tensor:
    whole = slot_RL[:, : slot_RL.shape[1] // per_block * per_block].view(slot_RL.shape[0], -1, per_block)
    there = torch.isfinite(whole).float().mean(-1)
    return torch.where(there >= 0.5, whole.nanmean(-1), torch.nan)


def _stored(block_RB: torch.Tensor, first: int) -> torch.Tensor:
    """As the coarse ring gives them back: float16 of the deviation from a row's offset, in units of its first days."""
    offset = block_RB[:, :first].nanmedian(-1, keepdim=True).values
    unit = (block_RB[:, :first] - offset).abs().nanmean(-1, keepdim=True).clamp_min(1e-6)
    return ((block_RB - offset) / unit).half().float() * unit + offset


def main() -> None:
    """Command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    p.add_argument("result", type=Path)
    p.add_argument("--opens", type=float, default=5.0)
    p.add_argument("--only", nargs="*")
    a = p.parse_args()
    torch.set_num_threads(1)
    index = json.loads((a.folder / "index.json").read_text())["series"]
    names = [s for s in index if not a.only or s["name"].rsplit("-", 1)[0] in a.only]
    values = np.stack([np.load(a.folder / s["file"])["values"][:, 0] for s in names])
    replay = Replay(values, names[0]["interval_s"], a.opens)
    replay.run()
    out = [{"name": s["name"], "alert_list": got} for s, got in zip(names, replay.alerts, strict=True)]
    a.result.write_text(json.dumps({"series": out}))
    fits = len(replay.seasons) * len(names)
    for s, row in zip(names, zip(*replay.seasons, strict=True), strict=True):
        print(f"{s['name']:16} seasons {''.join(str(x) for x in row)}")
    print(f"a fit {replay.fit_s / fits:.3f} s, a slot {replay.score_s / values.size * 1e6:.2f} us")


if __name__ == "__main__":
    main()

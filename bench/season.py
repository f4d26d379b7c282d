"""What the season alone would find of made streams, and on how many days it would be wrong: a minute or two instead of an hour.

PYTHONPATH=. OMP_NUM_THREADS=1 python bench/season.py FOLDER ...

Shapes: R streams of a folder, L slots, B blocks, S statistics and states

FOLDER is one of ../docs/benchmarks.md#operations-metrics. From the eighth day on the season is fitted every four days on the
fine ring's newest slots and all blocks, and scores the four that follow. Events are left out of what is learnt, as incidents
that have been found are; days are counted without them and the four hours after each. Neither students nor incidents are asked.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detector.model.views.season import DAY_S, Timed, score
from streamer.timestamps import NS
from streamer.windows.coarse import block_ns_of
from trainer.backtest.settings import RING
from trainer.fit import season
from trainer.fit.season_days import History

CONTEXT, FIRST_DAY, EVERY_DAYS = 1500, 8, 4
AFTER_S, AROUND_S, MONDAY_S = 4 * 3600, 1800, 1_704_067_200
LEVELS = (3.5, 4.0, 4.3, 4.6, 5.0, 5.5, 6.0, 7.0)


def judged(folder: Path) -> tuple[list[float], list[float]]:
    """Largest surprise of each event that is to be told, and of each day without one."""
    made = json.loads((folder / "index.json").read_text())["series"]
    interval_s = int(made[0]["interval_s"])
    block_ns = block_ns_of(interval_s * NS)
    if block_ns is None:
        raise SystemExit(f"{folder}: slots of {interval_s} s are longer than any block")
    block_s = block_ns // NS
    per_block, per_day = block_s // interval_s, DAY_S // interval_s
    x_RL = torch.from_numpy(
        np.stack([np.load(folder / one["file"])["values"][:, 0] for one in made]).astype(np.float32)
    )
    local_RL = (MONDAY_S + torch.arange(x_RL.shape[1]) * interval_s).expand_as(x_RL)
    out_RL, near_RL = _covered(made, x_RL, interval_s)
    block_RB = x_RL.view(len(made), -1, per_block).nanmean(-1)
    out_RB = out_RL.view(len(made), -1, per_block).any(-1)
    events: dict[tuple[int, int], float] = {}
    days: list[float] = []
    bank = None
    for now in range(FIRST_DAY * per_day, x_RL.shape[1], EVERY_DAYS * per_day):
        ring, known = slice(max(0, now - RING), now), slice(0, now // per_block)
        bank = season.fit(
            History(
                block_RB[:, known], local_RL[:, ::per_block][:, known], x_RL[:, ring], local_RL[:, ring], interval_s, block_s,
                out_RB[:, known], out_RL[:, ring], torch.zeros(len(made), dtype=torch.long),
            ),
            bank,
        )  # fmt: skip
        end = min(now + EVERY_DAYS * per_day, x_RL.shape[1])
        seen = slice(max(0, now - CONTEXT) // per_block * per_block, end)
        done_L = torch.arange(seen.start + 1, end + 1) // per_block - 1 - seen.start // per_block
        blocks = slice(seen.start // per_block, end // per_block)
        timed = Timed(
            x_RL[:, seen], local_RL[:, seen], block_RB[:, blocks], local_RL[:, ::per_block][:, blocks],
            done_L.expand(len(made), -1), interval_s, block_s,
        )  # fmt: skip
        most_RL = score(bank, torch.arange(len(made)), timed, end - now).each_RLS.amax(-1)
        calm_RL = torch.where(near_RL[:, now:end], -1.0, most_RL).view(len(made), -1, per_day).amax(-1)
        days += calm_RL[calm_RL >= 0].tolist()
        for row, one in enumerate(made):
            for at, event in enumerate(one["events"]):
                part = most_RL[row, max(0, event["start"] - now) : max(0, event["end"] - now)]
                if event["want"] == "page" and len(part):
                    events[row, at] = max(events.get((row, at), 0.0), float(part.max()))
    return list(events.values()), days


def _covered(made: list[dict[str, Any]], x_RL: Tensor, interval_s: int) -> tuple[Tensor, Tensor]:
    """Slots that are not learnt from, and those that are no day without an event."""
    out_RL, near_RL = (torch.zeros(x_RL.shape, dtype=torch.bool) for _ in range(2))
    for row, one in enumerate(made):
        for event in one["events"]:
            near_RL[row, max(0, event["start"] - 2) : event["end"] + AFTER_S // interval_s] = True
            if event["want"] != "may":
                around = AROUND_S // interval_s
                out_RL[row, max(0, event["start"] - around) : event["end"] + around] = True
    return out_RL, near_RL


def main() -> None:
    """A row for each folder: events found / days wrong a stream-week, by the surprise that opens."""
    print("| folder | events | weeks |", " | ".join(str(level) for level in LEVELS), "|")
    print("| --- | ---: | ---: |", " | ".join("---" for _ in LEVELS), "|")
    for folder in map(Path, sys.argv[1:]):
        events, days = judged(folder)
        weeks = len(days) / 7
        cells = [
            f"{sum(e >= level for e in events) / len(events):.2f} / {sum(d >= level for d in days) / weeks:.3f}"
            for level in LEVELS
        ]
        print(f"| {folder.name} | {len(events)} | {weeks:.0f} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()

"""Bank alone against bank and gap head, paired, series by series; every head has never seen the series' family.

Ranks (found, VUS-PR), alerts at the default threshold, and false alerts at equal recall over a sweep of thresholds.

  python -m trainer.gap --out .state/gap                     # examples, a head a fold, folds.json
  python -m bench.gap_head --heads .state/gap [--sets ucr:2,wsd:2] [--jobs 1] [--json FILE]

`NAME:N` takes every N-th series. Which head judges a series is read from folds.json by the series' family, here and
nowhere else: the detector has one setting, a file. Interval: 95 %, 10 000 bootstrap samples of series, within sets.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.quality.plan import EVERY, LEFT_OUT, data_sets
from detector.incidents import SURE, closing
from detector.settings import NO_GAP
from streamer.logs import configure_logs
from trainer.backtest.metrics import areas, buffer_of, events, rounded
from trainer.backtest.replay import replay
from trainer.backtest.settings import BacktestSettings
from trainer.backtest.sources import Item
from trainer.backtest.vus import ranges
from trainer.gap.families import family_of

Row = dict[str, Any]
DRAWS = 10_000
SWEEP = (3.0, 3.25, 3.5, 3.75, 4.0, 4.25, 4.5, 4.75, 5.0, 5.5, 6.0, 6.5, 7.0)
GRACE = 10  # slots after an event in which an alert still hits it, as in the backtest


def one(job: tuple[str, Item, str, Path, dict[str, Any]]) -> Row:
    """One series with one head (or none)."""
    name, item, head, state, over = job
    configure_logs(level="error")
    torch.set_num_threads(1)
    series = item.load()
    settings = BacktestSettings.model_validate({"state_dir": state, "gap_head": head, **over})
    made = replay(series, settings)
    labels_K = series.test_labels_K
    told = events(made.alerts, labels_K, len(made.surprise_K))
    buffer = buffer_of(series.values_SC[: series.train_end])
    late = areas(made.rank_K, made.lag_K, labels_K, series.test_found_within, buffer, 8)
    return {
        "set": name,
        "name": item.name,
        "latency_8": rounded(late),
        "hits": told.hits,
        "false_alerts": told.false_alerts,
        "events": told.events,
        "fit_s": made.fit_s,
        "score_s": made.score_s,
        "slots": len(made.surprise_K),
        "sweep": {str(t): alerts_at(made.surprise_K, labels_K, t) for t in SWEEP} if labels_K is not None else {},
    }


def alerts_at(surprise_K: np.ndarray, labels_K: np.ndarray, threshold: float) -> tuple[int, int]:
    """Hit events and false alerts at another threshold, by the default rules (without those for new baselines)."""
    quiet, window, hits = (int(BacktestSettings.model_fields[n].default) for n in ("quiet", "open_window", "open_hits"))
    x_K = np.nan_to_num(surprise_K)

    def last(flag_K: np.ndarray, slots: int) -> np.ndarray:
        return np.convolve(flag_K.astype(int), np.ones(slots, int))[: len(flag_K)]

    opens_K = (last(x_K >= threshold, window) >= hits) | (x_K >= threshold + SURE)
    alerts = [(a, b - quiet) for a, b in _runs(last(x_K >= closing(threshold), quiet) > 0) if opens_K[a:b].any()]
    true = _runs(labels_K)
    hit = sum(any(a < stop + GRACE and b >= start for a, b in alerts) for start, stop in true)
    false = sum(not any(a < stop + GRACE and b >= start for start, stop in true) for a, b in alerts)
    return hit, false


def _runs(flag_K: np.ndarray) -> list[tuple[int, int]]:
    """First slot and one past the last of each run of set slots."""
    return [(int(first), int(last) + 1) for first, last in zip(*ranges(flag_K > 0), strict=True)]


def at_equal_recall(off: Sequence[Row], on: Sequence[Row]) -> tuple[int, int, int]:
    """Hits of the bank at the default threshold, and the fewest false alerts, without the head and with it, at any
    threshold of the sweep that finds as many; −1: none does."""
    totals = [[np.sum([row["sweep"][str(t)] for row in rows], 0).tolist() for t in SWEEP] for rows in (off, on)]
    hits = totals[0][SWEEP.index(4.0)][0]
    before, after = (min((false for found, false in total if found >= hits), default=-1) for total in totals)
    return hits, before, after


def figure(row: Row) -> float | None:
    """Found of an archive series, VUS-PR of any other; 8 late."""
    late = row["latency_8"]
    value = late.get("found") if late.get("found") is not None else late.get("vus_pr")
    return None if value is None or value != value else float(value)


def interval(gain_by_set: Sequence[np.ndarray], seed: int = 0) -> tuple[float, float, float]:
    """Mean over sets of the mean gain, and its 95 % interval by bootstrap over series."""
    rng = np.random.default_rng(seed)
    draws = [g[rng.integers(0, len(g), (DRAWS, len(g)))].mean(1) for g in gain_by_set]
    low, high = np.quantile(np.mean(draws, 0), [0.025, 0.975])
    return float(np.mean([g.mean() for g in gain_by_set])), float(low), float(high)


def table(off: Sequence[Row], on: Sequence[Row]) -> str:
    """Markdown: a row a set, then found, and the mean of all other sets."""
    lines = [
        "| set | series | bank | bank + head | gain, 95 % interval | false alerts | hits | false alerts at equal hits (sweep) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    others = []
    for name in dict.fromkeys(row["set"] for row in off):
        pairs = [(a, b) for a, b in zip(off, on, strict=True) if a["set"] == name]
        both = [(figure(a), figure(b)) for a, b in pairs]
        kept = np.array([(a, b) for a, b in both if a is not None and b is not None])
        gain = kept[:, 1] - kept[:, 0]
        if name != "ucr":
            others.append(gain)
        false, hits = (
            " → ".join(str(sum(p[i][key] for p in pairs)) for i in (0, 1)) for key in ("false_alerts", "hits")
        )
        mean, low, high = interval([gain])
        told = [p for p in pairs if p[0]["sweep"]]
        equal, before, after = at_equal_recall([p[0] for p in told], [p[1] for p in told])
        bank, with_head = kept.mean(0)
        lines.append(
            f"| {name}, {'found' if name == 'ucr' else 'VUS-PR'} | {len(kept)} | {bank:.3f} | {with_head:.3f} "
            f"| {mean:+.3f} ({low:+.3f} … {high:+.3f}) | {false} | {hits} "
            f"| {before} → {after if after >= 0 else 'never'} at {equal} |"
        )
    if others:
        mean, low, high = interval(others)
        lines.append(f"| mean of {len(others)} sets, VUS-PR | | | | {mean:+.3f} ({low:+.3f} … {high:+.3f}) | | | |")
    return "\n".join(lines)


def main() -> None:
    """Both runs and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANOMALYLLM_DATA", "../shared/data")))
    parser.add_argument("--heads", type=Path, default=Path(".state/gap"))
    parser.add_argument("--sets", default=",".join(f"{n}:{e}" for n, e in EVERY.items() if n not in LEFT_OUT))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--off", type=Path, default=None, help="rows without a head of an earlier run (--json)")
    parser.add_argument("--set", default="{}", help="further settings of both, JSON")
    arguments = parser.parse_args()
    over = json.loads(arguments.set)
    file_of = json.loads((arguments.heads / "folds.json").read_text())
    every = {name: int(step or 1) for name, _, step in (part.partition(":") for part in arguments.sets.split(","))}
    items = [
        (name, item)
        for name, found in data_sets(arguments.data).items()
        if name in every
        for item in found[:: every[name]]
    ]
    begun = time.monotonic()
    jobs = [(n, i, NO_GAP, arguments.heads, over) for n, i in items]
    jobs_on = [(n, i, str(arguments.heads / file_of[family_of(n, i)]), arguments.heads, over) for n, i in items]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        if arguments.off is None:
            off = list(pool.map(one, jobs))
        else:
            known = {(row["set"], row["name"]): row for row in json.loads(arguments.off.read_text())["off"]}
            off = [known[n, i.name] for n, i in items]
        on = list(pool.map(one, jobs_on))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"off": off, "on": on}))
    print(table(off, on))
    print(f"\n{len(items)} series, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()

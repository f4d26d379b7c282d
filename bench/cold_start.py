"""The generic prior on generated streams: false alerts in 10 000 slots by kind, and what it finds of known anomalies.

    PYTHONPATH=. OMP_NUM_THREADS=1 python bench/cold_start.py [--streams 24] [--slots 5000]

The worker's own incident machine with its default settings (threshold 4: one false alert expected in 10 000 slots)
judges every stream from its first slot on, so that the least known part of it counts most.

Shapes: K scored slots, S slots of a stream, C channels
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from detector.incidents.machine import Rules
from detector.model import prior
from detector.model.interface import Segment
from streamer.demo.control_streams import Control
from testkit.simulation import KINDS, Array, autoregressive, openings, simulate

RULES = Rules(threshold=4.0)


def _daily(rng: np.random.Generator, count: int) -> Array:
    """A day of 288 slots, busy in office hours, with noise."""
    day = (np.arange(count) / 288 + rng.random()) % 1
    return np.asarray(100 + 40 * np.exp(-(((day - 0.55) / 0.15) ** 2)) + 4 * rng.normal(size=count), np.float64)


def _rate(rng: np.random.Generator, count: int) -> Array:
    """A counter's rate: requests a slot, the load wanders."""
    return np.asarray(rng.poisson(np.exp(3 + 0.3 * autoregressive(rng, count, 0.98) * 0.2)), np.float64)


def _bursts(rng: np.random.Generator, count: int) -> Array:
    """Noise that is ten times as loud for some slots, once in about 200."""
    loud = np.ones(count)
    for start in np.flatnonzero(rng.random(count) < 1 / 200):
        loud[start : start + rng.integers(5, 25)] = 10
    return np.asarray(loud * rng.normal(size=count), np.float64)


def _states(rng: np.random.Generator, count: int) -> Array:
    """A flag that stays what it is for about 80 slots."""
    return np.asarray(np.cumsum(rng.random(count) < 1 / 80) % 2, np.float64)


MORE: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "heavy t2": lambda rng, n: rng.standard_t(2, size=n),
    "heavy t3": lambda rng, n: rng.standard_t(3, size=n),
    "random walk": lambda rng, n: np.cumsum(rng.normal(size=n)),
    "ar .98": lambda rng, n: autoregressive(rng, n, 0.98),
    "daily": _daily,
    "slow sine": lambda rng, n: np.sin(np.arange(n) / 230 + 6 * rng.random()) + 0.01 * rng.normal(size=n),
    "counter rate": _rate,
    "rare counts": lambda rng, n: rng.poisson(0.05, size=n).astype(np.float64),
    "loud bursts": _bursts,
    "states": _states,
    "rounded": lambda rng, n: np.round(20 + autoregressive(rng, n, 0.95) * 0.05, 1),
    "1e6 ± 1 ulp": lambda rng, n: np.asarray(1e6 + 0.0625 * rng.integers(0, 2, size=n), np.float64),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "demo control": lambda rng, n: Control("c", int(rng.integers(1000))).values(0, n),
}


def series(kind: str, seed: int, count: int) -> Array:
    """One stream of a kind."""
    if kind in KINDS:
        return simulate(kind, seed, count)[:, 0].astype(np.float64)
    return MORE[kind](np.random.default_rng([sum(map(ord, kind)), seed]), count)


def surprises(values: Array) -> Array:
    """The prior's surprise at every slot of a stream."""
    [found] = prior.score([Segment("s", values[:, None].astype(np.float32), len(values))], torch.device("cpu"))
    return found.surprise_K.astype(np.float64)


def found_of(name: str, after: int, streams: int) -> float:
    """Share of streams in which an anomaly that begins after so many slots alerts within 12 slots, and not before."""
    hits = 0
    for seed in range(streams):
        rng = np.random.default_rng([after, seed])
        values = rng.normal(size=after + 40)
        if name.endswith("sigma jump"):
            values[after:] += float(name.split()[0])
        elif name == "flat line, jump":
            values = np.where(np.arange(after + 40) < after, 5.0, 6.0)
        elif name == "noise x 8":
            values[after:] *= 8
        elif name == "wave, 5 x range":
            values = np.sin(np.arange(after + 40) / 5) + 0.1 * values
            values[after:] += 5
        hits += any(after <= slot < after + 12 for slot in openings(surprises(values), RULES))
    return hits / streams


def _live() -> float:
    """Slots a second of CPU time when every stream has one new slot."""
    values = np.random.default_rng(0).normal(size=(2048, prior.REACH, 1)).astype(np.float32)
    segments = [Segment(f"s{i}", values_SC, 1) for i, values_SC in enumerate(values)]
    prior.score(segments, torch.device("cpu"))
    begin = time.process_time()
    for _ in range(5):
        prior.score(segments, torch.device("cpu"))
    return 5 * len(segments) / (time.process_time() - begin)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=24)
    parser.add_argument("--slots", type=int, default=5000)
    parser.add_argument("--warm", type=int, default=256, help="a trainer answers after about so many slots")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'kind':<14} {'alerts/10 000 slots':>20} {f'alerts in the first {given.warm}':>26} {'P(s >= 4)':>10}")
    rates, first, begin = [], [], time.process_time()
    for kind in [*KINDS, *MORE]:
        alerts = early = high = 0
        for seed in range(given.streams):
            surprise = surprises(series(kind, seed, given.slots))
            slots = openings(surprise, RULES)
            alerts, early = alerts + len(slots), early + sum(slot < given.warm for slot in slots)
            high += int((surprise >= RULES.threshold).sum())
        many = given.streams * given.slots
        rates.append(1e4 * alerts / many)
        first.append(early / given.streams)
        print(f"{kind:<14} {rates[-1]:>20.2f} {first[-1]:>22.3f} a stream {high / many:>8.1e}")
    spent = time.process_time() - begin
    print(f"{'mean':<14} {np.mean(rates):>20.2f} {np.mean(first):>22.3f} a stream")
    print(f"{len(rates) * given.streams * given.slots / spent:,.0f} slots a second on one core, in long pieces")
    print(f"{_live():,.0f} slots a second on one core, one of each of 2 048 streams at a time\n")
    print(f"{'found within 12 slots':<22} {'after 64':>9} {'after 144':>9} {'after 1000':>10}")
    for name in ("6 sigma jump", "8 sigma jump", "10 sigma jump", "flat line, jump", "noise x 8", "wave, 5 x range"):
        shares = [found_of(name, after, given.streams) for after in (64, 144, 1000)]
        print(f"{name:<22} {shares[0]:>9.2f} {shares[1]:>9.2f} {shares[2]:>10.2f}")


if __name__ == "__main__":
    main()

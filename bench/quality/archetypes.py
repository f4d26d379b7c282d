"""Fourteen other kinds of operations metrics, none of which the method was built on, for the same judge.

  python -m bench.quality.archetypes FOLDER --operations opsbench.py [--seed S] [--each K] [--interval-s 300] [--more]

makes a folder as the tool's own `make` does; `anomalyllm backtest FOLDER --live` and the tool's `judge` do the rest. Odd seeds
may be looked at while building; even ones are judged only, and none of their streams or alerts is looked at.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

HOUR = 60.0  # minutes
ops: ModuleType  # the tool, once it is loaded


def hours_of(s: Any) -> np.ndarray:
    """Hour of the day of each slot."""
    return np.asarray(s.t % ops.DAY_S / ops.HOUR_S)


def daily(s: Any, hour: float, jitter_min: float) -> list[int]:
    """Slots at which something of each day begins, a little earlier or later."""
    days = range(s.n // s.day)
    return [max(0, d * s.day + s.minutes(hour * HOUR + s.rng.uniform(-jitter_min, jitter_min) + 0.01)) for d in days]


def conversion(s: Any) -> None:
    """Per cent of visits that buy: shaky at night, when few come."""
    visits = 900 * s.some(0.4, 2) * ops.season(s, 0.9) * s.interval_s / 300
    share = 0.03 * s.some(0.6, 2) * (1 + 0.15 * ops.ar(s, 300, 1))
    e = s.add("checkout broken", s.place(s.some(40, 120), hours=(8, 20)))
    share[e] *= s.rng.uniform(0.05, 0.3)
    e = s.add("fewer buy", s.place(300, hours=(8, 14)))
    share[e] *= 0.5
    count = np.maximum(s.rng.poisson(visits), 1)
    s.values = 100.0 * s.rng.binomial(count, np.clip(share, 0, 1)) / count


def lag(s: Any) -> None:
    """Records behind, read in portions: a saw of ten minutes, higher in the morning."""
    rate = 1000 * s.some(0.3, 3) * ops.season(s, 0.5, 2)
    phase = s.rng.random(s.n)
    behind = rate * phase * 10
    e = s.add("reader stopped", s.place(s.some(40, 90)))
    behind[e] += np.cumsum(rate[e]) * s.interval_s / 60 + rate.mean() * 10
    e = s.add("reader is slow", s.place(s.some(90, 240)))
    behind[e] *= s.some(4, 8)
    s.values = np.floor(behind)


def connections(s: Any) -> None:
    """A pool of at most a hundred, whole numbers."""
    used = 8 + 45 * ops.season(s, 0.4) + ops.ar(s, 10, 3)
    e = s.add("exhausted", s.place(s.some(20, 90)))
    used[e] = 200
    e = s.add("not given back", s.place(420, hours=(0, 12)))
    used[e] += np.linspace(0, 60, e.stop - e.start)
    s.values = np.clip(np.round(used), 0, 100)


def sun(s: Any) -> None:
    """Power of a roof: nothing at night, clouds by day."""
    clear = np.maximum(0, np.sin(np.pi * (hours_of(s) - 6.5) / 12.5)) ** 1.3
    clear *= (hours_of(s) > 6.5) & (hours_of(s) < 19)
    cloud = 0.35 + 0.65 / (1 + np.exp(-2 * (ops.ar(s, 90, 1) + 0.6)))
    power = 5000 * s.some(0.5, 3) * clear * cloud
    e = s.add("inverter down", s.place(s.some(90, 200), hours=(10, 13)))
    power[e] = 0
    s.values = np.round(power)


def hits(s: Any) -> None:
    """Per cent of hits: emptied each night at two, and warm again within the hour."""
    rate = 95 + 1.2 * ops.ar(s, 60, 1) + s.rng.normal(size=s.n) * 0.3
    for at in daily(s, 2, 4):
        width = min(s.minutes(60), s.n - at)
        rate[at : at + width] -= 35 * np.exp(-np.arange(width) / s.minutes(18))
    e = s.add("cold", s.place(s.some(30, 90), hours=(6, 24)))
    rate[e] -= s.rng.uniform(15, 40)
    e = s.add("a little worse", s.place(400, hours=(5, 15)))
    rate[e] -= 7
    s.values = np.clip(rate, 0, 100)


def pauses(s: Any) -> None:
    """Milliseconds of collection a slot: heavy tails, and now and then a full one."""
    v = 20 * s.some(0.4, 3) * (0.6 + ops.season(s)) * np.exp(s.rng.normal(size=s.n) * 0.5)
    full = s.rng.random(s.n) < s.interval_s / 86_400 * 2
    v[full] *= s.rng.uniform(3, 8, full.sum())
    e = s.add("long pauses", s.place(s.some(25, 90)))
    v[e] *= s.some(5, 12)
    e = s.add("more to collect", s.place(s.some(240, 420)))
    v[e] *= 2.6
    s.values = v


def replicas(s: Any) -> None:
    """Instances that follow the load."""
    want = np.round(2 + 7 * ops.season(s, 0.5) + ops.ar(s, 45, 0.35))
    e = s.add("too few", s.place(s.some(60, 180), hours=(9, 18), workdays=True))
    want[e] = 2
    e = s.add("runs away", s.place(s.some(60, 240)))
    want[e] += 9
    s.values = np.maximum(want, 1)


def portions(s: Any) -> None:
    """Orders are taken over each quarter of an hour."""
    v, base = np.zeros(s.n), 300 * s.some(0.4, 3)
    load, step = ops.season(s, 0.5), s.minutes(15)
    gone = s.add("none taken over", s.place(s.some(60, 150), hours=(7, 21)))
    twice = s.add("taken over twice", s.place(s.some(90, 200), hours=(7, 20)))
    for at in range(s.minutes(2), s.n, step):
        lost, double = gone.start <= at < gone.stop, twice.start <= at < twice.stop
        v[at] = 0 if lost else s.rng.poisson(base * load[at]) * (2 if double else 1)
    s.values = v


def voltage(s: Any) -> None:
    """A battery on charge: flat, with a test each Wednesday at four."""
    v = 13.6 + s.rng.normal(size=s.n) * 0.01 + 0.03 * ops.ar(s, 600, 1)
    for week in range(s.n // (7 * s.day)):
        at = (7 * week + 2) * s.day + s.minutes(240)
        v[at : at + s.minutes(15)] -= 0.8
        if week < 2:
            s.events.append(
                {"kind": "first tests", "start": at - 1, "end": at + s.minutes(60), "by": at, "want": "may"}
            )
    e = s.add("discharges", s.place(s.some(60, 200), hours=(6, 22)))
    v[e] -= np.linspace(0.1, s.rng.uniform(0.8, 2.0), e.stop - e.start)
    e = s.add("not fully charged", s.place(500, hours=(5, 14)))
    v[e] -= 0.35
    s.values = np.round(v, 2)


def age(s: Any) -> None:
    """Seconds that the oldest message waits: nothing by day, an import of an hour or two in the night."""
    v = np.where(s.rng.random(s.n) < 0.2, s.rng.gamma(1, 4, s.n), 0)
    days = daily(s, 1, 10)
    late = int(s.rng.integers(9, len(days) - 2))
    for d, at in enumerate(days):
        long = s.minutes(s.rng.uniform(70, 110) + (240 if d == late else 0))
        end = min(s.n, at + long)
        v[at:end] += 600 * np.sin(np.pi * (np.arange(end - at) + 0.5) / long) ** 0.5
        if d == late:
            s.add("import overran", slice(at, at + long))  # it rises more slowly from its beginning on
    e = s.add("a message is stuck", s.place(s.some(30, 90), hours=(7, 23)))
    v[e] += np.arange(1, e.stop - e.start + 1) * s.interval_s
    s.values = np.round(v, 1)


def lookups(s: Any) -> None:
    """Flat, day and night, with noise."""
    v = 5000 * s.some(0.2, 4) * np.exp(ops.ar(s, 20, 0.05) + s.rng.normal(size=s.n) * 0.03)
    e = s.add("half is gone", s.place(s.some(60, 180)))
    v[e] *= s.rng.uniform(0.4, 0.65)
    e = s.add("flood", s.place(s.some(10, 40)))
    v[e] *= s.some(1.6, 4)
    s.values = np.round(v)


def backup(s: Any) -> None:
    """Megabytes a second of a nightly backup; nothing else."""
    v = np.where(s.rng.random(s.n) < 0.01, s.rng.gamma(1, 0.5, s.n), 0)
    rate, days = 120 * s.some(0.4, 3), daily(s, s.rng.uniform(0.5, 3.5), 5)
    missing, slow = s.rng.choice(np.arange(9, len(days) - 2), 2, replace=False)
    for d, at in enumerate(days):
        long = s.minutes(s.rng.uniform(45, 60))
        if d == missing:
            s.add("missing", slice(at - s.minutes(5), at + long + s.minutes(60)))
            continue
        if d == slow:
            s.add("slow", slice(at, at + 3 * long))
            long *= 3
        v[at : at + long] = rate * (1 + 0.1 * s.rng.normal(size=len(v[at : at + long]))) * (1 / 3 if d == slow else 1)
    s.values = np.maximum(v, 0)


def releases(s: Any) -> None:
    """Nothing happens: a release each workday between ten and eleven, with some minutes of less traffic."""
    v = 250 * ops.season(s, 0.5) * (1 + ops.ar(s, 20, 0.03))
    for d in range(s.n // s.day):
        if d % 7 < 5:
            at = d * s.day + s.minutes(600 + s.rng.uniform(0, 60))
            v[at : at + s.minutes(s.rng.uniform(5, 12))] *= 0.5
    s.values = s.rng.poisson(np.maximum(v, 0)).astype(float)


def bursts(s: Any) -> None:
    """Nothing happens: reports that people ask for, some a day, at any hour of work."""
    v = 3 + ops.ar(s, 10, 0.4)
    busy = (hours_of(s) > 7) & (hours_of(s) < 19)
    starts = np.flatnonzero(busy & (s.rng.random(s.n) < s.interval_s / 86_400 * 9))
    for at in starts:
        v[at : at + s.minutes(s.some(5, 40))] += s.some(5, 30)
    s.values = np.maximum(v, 0)


ARCHETYPES = [
    conversion, lag, connections, sun, hits, pauses, replicas, portions, voltage, age, lookups, backup, releases, bursts,
]  # fmt: skip


def load(tool: Path) -> ModuleType:
    """The tool as a module."""
    spec = importlib.util.spec_from_file_location("opsbench", tool)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["opsbench"] = made  # its dataclasses look for it there
    spec.loader.exec_module(made)
    return made


def make(
    tool: Path, folder: Path, seed: int, each: int = 2, interval_s: int = 300, weeks: int = 5,
    kinds: Sequence[Callable[[Any], None]] = ARCHETYPES,
) -> None:  # fmt: skip
    """Streams of all kinds, as the tool makes its own."""
    global ops
    ops = load(tool)
    ops.make(folder, seed, weeks, each, None, interval_s, archetypes=list(kinds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--operations", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=2)
    parser.add_argument("--interval-s", type=int, default=300)
    parser.add_argument("--more", action="store_true", help="the kinds of bench/quality/more_archetypes.py instead")
    parser.add_argument("--third", action="store_true", help="those of bench/quality/third_archetypes.py")
    given = parser.parse_args()
    # This file as others import it, not as it was started: `ops` is that one's.
    from bench.quality import archetypes, more_archetypes, third_archetypes

    kinds = (third_archetypes if given.third else more_archetypes if given.more else archetypes).ARCHETYPES
    archetypes.make(given.operations, given.folder, given.seed, given.each, given.interval_s, kinds=kinds)

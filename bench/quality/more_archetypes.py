"""Fourteen more kinds of operations metrics, written down before the product had seen one: how far does it generalise?

`python -m bench.quality.archetypes FOLDER --operations opsbench.py --more` makes the folder. Odd seeds may be looked at
while building; even ones are judged only.
"""

from typing import Any

import numpy as np

from bench.quality import archetypes
from bench.quality.archetypes import daily, hours_of

TIDE_H = 12.42  # a period that divides no day


def orders(s: Any) -> None:
    """Few orders a slot, counted: most slots of the night have none."""
    rate = 14 * s.some(0.5, 2) * archetypes.ops.season(s, 1.2, 1.5) * s.interval_s / 300
    e = s.add("none come in", s.place(s.some(120, 240), hours=(10, 20)))
    rate[e] = 0
    e = s.add("bought by machines", s.place(s.some(30, 90)))
    rate[e] = rate[e] * 4 + rate.mean() * 2
    s.values = s.rng.poisson(rate).astype(float)


def tank(s: Any) -> None:
    """Per cent in a tank that is drawn from by day and filled at thirty per cent, whenever that is."""
    draw = archetypes.ops.season(s, 0.8) * s.rng.gamma(4, 0.25, s.n) * s.interval_s / 3600 * 9
    leak = s.add("leaks", s.place(s.some(240, 400)))
    draw[leak] += 22 * s.interval_s / 3600
    from_, long, until = s.place(1500).start, s.minutes(s.some(400, 600)), -1
    out, level, filling = np.empty(s.n), 80.0, False
    for i, taken in enumerate(draw):
        if until < 0 and i >= from_ and level < 30:
            until = i + long
            s.add("not filled", slice(i, until))
        filling = i >= until and ((filling and level < 92) or level < 30)
        level = max(0.0, level - taken + (70 * s.interval_s / 3600 if filling else 0))
        out[i] = level
    s.values = np.round(out + s.rng.normal(size=s.n) * 0.2, 1)


def freezer(s: Any) -> None:
    """Degrees of a freezer: a compressor every half hour, defrosted four times a day."""
    cycle = np.cumsum(s.interval_s / 60 / (30 * (1 + 0.08 * archetypes.ops.ar(s, 60, 1))))
    v = -19 + 1.2 * np.abs((cycle % 1) * 2 - 1) + s.rng.normal(size=s.n) * 0.1
    for hour in (3, 9, 15, 21):
        for at in daily(s, hour, 3):
            width = min(s.minutes(50), s.n - at)
            v[at : at + width] += 7 * np.sin(np.pi * (np.arange(width) + 0.5) / s.minutes(50))
    e = s.add("door is open", s.place(s.some(40, 120), hours=(10, 14)))
    v[e] += np.minimum(np.arange(e.stop - e.start) * s.interval_s / 60 * 0.25, 9) + 1
    e = s.add("cools no more", s.place(s.some(200, 400)))
    v[e] += np.minimum(np.arange(e.stop - e.start) * s.interval_s / 60 * 0.06, 14)
    s.values = np.round(v, 1)


def players(s: Any) -> None:
    """Players of a game: more at weekends, and none for an hour of upkeep each Tuesday at six."""
    hour, weekend = hours_of(s), s.t // archetypes.ops.DAY_S % 7 >= 5
    v = 20_000 * s.some(0.3, 3) * (0.55 - 0.4 * np.cos(2 * np.pi * (hour - 9) / 24)) * np.where(weekend, 1.3, 1.0)
    v *= 1 + archetypes.ops.ar(s, 120, 0.04)
    for week in range(s.n // (7 * s.day)):
        at = (7 * week + 1) * s.day + s.minutes(360)
        v[at : at + s.minutes(60)] = 0
        if week < 2:
            s.events.append(
                {"kind": "first upkeep", "start": at - 1, "end": at + s.minutes(120), "by": at, "want": "may"}
            )
    e = s.add("cannot log in", s.place(s.some(45, 120), hours=(14, 23)))
    v[e] *= np.maximum(1 - np.arange(e.stop - e.start) * s.interval_s / 60 * 0.03, 0.35)
    e = s.add("thrown out", s.place(s.some(10, 40), hours=(12, 23)))
    v[e] *= 0.15
    s.values = np.round(np.maximum(v, 0))


def scratch(s: Any) -> None:
    """Load of a machine that works each quarter of an hour, longer at the full hour."""
    v = 0.4 + 0.1 * np.abs(archetypes.ops.ar(s, 10, 1))
    stuck = s.add("never done", s.place(s.some(60, 180)))
    gone = s.add("not started", s.place(s.some(180, 300)))
    for at in range(0, s.n, s.minutes(15)):
        if not gone.start <= at < gone.stop:
            full = at % s.minutes(60) == 0
            v[at : at + s.minutes(6 if full else 2)] += (3.0 if full else 1.2) * s.some(0.85, 1.2)
    v[stuck] = 4 + archetypes.ops.ar(s, 10, 0.2)[stuck]
    s.values = np.round(v, 2)


def tickets(s: Any) -> None:
    """New tickets a slot, from eight to eighteen on workdays; nothing else comes in."""
    open_now = (hours_of(s) >= 8) & (hours_of(s) < 18) & (s.t // archetypes.ops.DAY_S % 7 < 5)
    rate = 5 * s.some(0.5, 2) * open_now * s.interval_s / 300
    e = s.add("flood", s.place(s.some(40, 120), hours=(8, 16), workdays=True))
    rate[e] = rate[e] * 5 + 4
    e = s.add("form broken", s.place(s.some(180, 300), hours=(9, 13), workdays=True))
    rate[e] = 0
    s.values = s.rng.poisson(rate).astype(float)


def tide(s: Any) -> None:
    """Centimetres of a gauge: two tides a day, each day later, higher at new and full moon."""
    hours = s.t / archetypes.ops.HOUR_S
    v = (
        150
        * (1 + 0.25 * np.cos(2 * np.pi * hours / (24 * 14.77)))
        * np.sin(2 * np.pi * hours / TIDE_H + s.rng.uniform(0, 6))
    )
    v += archetypes.ops.ar(s, 1500, 12) + s.rng.normal(size=s.n) * 1.5
    e = s.add("surge", s.place(s.some(300, 500)))
    v[e] += 110 * np.sin(np.pi * (np.arange(e.stop - e.start) + 0.5) / (e.stop - e.start))
    e = s.add("stuck", s.place(s.some(120, 240)))
    v[e] = v[e.start]
    s.values = np.round(v + 400)


def road(s: Any) -> None:
    """Vehicles a slot: to work in the morning and home in the evening, otherwise at weekends."""
    hour, weekend = hours_of(s), s.t // archetypes.ops.DAY_S % 7 >= 5
    work = (
        0.05
        + np.exp(-(((hour - 8) / 1.1) ** 2))
        + 0.9 * np.exp(-(((hour - 17.3) / 1.5) ** 2))
        + 0.3 * ((hour > 6) & (hour < 21))
    )
    rest = 0.08 + 0.6 * np.exp(-(((hour - 14.5) / 3.5) ** 2))
    rate = (
        220 * s.some(0.4, 3) * np.where(weekend, rest, work) * (1 + archetypes.ops.ar(s, 30, 0.05)) * s.interval_s / 300
    )
    e = s.add("closed", s.place(s.some(40, 150), hours=(7, 19)))
    rate[e] *= 0.04
    e = s.add("jam", s.place(s.some(60, 120), hours=(15, 17), workdays=True))
    rate[e] *= 0.45
    s.values = s.rng.poisson(np.maximum(rate, 0)).astype(float)


def machine(s: Any) -> None:
    """Kilowatts of a machine in two shifts, at a standstill at night and from Saturday noon on."""
    hour, weekday = hours_of(s), s.t // archetypes.ops.DAY_S % 7
    on = (hour >= 6) & (hour < 22) & ~((weekday == 5) & (hour >= 12)) & (weekday < 6)
    v = np.where(on, 42 * (1 + 0.1 * archetypes.ops.ar(s, 8, 1)), 2.0) + s.rng.normal(size=s.n) * 0.4
    for start in (6, 14):
        for at in daily(s, start + 4, 10):
            pause = slice(at, at + s.minutes(30))
            v[pause] = np.where(on[pause], 9, v[pause])
    e = s.add("stands still", s.place(s.some(60, 180), hours=(6, 9), workdays=True))
    v[e] = 2 + s.rng.normal(size=e.stop - e.start) * 0.4
    e = s.add("left running", s.place(s.some(90, 240), hours=(22, 24)))
    v[e] = 30 + s.rng.normal(size=e.stop - e.start) * 2
    s.values = np.round(np.maximum(v, 0), 1)


def bitrate(s: Any) -> None:
    """Kilobits a second: five steps between which a player chooses, seldom."""
    steps, at = np.array([800, 1500, 3000, 4500, 6000]), 0
    v = np.empty(s.n)
    while at < s.n:
        long = s.minutes(s.rng.exponential(90) + 10)
        v[at : at + long] = s.rng.choice(steps, p=[0.05, 0.1, 0.2, 0.3, 0.35])
        at += long
    e = s.add("worst there is", s.place(s.some(30, 90)))
    v[e] = 200
    e = s.add("to and fro", s.place(s.some(60, 120)))
    v[e] = s.rng.choice(steps, size=e.stop - e.start)
    s.values = v


def ping(s: Any) -> None:
    """Milliseconds to another site: calm, on one of three routes."""
    routes, at = 12 * s.some(0.5, 3) * np.array([1, 1.18, 1.5]), 0
    v = np.empty(s.n)
    while at < s.n:
        long = s.minutes(s.rng.exponential(1200) + 60)
        v[at : at + long] = s.rng.choice(routes, p=[0.6, 0.3, 0.1])
        at += long
    v *= 1 + s.rng.gamma(1.5, 0.006, s.n)
    e = s.add("slow", s.place(s.some(20, 90)))
    v[e] *= s.some(2, 5)
    e = s.add("shaky", s.place(s.some(45, 120)))
    v[e] *= 1 + s.rng.gamma(1.5, 0.12, e.stop - e.start)
    s.values = np.round(v, 2)


def pump(s: Any) -> None:
    """Vibration of a pump that runs when it must, some minutes to an hour at a time."""
    on, at = np.zeros(s.n, bool), 0
    while at < s.n:
        at += s.minutes(s.rng.exponential(50) + 10)
        long = s.minutes(s.some(10, 60))
        on[at : at + long] = True
        at += long
    v = np.where(on, 3.2 * (1 + 0.06 * s.rng.normal(size=s.n)), 0.15 + 0.02 * s.rng.normal(size=s.n))
    e = s.add("out of balance", s.place(s.some(240, 480)))
    v[e] *= np.where(on[e], 1.8, 1.0)
    e = s.add("runs on and on", s.place(s.some(240, 360)))
    v[e] = 3.2 * (1 + 0.06 * s.rng.normal(size=e.stop - e.start))
    s.values = np.round(v, 2)


def restarts(s: Any) -> None:
    """Nothing happens: bytes since the start of a process that is renewed every few days."""
    rate = 1e5 * s.some(0.5, 4) * archetypes.ops.season(s, 0.6) * (1 + archetypes.ops.ar(s, 20, 0.05)) * s.interval_s
    total = np.cumsum(np.maximum(rate, 0))
    for d in sorted(s.rng.choice(s.n // s.day, 9, replace=False)):
        at = d * s.day + s.minutes(s.rng.uniform(540, 1080))
        total[at:] -= total[at]
    s.values = np.round(total)


def wind(s: Any) -> None:
    """Nothing happens: power of a turbine, from nothing to all it can, as the weather has it."""
    speed = 8 + archetypes.ops.ar(s, 400, 3) + archetypes.ops.ar(s, 15, 0.8)
    s.values = np.round(2000 * np.clip((np.maximum(speed, 0) / 12) ** 3, 0, 1) * (speed > 3))


ARCHETYPES = [
    orders, tank, freezer, players, scratch, tickets, tide, road, machine, bitrate, ping, pump, restarts, wind,
]  # fmt: skip

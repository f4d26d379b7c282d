"""Fourteen kinds of metrics of servers and their users, written down before the product had seen one of them.

`python -m bench.quality.archetypes FOLDER --operations opsbench.py --third` makes the folder. Odd seeds may be looked at
while building; even ones are judged only.
"""

from typing import Any

import numpy as np

from bench.quality import archetypes
from bench.quality.archetypes import daily, hours_of


def heap(s: Any) -> None:
    """Megabytes in use of a heap: a saw that is faster by day, over what stays."""
    fill = archetypes.ops.season(s, 0.6) * s.rng.gamma(6, 1 / 6, s.n) * s.interval_s / 60 * 25
    held = np.full(s.n, 300.0) + 20 * archetypes.ops.ar(s, 300, 1)
    e = s.add("holds ever more", s.place(s.some(400, 700)))
    held[e] += np.linspace(0, 900, e.stop - e.start)
    level, out = 0.0, np.empty(s.n)
    for i, more in enumerate(fill):
        level = 0.0 if level + more > 1500 - max(0.0, held[i] - 400) else level + more
        out[i] = held[i] + level
    e = s.add("no room left", s.place(s.some(30, 90)))
    out[e] = 1980 + s.rng.normal(size=e.stop - e.start) * 8
    s.values = np.round(out)


def tail(s: Any) -> None:
    """Milliseconds of the slowest hundredth: skewed, and a little higher when there is more to do."""
    v = 180 * s.some(0.5, 2) * (1 + 0.35 * archetypes.ops.season(s, 0.6)) * s.rng.lognormal(0, 0.22, s.n)
    e = s.add("ever slower", s.place(s.some(180, 300)))
    v[e] *= np.linspace(1.1, 2.6, e.stop - e.start)
    e = s.add("timeouts", s.place(s.some(10, 40)))
    v[e] = 3000 * s.rng.lognormal(0, 0.05, e.stop - e.start)
    s.values = np.round(v, 1)


def busy(s: Any) -> None:
    """Per cent of workers at work: all of them for some minutes around noon."""
    v = 95 * archetypes.ops.season(s, 0.5, 1.3) * (1 + 0.08 * archetypes.ops.ar(s, 15, 1)) + 6
    e = s.add("all of them at night", s.place(s.some(45, 120), hours=(0, 5)))
    v[e] = 100
    e = s.add("half of them gone", s.place(s.some(60, 180), hours=(8, 18), workdays=True))
    v[e] *= 0.5
    s.values = np.round(np.clip(v, 0, 100), 1)


def replica(s: Any) -> None:
    """Seconds that a replica is behind: less than two, and up to forty while reports are made at night."""
    v = s.rng.gamma(1.2, 0.5, s.n)
    for at in daily(s, 3.5, 12):
        long = s.minutes(s.rng.uniform(15, 30))
        v[at : at + long] += 35 * np.sin(np.pi * (np.arange(len(v[at : at + long])) + 0.5) / long)
    e = s.add("stands", s.place(s.some(20, 60)))
    v[e] += np.arange(1, e.stop - e.start + 1) * s.interval_s
    e = s.add("never quite there", s.place(s.some(90, 240), hours=(7, 20)))
    v[e] += 6 + archetypes.ops.ar(s, 10, 1.5)[e]
    s.values = np.round(np.maximum(v, 0), 2)


def names(s: Any) -> None:
    """Lookups a second: people by day, and machines that all ask at the full hour."""
    v = 400 * s.some(0.3, 3) * archetypes.ops.season(s, 0.7) * (1 + archetypes.ops.ar(s, 20, 0.04))
    for at in range(0, s.n, s.minutes(60)):
        v[at : at + s.minutes(3)] *= s.some(1.8, 2.4)
    e = s.add("a third is lost", s.place(s.some(45, 150), hours=(8, 20)))
    v[e] *= 0.66
    e = s.add("a loop", s.place(s.some(15, 60)))
    v[e] += v.mean() * s.some(1.5, 4)
    s.values = np.round(v)


def store(s: Any) -> None:
    """Milliseconds of a write to disk: calm, and busy between one and three at night."""
    v = 2.2 * np.exp(archetypes.ops.ar(s, 30, 0.1)) * s.rng.lognormal(0, 0.12, s.n)
    for at in daily(s, 1, 6):
        v[at : at + s.minutes(s.rng.uniform(110, 130))] *= 3.2
    e = s.add("a disk is failing", s.place(s.some(120, 360), hours=(5, 22)))
    v[e] *= 1.9
    e = s.add("stalls", s.place(s.some(20, 60)))
    v[e] = np.where(s.rng.random(e.stop - e.start) < 0.4, 60, v[e])
    s.values = np.round(v, 2)


def fan(s: Any) -> None:
    """Revolutions a minute in steps of two hundred, as warm as it is by day."""
    warm = 22 + 3 * np.sin(2 * np.pi * (hours_of(s) - 9) / 24) + archetypes.ops.ar(s, 240, 0.7)
    v = np.round((2400 + 180 * (warm - 22)) / 200) * 200
    e = s.add("stands", s.place(s.some(20, 90)))
    v[e] = 0
    e = s.add("full speed", s.place(s.some(60, 240)))
    v[e] = 5400
    s.values = v


def failures(s: Any) -> None:
    """Failed requests a slot: hardly any, and some at each Tuesday's release."""
    rate = np.full(s.n, 0.25) * s.interval_s / 60
    for week in range(s.n // (7 * s.day)):
        at = (7 * week + 1) * s.day + s.minutes(840 + s.rng.uniform(-20, 20))
        rate[at : at + s.minutes(10)] += 4 * s.interval_s / 60
        if week < 2:
            s.events.append(
                {"kind": "first releases", "start": at - 1, "end": at + s.minutes(30), "by": at, "want": "may"}
            )
    e = s.add("some fail", s.place(s.some(60, 180)))
    rate[e] += 1.5 * s.interval_s / 60
    e = s.add("many fail", s.place(s.some(8, 30)))
    rate[e] += 20 * s.interval_s / 60
    s.values = s.rng.poisson(rate).astype(float)


def mail(s: Any) -> None:
    """Letters that wait: few, and a newsletter's each Wednesday at ten."""
    v = s.rng.poisson(6 * archetypes.ops.season(s, 0.3)).astype(float)
    for week in range(s.n // (7 * s.day)):
        at, long = (7 * week + 2) * s.day + s.minutes(600 + s.rng.uniform(0, 10)), s.minutes(s.rng.uniform(60, 100))
        v[at : at + long] += np.linspace(4000, 0, long)
        if week < 2:
            s.events.append(
                {"kind": "first letters", "start": at - 1, "end": at + long + s.minutes(60), "by": at, "want": "may"}
            )
    e = s.add("none leave", s.place(s.some(60, 200), hours=(7, 20)))
    v[e] += np.cumsum(s.rng.poisson(3 * s.interval_s / 60, e.stop - e.start))
    s.values = v


def remote(s: Any) -> None:
    """People who work from elsewhere: on workdays, and one Thursday is a holiday."""
    workday = s.t // archetypes.ops.DAY_S % 7 < 5
    hour = hours_of(s)
    v = 600 * s.some(0.2, 4) * np.where(workday, np.exp(-(((hour - 13) / 4.2) ** 4)), 0.03) + 12
    v *= 1 + archetypes.ops.ar(s, 60, 0.04)
    holiday = slice(24 * s.day, 25 * s.day)
    v[holiday] = 12 + 15 * np.exp(-(((hour[holiday] - 13) / 4.2) ** 4))
    s.events.append({"kind": "holiday", "start": holiday.start, "end": holiday.stop, "by": holiday.stop, "want": "may"})
    e = s.add("thrown out", s.place(s.some(20, 60), hours=(9, 16), workdays=True))
    v[e] *= 0.05
    e = s.add("a fifth cannot enter", s.place(s.some(90, 200), hours=(9, 13), workdays=True))
    v[e] *= 0.75
    s.values = s.rng.poisson(np.maximum(v, 0)).astype(float)


def lines(s: Any) -> None:
    """Lines of a log a second, more after each release: that is how it is from then on."""
    v = 90 * s.some(0.3, 5) * (0.4 + archetypes.ops.season(s, 0.6)) * s.rng.lognormal(0, 0.08, s.n)
    for day in sorted(s.rng.choice(np.arange(2, s.n // s.day), 5, replace=False)):
        v[day * s.day + s.minutes(s.rng.uniform(540, 960)) :] *= s.rng.uniform(0.96, 1.06)
    e = s.add("silent", s.place(s.some(15, 60)))
    v[e] = 0
    e = s.add("a loop", s.place(s.some(20, 90)))
    v[e] *= s.some(3, 8)
    s.values = np.round(v, 1)


def clock(s: Any) -> None:
    """Milliseconds that a clock is off: held around zero, set right when it is three off."""
    v, off = np.empty(s.n), 0.0
    rates = s.rng.normal(size=s.n) * 0.05 * np.sqrt(s.interval_s / 60)
    e = s.add("runs away", s.place(s.some(120, 300)))
    for i, step in enumerate(rates):
        off = off + step + (0.4 * s.interval_s / 60 if e.start <= i < e.stop else 0)
        if abs(off) > 3 and not e.start <= i < e.stop:
            off = 0.0
        v[i] = off
    s.values = np.round(v + s.rng.normal(size=s.n) * 0.1, 2)


def copies(s: Any) -> None:
    """Nothing happens: a link that is idle but for copies that somebody starts, each as fast as the link is."""
    v, rate = np.abs(s.rng.normal(size=s.n)) * 2, 940 * s.some(0.1, 1)
    for at in np.flatnonzero(s.rng.random(s.n) < s.interval_s / 86_400 * 5):
        long = s.minutes(s.some(8, 90))
        v[at : at + long] = rate * (1 - np.abs(s.rng.normal(size=len(v[at : at + long]))) * 0.01)
    s.values = np.round(v, 1)


def price(s: Any) -> None:
    """Nothing happens: a price, which goes where it likes."""
    s.values = np.round(100 * np.exp(np.cumsum(s.rng.standard_t(4, s.n) * 0.0004 * np.sqrt(s.interval_s / 60))), 2)


ARCHETYPES = [
    heap, tail, busy, replica, names, store, fan, failures, mail, remote, lines, clock, copies, price,
]  # fmt: skip

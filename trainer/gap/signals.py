"""Generated signals, for a head that shall know more than the data sets at hand. Shapes: L slots."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Signal = npt.NDArray[np.float64]
Rng = np.random.Generator


def _noise(rng: Rng, slots: int) -> Signal:
    """Red noise that keeps to its level."""
    keep = rng.uniform(0.0, 0.98)
    out, value = np.empty(slots), 0.0
    for at, step in enumerate(rng.standard_normal(slots)):
        value = keep * value + step
        out[at] = value
    return np.asarray(out / out.std())


def _waves(rng: Rng, slots: int) -> Signal:
    """A few sines of related or unrelated periods."""
    t = np.arange(slots)
    period = np.exp(rng.uniform(np.log(12), np.log(400)))
    total = np.zeros(slots)
    for harmonic in range(1, rng.integers(2, 5)):
        length = period / harmonic if rng.random() < 0.7 else period * rng.uniform(0.2, 2.0)
        total += rng.uniform(0.2, 1.0) / harmonic * np.sin(2 * np.pi * (t / length + rng.random()))
    return np.asarray(total / total.std())


def _beats(rng: Rng, slots: int) -> Signal:
    """One pulse after another, not quite as long as the one before."""
    period, jitter = rng.uniform(30, 250), rng.uniform(0.0, 0.05)
    starts = np.cumsum(period * (1 + jitter * rng.standard_normal(int(slots / period) + 4)))
    centres, widths, heights = rng.random(4), rng.uniform(0.01, 0.1, 4), rng.uniform(-0.5, 1.0, 4)
    phase = (np.arange(slots)[:, None] - starts[None]) / period
    near = np.where((phase >= 0) & (phase < 1.5), phase, np.inf).min(1)
    near = np.where(np.isfinite(near), near, 0.0)
    return np.asarray((heights * np.exp(-0.5 * ((near[:, None] - centres) / widths) ** 2)).sum(1) * 3.0)


def _days(rng: Rng, slots: int) -> Signal:
    """The load of a service: days, bursts, multiplicative noise."""
    day = rng.choice([96, 144, 288])
    phase = 2 * np.pi * np.arange(slots) / day
    level = 2.0 + np.sin(phase) + rng.uniform(0, 0.6) * np.sin(2 * phase + rng.uniform(0, 6))
    bursts = np.convolve(rng.random(slots) < rng.uniform(0, 0.01), np.exp(-np.arange(20) / 5.0))[:slots]
    return np.asarray(
        level * np.exp(rng.uniform(0.01, 0.2) * rng.standard_normal(slots)) + bursts * rng.uniform(0.2, 2)
    )


def _states(rng: Rng, slots: int) -> Signal:
    """Levels that are held for a while, switched in turn or at random."""
    levels = rng.standard_normal(rng.integers(2, 5))
    stay = rng.uniform(15, 120)
    regular = rng.random() < 0.5
    out: list[np.ndarray] = []
    total = at = 0
    while total < slots:
        length = max(2, int(stay if regular else rng.exponential(stay)))
        out.append(np.full(length, levels[at % len(levels) if regular else rng.integers(len(levels))]))
        total, at = total + length, at + 1
    return np.concatenate(out)[:slots]


KINDS: tuple[Callable[[Rng, int], Signal], ...] = (_noise, _waves, _beats, _days, _states)


def generate(count: int, slots: int, seed: int) -> list[npt.NDArray[np.float32]]:
    """`count` signals (L,), of all kinds in turn, with some noise on top. Deterministic for a seed."""
    made = []
    for at in range(count):
        rng = np.random.default_rng((seed, at))
        signal = KINDS[at % len(KINDS)](rng, slots) + rng.choice([0.0, 0.02, 0.1]) * rng.standard_normal(slots)
        made.append(signal.astype(np.float32))
    return made

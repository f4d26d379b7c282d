"""Baselines: what a day's work would give. Each is fitted on the training part alone and is causal.

A baseline takes one channel's training part and test part, both standardised, and gives a score a test slot, which
looks at slots up to its own only, and the lag from that slot to the centre of what it looked at. All but the
auto-encoder (which fits all channels in one go) see one channel at a time.

Shapes: N training slots, K test slots, S slots of both together, C channels, W windows, T points of a window
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from trainer.backtest.metrics import period_of

VARIANCE_WINDOW = 32
# Windows kept by the plain memory, and points a window is averaged to: as the prototype views began.
MEMORY_WINDOWS, MEMORY_POINTS = 4000, 24
# A join of test and training part costs their product; the newest training slots are compared with.
JOIN_SLOTS = 20_000
AE_WINDOW, AE_HIDDEN, AE_CODE, AE_STEPS, AE_BATCH = 64, 32, 8, 400, 128
# Newest slots of a window whose reconstruction counts: the whole window smears a spike over 64 slots (VUS-PR of two
# WSD series .32, with 8 slots .64).
AE_NEWEST = 8
LEVEL_WINDOW = 16
FLAT = 0.05  # of the training part's spread: less is no shape


@dataclass(frozen=True)
class Baseline:
    """`score(training_NC, test_KC, window, seed)` → scores a channel (K, C) and the lag."""

    name: str
    title: str
    score: Callable[[np.ndarray, np.ndarray, int, int], tuple[np.ndarray, int]]


def fused(baseline: Baseline, training_NC: np.ndarray, test_KC: np.ndarray, seed: int) -> tuple[np.ndarray, int]:
    """Scores of a series (K,) and the lag: channels standardised, then the mean over the top ⌈C/8⌉ of them."""
    window = window_of(training_NC)
    filled_SC = _filled(np.concatenate([training_NC, test_KC]).astype(np.float64), len(training_NC))
    training, test = filled_SC[: len(training_NC)], filled_SC[len(training_NC) :]
    centre_C, spread_C = np.median(training, 0), training.std(0)
    spread_C = np.where(spread_C > 0, spread_C, 1.0)
    score_KC, lag = baseline.score((training - centre_C) / spread_C, (test - centre_C) / spread_C, window, seed)
    top = -(-score_KC.shape[1] // 8)
    return np.asarray(np.sort(score_KC, 1)[:, -top:].mean(1)), lag


def window_of(training_NC: np.ndarray) -> int:
    """The period of the first channel, within 16 to 256 slots and a quarter of the training part."""
    return int(max(8, min(np.clip(period_of(training_NC[:, 0]), 16, 256), len(training_NC) // 4)))


def _filled(values_SC: np.ndarray, known: int) -> np.ndarray:
    """The last value stands in for what is missing; before the first one, the training part's first, else 0."""
    at_SC = np.where(np.isfinite(values_SC), np.arange(len(values_SC))[:, None], -1)
    np.maximum.accumulate(at_SC, 0, out=at_SC)
    first_C = np.isfinite(values_SC[:known]).argmax(0)
    start_C = np.nan_to_num(values_SC[first_C, np.arange(values_SC.shape[1])])
    return np.asarray(np.where(at_SC < 0, start_C, np.take_along_axis(values_SC, at_SC.clip(0), 0)))


def _joined(training: np.ndarray, test: np.ndarray, before: int) -> np.ndarray:
    """The test part with the last `before` training slots in front; the first one is repeated where there are fewer."""
    tail = training[max(0, len(training) - before) :]
    lacking = np.repeat(training[:1], before - len(tail), 0)
    return np.concatenate([lacking, tail, test])


def moving_variance(training_NC: np.ndarray, test_KC: np.ndarray, window: int, seed: int) -> tuple[np.ndarray, int]:
    """Variance of the newest 32 slots."""
    joined_SC = _joined(training_NC, test_KC, VARIANCE_WINDOW - 1)
    windows = np.lib.stride_tricks.sliding_window_view(joined_SC, VARIANCE_WINDOW, 0)
    return np.asarray(windows.var(-1)), VARIANCE_WINDOW // 2


def squared_difference(training_NC: np.ndarray, test_KC: np.ndarray, window: int, seed: int) -> tuple[np.ndarray, int]:
    """Square of the step to a slot."""
    return np.diff(_joined(training_NC, test_KC, 1), axis=0) ** 2, 0


def memory(training_NC: np.ndarray, test_KC: np.ndarray, window: int, seed: int) -> tuple[np.ndarray, int]:
    """Distance to the nearest of 4 000 z-normalised training windows of one period."""
    return _remembered(training_NC, test_KC, window, _shapes), window // 2


def level_memory(training_NC: np.ndarray, test_KC: np.ndarray, window: int, seed: int) -> tuple[np.ndarray, int]:
    """The same with windows of 16 slots as they are: level and spread count, not the shape alone."""
    return _remembered(training_NC, test_KC, LEVEL_WINDOW, _levels), LEVEL_WINDOW // 2


def _remembered(
    training_NC: np.ndarray, test_KC: np.ndarray, window: int, features: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    out_KC = np.zeros(test_KC.shape)
    for c in range(test_KC.shape[1]):
        joined = _joined(training_NC[:, c], test_KC[:, c], window - 1)
        if np.ptp(joined) == 0 and np.ptp(training_NC[:, c]) == 0:
            continue
        known_WT = features(training_NC[:, c], window)
        known_WT = known_WT[np.linspace(0, len(known_WT) - 1, min(MEMORY_WINDOWS, len(known_WT))).astype(int)]
        out_KC[:, c] = _nearest(features(joined, window), known_WT)
    return out_KC


def _levels(x_S: np.ndarray, window: int) -> np.ndarray:
    """Windows ending at every slot from `window` − 1 on, float32 (W, T)."""
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(x_S, window), np.float32)


def _shapes(x_S: np.ndarray, window: int) -> np.ndarray:
    """Windows ending at every slot from `window` − 1 on: averaged, z-normalised, float32 (W, T)."""
    points = min(window, MEMORY_POINTS)
    edges = np.round(np.linspace(0, window, points + 1)).astype(int)
    total_S = np.concatenate([[0.0], np.cumsum(x_S)])
    begin_W = np.arange(len(x_S) - window + 1)
    sums = total_S[begin_W[:, None] + edges[None, 1:]] - total_S[begin_W[:, None] + edges[None, :-1]]
    mean_WT = sums / np.diff(edges)
    mean_WT -= mean_WT.mean(1, keepdims=True)
    return np.asarray(mean_WT / (mean_WT.std(1, keepdims=True) + FLAT), np.float32)


def _nearest(query_WT: np.ndarray, known_WT: np.ndarray) -> np.ndarray:
    known = torch.from_numpy(known_WT)
    square = (known**2).sum(1)
    parts = []
    for query in torch.split(torch.from_numpy(query_WT), 1024):
        found = torch.addmm(square, query, known.T, alpha=-2.0).amin(1) + (query**2).sum(1)
        parts.append(found.clamp_min(0).sqrt())
    return np.asarray(torch.cat(parts))


def matrix_profile(training_NC: np.ndarray, test_KC: np.ndarray, window: int, seed: int) -> tuple[np.ndarray, int]:
    """Distance to the nearest z-normalised training window of one period (AB-join by stumpy), at the window's end."""
    import stumpy

    out_KC = np.zeros(test_KC.shape)
    for c in range(test_KC.shape[1]):
        joined = _joined(training_NC[:, c], test_KC[:, c], window - 1)
        known = training_NC[-JOIN_SLOTS:, c]
        if np.ptp(known) == 0 and np.ptp(joined) == 0:
            continue
        with warnings.catch_warnings():  # it takes an exact repetition for a forgotten self-join
            warnings.simplefilter("ignore", UserWarning)
            out_KC[:, c] = stumpy.stump(joined, window, known, ignore_trivial=False)[:, 0].astype(np.float64)
    # where all of a window is one value there is no shape: stumpy says infinity against a window that has one
    return np.nan_to_num(out_KC, posinf=float(np.sqrt(2 * window))), window // 2


def auto_encoder(training_NC: np.ndarray, test_KC: np.ndarray, window: int, seed: int) -> tuple[np.ndarray, int]:
    """Error at the newest 8 slots of rebuilt windows: 64-32-8-32-64, one net a channel, all trained side by side."""
    generator = torch.Generator().manual_seed(seed)
    size = min(AE_WINDOW, max(8, len(training_NC) // 4))
    widths = (size, AE_HIDDEN, AE_CODE, AE_HIDDEN, size)
    channels = training_NC.shape[1]
    layers = [
        (
            (torch.randn(channels, a, b, generator=generator) / a**0.5).requires_grad_(),
            torch.zeros(channels, 1, b).requires_grad_(),
        )
        for a, b in pairwise(widths)
    ]

    def rebuilt(x_CWT: torch.Tensor) -> torch.Tensor:
        for at, (weight, bias) in enumerate(layers):
            x_CWT = torch.baddbmm(bias, x_CWT, weight)
            x_CWT = x_CWT if at == len(layers) - 1 else torch.relu(x_CWT)
        return x_CWT

    known_CN = torch.from_numpy(training_NC.T.clip(-10, 10).astype(np.float32).copy())
    known_CWT = known_CN.unfold(1, size, 1)
    optimiser = torch.optim.Adam([tensor for layer in layers for tensor in layer], 2e-3)
    with torch.enable_grad():
        for _ in range(AE_STEPS):
            chosen = torch.randint(known_CWT.shape[1], (AE_BATCH,), generator=generator)
            batch = known_CWT[:, chosen]
            # a channel's loss is its own: the sum trains each as if it were alone
            loss = ((rebuilt(batch) - batch) ** 2).mean((1, 2)).sum()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
    joined_SC = _joined(training_NC, test_KC, size - 1).clip(-10, 10).astype(np.float32)
    windows_CWT = torch.from_numpy(joined_SC.T.copy()).unfold(1, size, 1)
    with torch.no_grad():
        parts = [((rebuilt(part) - part) ** 2)[..., -AE_NEWEST:].mean(2) for part in torch.split(windows_CWT, 4096, 1)]
    return torch.cat(parts, 1).T.double().numpy(), AE_NEWEST // 2


BASELINES = (
    Baseline("moving_variance", "moving variance", moving_variance),
    Baseline("squared_difference", "squared difference", squared_difference),
    Baseline("matrix_profile", "matrix profile", matrix_profile),
    Baseline("memory", "plain memory", memory),
    Baseline("level_memory", "level memory", level_memory),
    Baseline("auto_encoder", "auto-encoder", auto_encoder),
)

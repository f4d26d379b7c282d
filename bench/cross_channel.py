"""Would a view across channels pay? What it adds to the default's ranks, on series of three channels or more.

  python -m bench.cross_channel [--data ../shared/data] [--sets asd,gecco,smd,msl,smap] [--jobs 2]

Every channel is standardised by its training part. Three views of a slot's values (loudest eighth of the channels, as the
default): residuals of the principal components that hold 80 % of the variance, residuals of each channel given all others
(ridge of a tenth), and the Mahalanobis distance. Each is calibrated on the other half of the training part, as the
default's views are, and joined with the default's rank in three ways. VUS-PR, 8 late, means over series.

Shapes: N slots, C channels, K slots of the test part, S slots of the series
"""

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from bench.markdown import NONE, number, tabled
from detector.model import calibration
from streamer.host.logs import configure_logs
from trainer.backtest.metrics import areas, buffer_of
from trainer.backtest.ranking import sustained
from trainer.backtest.replay import replay
from trainer.backtest.settings import BacktestSettings
from trainer.backtest.sources import Item, items_of
from trainer.backtest.tables import Reading
from trainer.fit.scaling import robust

LEAST, CLIP, SHARE, RIDGE, FLOOR, MOST = 3, 8.0, 0.8, 0.1, 0.05, 16_000
Array = np.ndarray
ViewName = Callable[[Array], Callable[[Array], Array]]
JOINS: dict[str, Callable[[Array, Array], Array]] = {
    "root of squares": np.hypot,
    "half of it": lambda rank, view: np.hypot(rank, 0.5 * view),
    "the larger": np.maximum,
}


def _loudest(residual_NC: Array) -> Array:
    most = -(-residual_NC.shape[1] // 8)
    return np.asarray(np.sort(np.abs(residual_NC), 1)[:, -most:].mean(1))


def _components(train_NC: Array) -> Callable[[Array], Array]:
    middle_C = train_NC.mean(0)
    _, size, axes = np.linalg.svd(train_NC - middle_C, full_matrices=False)
    kept = axes[: int((np.cumsum(size**2) < SHARE * (size**2).sum()).sum()) + 1]

    def left(x_NC: Array) -> Array:
        return np.asarray(x_NC - middle_C - (x_NC - middle_C) @ kept.T @ kept)

    spread_C = left(train_NC).std(0) + FLOOR
    return lambda x_NC: _loudest(left(x_NC) / spread_C)


def _precision(train_NC: Array) -> Array:
    of_CC = np.cov(train_NC.T)
    return np.linalg.inv((1 - RIDGE) * of_CC + RIDGE * np.diag(np.diag(of_CC)) + 1e-3 * np.eye(len(of_CC)))


def _given_others(train_NC: Array) -> Callable[[Array], Array]:
    middle_C, inverse_CC = train_NC.mean(0), _precision(train_NC)
    return lambda x_NC: _loudest((x_NC - middle_C) @ inverse_CC / np.sqrt(np.diag(inverse_CC)))


def _mahalanobis(train_NC: Array) -> Callable[[Array], Array]:
    middle_C, inverse_CC = train_NC.mean(0), _precision(train_NC)
    return lambda x_NC: np.einsum("nc,nc->n", (x_NC - middle_C) @ inverse_CC, x_NC - middle_C)


VIEWS: dict[str, ViewName] = {"components": _components, "given the others": _given_others, "Mahalanobis": _mahalanobis}


def standardised(values_NC: Array, start: int) -> Array:
    """Channels that vary in training, in the unit that the trainer gives them; gaps are 0."""
    scaling = robust(torch.from_numpy(np.ascontiguousarray(values_NC[:start].T)))
    varies_C = np.nanstd(values_NC[:start], axis=0) > 1e-9
    centre_C, scale_C = (value.double().numpy()[varies_C] for value in scaling[:2])
    return np.asarray(np.nan_to_num((values_NC[:, varies_C] - centre_C) / scale_C).clip(-CLIP, CLIP))


def surprises(x_NC: Array, start: int, view: ViewName) -> Array:
    """Surprise of the test part, calibrated where the view has not seen the half."""
    train_NC, half = x_NC[:start], start // 2
    step = max(1, start // MOST)
    first, second = view(train_NC[:half:step]), view(train_NC[half::step])
    held_N = np.concatenate([second(train_NC[:half]), first(train_NC[half:])])
    held_1N = torch.from_numpy(held_N)[None]
    made = calibration.fit(held_1N, torch.isfinite(held_1N), FLOOR)
    test_1N = torch.from_numpy(view(train_NC[::step])(x_NC[start:])).float()[None]
    out: Array = calibration.surprise(test_1N, made[:, None])[0].clamp(0.0, calibration.CAP).numpy()
    return out


def figures(item: Item) -> dict[str, float] | None:
    """VUS-PR by view and join; None of a series with fewer channels or without labels."""
    torch.set_num_threads(1)
    series = item.load()
    start, labels_K = series.train_end, series.test_labels_K
    x_NC = standardised(series.values_SC.astype(np.float64), start)
    if x_NC.shape[1] < LEAST or labels_K is None:
        return None
    made = replay(series, BacktestSettings(teacher="none"))
    rank_K = np.nan_to_num(made.rank_K)
    buffer = buffer_of(series.values_SC[:start])

    def volume(score_K: Array) -> float:
        late = areas(sustained(score_K.astype(np.float32)), made.lag_K, labels_K, None, buffer, 8)
        return late.vus_pr or 0.0

    found = {"default": volume(rank_K)}
    for name, view in VIEWS.items():
        view_K = surprises(x_NC, start, view)
        found[f"{name}, alone"] = volume(view_K)
        found |= {f"{name}, {how}": volume(join(rank_K, view_K)) for how, join in JOINS.items()}
    return found


def main() -> None:
    """All sets, one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANOMALYLLM_DATA", "../shared/data")))
    parser.add_argument("--sets", default="asd,gecco,smd,msl,smap")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    configure_logs(level="warning")
    sets = {name: items_of(arguments.data / name, Reading()) for name in arguments.sets.split(",")}
    with ProcessPoolExecutor(arguments.jobs) as pool:
        done = {name: [row for row in pool.map(figures, items) if row] for name, items in sets.items()}
    rows = next(list(each[0]) for each in done.values() if each)
    cells = [[number(fmean(row[title] for row in each)) if each else NONE for each in done.values()] for title in rows]
    print(tabled(["rank", *(f"{name} ({len(each)})" for name, each in done.items())], [[t, *c] for t, c in zip(rows, cells, strict=True)]))  # fmt: skip


if __name__ == "__main__":
    main()

"""All series of a path: processes, progress, and results that a second run finds again."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson

from streamer.errors import AnomalyLLMError
from trainer.backtest.series import Series
from trainer.backtest.settings import OF_SERVERS, BacktestSettings
from trainer.backtest.sources import Item

ROOMS = ("streamer", "detector", "trainer")
# What does not change a result, beside what only servers need.
_NO_MATTER = (*OF_SERVERS, "state_dir", "log_format", "log_level", "threads")


class BacktestError(AnomalyLLMError):
    """A run cannot go on; what was done is kept."""


@dataclass(frozen=True)
class Task:
    """What is asked of every series. `plots` is a folder or None."""

    settings: BacktestSettings
    history: int | None = None
    share: float = 1.0
    latency: int = 8
    seed: int = 0
    plots: Path | None = None

    def key(self, series: Series, code: str) -> str:
        """Names the result: equal for equal settings, data and code."""
        said = orjson.dumps(
            [
                self.settings.model_dump(mode="json", exclude=set(_NO_MATTER)),
                self.history, self.share, self.seed, series.digest(), code,
            ],
            option=orjson.OPT_SORT_KEYS,
        )  # fmt: skip
        return hashlib.sha256(said).hexdigest()[:32]


@cache
def code_digest() -> str:
    """Changes with any line of the three rooms."""
    root = Path(__file__).resolve().parents[2]
    said = hashlib.sha256()
    for path in sorted(p for room in ROOMS for p in (root / room).rglob("*") if p.suffix in (".py", ".lua")):
        said.update(path.relative_to(root).as_posix().encode())
        said.update(path.read_bytes())
    return said.hexdigest()


Row = dict[str, Any]
Tell = Callable[[Item, Row], None]


def run(items: Sequence[Item], task: Task, jobs: int, tell: Tell) -> list[Row]:
    """Replay all items; returns a row a series, in the order of `items`. `tell` hears of each when it is done.

    A series that fails has a row with `error` and no figures. Raises BacktestError when a process dies.
    """
    code = code_digest()  # before the first process: an edit during the run must not pass for what was run
    # The longest first: two processes then finish at about the same time.
    order = sorted(range(len(items)), key=lambda i: -items[i].slots)
    rows: dict[int, Row] = {}
    if jobs == 1:
        for i in order:
            rows[i] = row_of(items[i], task, code)
            tell(items[i], rows[i])
        return [rows[i] for i in range(len(items))]
    with _one_thread(), ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures: dict[Future[Row], int] = {pool.submit(row_of, items[i], task, code): i for i in order}
        try:
            for future in as_completed(futures):
                i = futures[future]
                rows[i] = future.result()
                tell(items[i], rows[i])
        except BrokenProcessPool:
            raise BacktestError(
                "a process of the backtest died, probably out of memory: run the same command again with fewer "
                "--jobs; the series that were done are not replayed again"
            ) from None
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [rows[i] for i in range(len(items))]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Child processes read it before they load numpy and torch: nested thread pools fight over the cores."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def row_of(item: Item, task: Task, code: str) -> Row:
    """One series: out of the state folder, or replayed now."""
    try:
        series = item.load()
        stored = task.settings.state_dir / "backtest" / f"{task.key(series, code)}.json"
        picture = None if task.plots is None else task.plots / f"{_file_name(item.name)}.png"
        row = _stored(stored) if picture is None or picture.exists() else None
        if row is None:
            row = _made(series, task, picture)
            stored.parent.mkdir(parents=True, exist_ok=True)
            part = stored.with_suffix(f".{os.getpid()}")  # a reader must never see half a file
            part.write_bytes(orjson.dumps(row))
            part.replace(stored)
    except AnomalyLLMError as error:
        return {"name": item.name, "error": str(error)}
    except Exception as error:  # one odd series must not cost the others their figures
        return {"name": item.name, "error": f"{type(error).__name__}: {error}"}
    # The figures of the wanted latency once more, under the names that the summary has.
    return {"name": item.name, **row[f"latency_{task.latency}"], **row}


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def _stored(path: Path) -> Row | None:
    try:
        row: Row = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return row


def _made(series: Series, task: Task, picture: Path | None) -> Row:
    import torch

    from trainer.backtest.metrics import LATENCIES, areas, buffer_of, events, rounded
    from trainer.backtest.replay import replay

    torch.set_num_threads(1)
    begun = time.perf_counter()
    made = replay(
        series, task.settings, _teacher(task.settings), history=task.history, share=task.share, seed=task.seed,
        bands=picture is not None,
    )  # fmt: skip
    count, start = len(made.surprise_K), series.train_end
    found = series.found_within
    within = None if found is None else (found[0] - start, found[1] - start)
    buffer = buffer_of(series.values_SC[:start])
    told = events(made.alerts, series.test_labels_K, count)
    row: Row = {
        "slots": count,
        "channels": series.values_SC.shape[1],
        "history": made.history,
        "gate": made.gate,
        "threshold": made.threshold,
        "student_bytes": made.student_bytes,
        "fit_s": round(made.fit_s, 4),
        "score_s": round(made.score_s, 4),
        "points_per_s": round(count / made.score_s) if made.score_s else None,
        "wall_s": round(time.perf_counter() - begun, 3),
        "unscored": int((made.surprise_K != made.surprise_K).sum()),
        "vus_buffer": buffer,
        **{f"event_{name}": getattr(told, name) for name in ("precision", "recall", "f1")},
        "events": told.events,
        "hits": told.hits,
        "alerts": told.alerts,
        "false_alerts": told.false_alerts,
        "false_alerts_per_10k": round(told.false_alerts_per_10k, 4),
        "delays": told.delays,
        "delay_points": _median(told.delays),
        "alert_list": [asdict(alert) for alert in made.alerts],
    }
    for latency in LATENCIES:
        figures = areas(made.surprise_K, made.lag_K, series.test_labels_K, within, buffer, latency)
        row[f"latency_{latency}"] = rounded(figures)
    if picture is not None:
        from trainer.backtest.plots import plot

        picture.parent.mkdir(parents=True, exist_ok=True)
        plot(series, made, picture)
    return row


def _median(values: Sequence[int]) -> float | None:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        return None
    return float(ordered[middle]) if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


_TEACHERS: dict[str, Any] = {}


def _teacher(settings: BacktestSettings) -> Any:
    """The frozen LLM, loaded once a process."""
    from detector.teacher import load_teacher

    said = settings.model_dump_json(include={n for n in type(settings).model_fields if n.startswith("teacher")})
    if said not in _TEACHERS:
        _TEACHERS.clear()
        _TEACHERS[said] = load_teacher(settings)
    return _TEACHERS[said]

"""All series of a path: processes, progress, and results that a second run finds again."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import orjson

from streamer.errors import AnomalyLLMError
from streamer.host.logs import configure_logs
from trainer.backtest.series import Series
from trainer.backtest.sources import Item


class BacktestError(AnomalyLLMError):
    """A run cannot go on; what was done is kept."""


Row = dict[str, Any]


class Work(Protocol):
    """What is asked of every series; sent to other processes. `trainer.backtest.task.Task` is the detector's."""

    @property
    def state_dir(self) -> Path:
        """Folder of the results."""
        ...

    @property
    def latency(self) -> int:
        """The latency whose figures are a row's own."""
        ...

    def key(self, series: Series) -> str:
        """Names the result: equal for equal settings, data and code."""
        ...

    def complete(self, name: str) -> bool:
        """Whether what is made beside the result is there."""
        ...

    def make(self, series: Series) -> Row:
        """The result: JSON types, with `latency_0` and `latency_8`."""
        ...


def run(pairs: Sequence[tuple[Item, Work]], jobs: int, on_done: Callable[[int, Row], None]) -> list[Row]:
    """Do all pairs, begun in this order; returns their rows in it. `on_done` is called with each (by index) when it is done.

    A series that fails has a row with `error` and no figures. Raises BacktestError when a process dies.
    """
    rows: dict[int, Row] = {}
    if jobs == 1:
        for i, (item, work) in enumerate(pairs):
            rows[i] = row_of(item, work)
            on_done(i, rows[i])
        return [rows[i] for i in range(len(pairs))]
    with _one_thread(), ProcessPoolExecutor(jobs, get_context("spawn"), _begin) as pool:
        futures: dict[Future[Row], int] = {pool.submit(row_of, *pair): i for i, pair in enumerate(pairs)}
        try:
            for future in as_completed(futures):
                i = futures[future]
                rows[i] = future.result()
                on_done(i, rows[i])
        except BrokenProcessPool:
            raise BacktestError(
                "a process of the backtest died, probably out of memory: run the same command again with fewer "
                "--jobs; the series that were done are not replayed again"
            ) from None
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [rows[i] for i in range(len(pairs))]


def longest_first(items: Sequence[Item]) -> list[Item]:
    """An order in which several processes finish at about the same time."""
    return sorted(items, key=lambda item: -item.slots)


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


def _begin() -> None:
    """Of a process: log warnings only, and end at Ctrl-C without a traceback of its own."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    configure_logs(level="warning")


def row_of(item: Item, work: Work) -> Row:
    """One series: out of the state folder, or made now."""
    try:
        series = item.load()
        stored = work.state_dir / "backtest" / f"{work.key(series)}.json"
        row = _stored(stored) if work.complete(item.name) else None
        if row is None:
            begun = time.process_time()
            row = work.make(series)
            row["cpu_s"] = round(time.process_time() - begun, 3)
            stored.parent.mkdir(parents=True, exist_ok=True)
            part = stored.with_suffix(f".{os.getpid()}")  # a reader must never see half a file
            part.write_bytes(orjson.dumps(row))
            part.replace(stored)
    except AnomalyLLMError as error:
        return {"name": item.name, "error": str(error)}
    except Exception as error:  # one odd series must not cost the others their figures
        return {"name": item.name, "error": f"{type(error).__name__}: {error}"}
    # The figures of the wanted latency once more, under the names that the summary has.
    return {"name": item.name, **row[f"latency_{work.latency}"], **row}


def _stored(path: Path) -> Row | None:
    try:
        row: Row = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return row

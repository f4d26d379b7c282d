"""What `anomalyllm backtest PATH…` can read: a CSV, a Parquet, a folder of these, a folder with index.json.

Shapes: S slots of a series, C channels
"""

import fnmatch
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from streamer.timestamps import NS, parse_timestamp
from trainer.backtest.gridding import on_grid
from trainer.backtest.series import Series, SourceError
from trainer.backtest.tables import Reading, Table, read_tables

INDEX = "index.json"
TABLES = (".csv", ".parquet")
# UCR Anomaly Archive: the loudest position counts as found within this many slots of the anomaly.
UCR_MARGIN = 100


@dataclass(frozen=True)
class Item:
    """A series that is not necessarily in memory yet."""

    name: str
    slots: int
    file: Path | None = None  # .npz of a folder …
    entry: tuple[tuple[str, Any], ...] = ()  # … and its entry in the index
    made: Series | None = None
    domain: str = ""  # for grouping figures; the replay does not know it

    def load(self) -> Series:
        """The series. Raises SourceError when its file cannot be read."""
        if self.made is not None:
            return self.made
        assert self.file is not None
        return _npz(self.file, dict(self.entry))


def items_of(paths: Path | Sequence[Path], reading: Reading, only: Sequence[str] = ()) -> list[Item]:
    """All series of the paths, in the order of the data. A name that comes twice is told apart by its path.

    Args:
        only: names or shell patterns; none: all.

    Raises:
        SourceError: when a path is of no known form, or nothing is left of all of them.
    """
    every = [paths] if isinstance(paths, Path) else list(paths)
    found = [pair for path in every for pair in _items(path, reading)]
    twice = set(_twice(item.name for _, item in found))
    items = [_renamed(item, f"{file}:{item.name}") if item.name in twice else item for file, item in found]
    for name in _twice(item.name for item in items):
        raise SourceError(f"{name} is there twice: give each path once")
    chosen = [item for item in items if not only or any(fnmatch.fnmatchcase(item.name, p) for p in only)]
    if not chosen:
        where = ", ".join(map(str, every))
        raise SourceError(f"{where}: none of its {len(items)} series is named like {', '.join(only) or 'anything'}")
    return chosen


def _items(path: Path, reading: Reading) -> list[tuple[Path, Item]]:
    """Series, each with the file or folder that it comes from."""
    if path.is_dir():
        tables = sorted(file for file in path.iterdir() if file.suffix.lower() in TABLES)
        if (path / INDEX).exists() or not tables:
            return [(path, item) for item in _folder(path)]
        return [pair for file in tables for pair in _items(file, reading)]
    if path.suffix.lower() in TABLES:
        return [(path, _item(on_grid(table, reading).checked())) for table in read_tables(path, reading)]
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    raise SourceError(f"{path}: expected a folder, a .csv or a .parquet")


def _renamed(item: Item, name: str) -> Item:
    made = None if item.made is None else replace(item.made, name=name)
    return replace(item, name=name, made=made, entry=tuple({**dict(item.entry), "name": name}.items()))


def _item(series: Series) -> Item:
    return Item(series.name, len(series.values_SC), made=series)


def _folder(path: Path) -> list[Item]:
    try:
        index = json.loads((path / INDEX).read_text())
        entries: list[dict[str, Any]] = index["series"]
        items = [
            Item(
                str(e["name"]),
                int(e.get("length", 0)),
                path / e["file"],
                tuple(sorted(_facts(index, e).items())),
                None,
                str(e.get("domain", e.get("anomalyllm_class", ""))),
            )
            for e in entries
        ]
    except FileNotFoundError:
        raise SourceError(
            f"{path}: neither .csv, .parquet nor {INDEX} in this folder; that lists series and their .npz files"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{path / INDEX}: {type(error).__name__}: {error}; "
            'expected {"series": [{"name", "file"}, …]} as described in docs/backtest.md'
        ) from error
    for name in _twice(item.name for item in items):
        raise SourceError(f"{path / INDEX}: two series are named {name!r}")
    return items


def _facts(index: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """What a replay may know of an index entry: its name, its real time, and the span of the UCR rule for the verdict.

    Real time is `interval_s` (or `dt`) in seconds, and `start` (RFC 3339) or `t0` (Unix seconds) of the first row, of the
    series or of the whole index.
    """
    facts: dict[str, Any] = {
        key: entry[key] for key in ("name", "anomaly_begin_name", "anomaly_end_name") if key in entry
    }
    both = {**index, **entry}
    interval_s = both.get("interval_s", both.get("dt"))
    if interval_s is None:
        return facts
    begin = both.get("start", both.get("t0"))
    interval_ns = round(float(interval_s) * NS)
    begin_ns = 0 if begin is None else parse_timestamp(begin)
    return {
        **facts,
        "interval_ns": interval_ns,
        "phase_ns": begin_ns % interval_ns,
        "first_slot": begin_ns // interval_ns,
        "timed": begin is not None,
    }


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def _npz(file: Path, entry: dict[str, Any]) -> Series:
    try:
        with np.load(file) as z:
            values, train_end = z["values"], int(z["train_end"])
            labels = z["labels"].astype(bool).ravel() if "labels" in z else None
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(
            f"{file}: {error}; a series is an .npz with values (time, channels), train_end and perhaps labels (time,)"
        ) from error
    values_SC = np.asarray(values if values.ndim == 2 else values[:, None], np.float64)
    values_SC = np.where(np.isfinite(values_SC), values_SC, np.nan)
    channels = tuple(f"c{c}" for c in range(values_SC.shape[1])) if values_SC.shape[1] > 1 else ("value",)
    series = Series(
        str(entry["name"]), values_SC.astype(np.float32), train_end, labels, channels,
        interval_ns=entry.get("interval_ns", NS), phase_ns=entry.get("phase_ns", 0), first_slot=entry.get("first_slot", 0),
    ).checked()  # fmt: skip
    if entry.get("timed"):
        ts_S = (series.first_slot + np.arange(len(values_SC))) * series.interval_ns + series.phase_ns
        table = Table(series.name, channels, values_SC, ts_S, labels)
        series = on_grid(table, Reading(interval_s=series.interval_ns / NS, train=train_end))
    if "anomaly_begin_name" not in entry:
        return series
    begin, end = int(entry["anomaly_begin_name"]), int(entry["anomaly_end_name"])
    return replace(series, found_within=(begin - UCR_MARGIN, end + UCR_MARGIN))

"""Results are kept, failures stay with their series, processes change nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import trainer.backtest.task as module
from testkit.waves import settings_of, waves, write_folder
from trainer.backtest.runner import Row, longest_first, run
from trainer.backtest.sources import Item, items_of
from trainer.backtest.tables import Reading
from trainer.backtest.task import ROOMS, ROOT, Task, code_digest


def _items(folder: Path, count: int) -> list[Item]:
    return items_of(write_folder(folder / "set", [waves(n) for n in range(count)]), Reading())


def _run(items: list[Item], task: Task, jobs: int = 1) -> list[Row]:
    published: list[int] = []
    rows = run([(item, task) for item in items], jobs, lambda at, row: published.append(at))
    assert sorted(published) == list(range(len(items)))
    return rows


def _plain(row: Row) -> Row:
    return {name: value for name, value in row.items() if not name.endswith("_s")}


def test_a_second_run_replays_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = _items(tmp_path, 2)
    task = Task(settings_of(tmp_path), "code")
    first = _run(items, task)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("replayed again")

    monkeypatch.setattr(module, "replay", never)
    assert _run(items, task) == first
    assert _run(items, replace(task, history=5000)) == first  # longer than the training part: the same history
    late = _run(items, replace(task, latency=0))
    assert [row["vus_pr"] for row in late] == [row["latency_0"]["vus_pr"] for row in first]
    for other in (
        replace(task, code="other"),
        replace(task, seed=1),
        replace(task, share=0.5),
        replace(task, settings=settings_of(tmp_path, prototypes=16)),
    ):
        assert all("replayed again" in row["error"] for row in _run(items, other))


@pytest.mark.slow(3)
def test_a_missing_picture_is_drawn(tmp_path: Path) -> None:
    items = _items(tmp_path, 1)
    task = Task(settings_of(tmp_path), "code")
    _run(items, task)
    pictures = replace(task, plots=tmp_path / "plots")
    _run(items, pictures)
    picture = tmp_path / "plots" / "wave-0.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    picture.unlink()
    _run(items, pictures)
    assert picture.exists()


def test_a_broken_series_costs_the_others_nothing(tmp_path: Path) -> None:
    items = _items(tmp_path, 2)
    assert items[0].file is not None
    items[0].file.write_bytes(b"no archive")
    rows = _run(items, Task(settings_of(tmp_path), "code"))
    assert "a series is an .npz" in rows[0]["error"]
    assert rows[1]["found"] is True


@pytest.mark.slow(5)
def test_processes_give_the_same_rows(tmp_path: Path) -> None:
    items = _items(tmp_path, 2)
    alone = _run(items, Task(settings_of(tmp_path), "code"))
    together = _run(items, Task(settings_of(tmp_path / "other"), "code"), jobs=2)
    assert [_plain(row) for row in together] == [_plain(row) for row in alone]


def test_the_longest_come_first() -> None:
    assert [item.slots for item in longest_first([Item("a", 1), Item("b", 3), Item("c", 2)])] == [3, 2, 1]


def test_code_has_a_digest(tmp_path: Path) -> None:
    rooms = code_digest(ROOT / room for room in ROOMS)
    assert rooms == code_digest(ROOT / room for room in ROOMS)
    assert rooms != code_digest([ROOT / "streamer"])

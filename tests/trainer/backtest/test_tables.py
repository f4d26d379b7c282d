"""CSV and Parquet become what the streamer would have made of the same rows."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamer.errors import AnomalyLLMError
from trainer.backtest.series import Series, SourceError
from trainer.backtest.sources import items_of
from trainer.backtest.tables import Reading

T0 = 1_700_000_000


def _read(path: Path, **own: object) -> list[Series]:
    return [item.load() for item in items_of(path, Reading(**own))]  # type: ignore[arg-type]


def _csv(folder: Path, *lines: str) -> Path:
    path = folder / "cpu.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def _rows(slots: list[int], value: float = 1.0) -> list[str]:
    return [f"{T0 + 10 * slot},{value + slot},0" for slot in slots]


def test_rows_without_time_stamps_are_slots(tmp_path: Path) -> None:
    [series] = _read(_csv(tmp_path, "a,b,label", "1,2,0", "3,,0", "5,nan,1", "7,8,0"))
    assert series.name == "cpu"
    assert series.channels == ("a", "b")
    np.testing.assert_array_equal(series.values_SC, np.array([[1, 2], [3, np.nan], [5, np.nan], [7, 8]], np.float32))
    assert series.labels_S is not None
    assert series.labels_S.tolist() == [False, False, True, False]
    assert (series.train_end, series.first_slot) == (2, 0)


def test_rows_without_time_stamps_may_name_their_stream(tmp_path: Path) -> None:
    b, a = _read(_csv(tmp_path, "x,stream,label", "1,b,0", "2,a,0", "3,b,1", "4,a,0"))[::-1]
    assert (a.name, a.values_SC.tolist(), b.name, b.values_SC.tolist()) == ("a", [[2], [4]], "b", [[1], [3]])
    assert b.labels_S is not None
    assert b.labels_S.tolist() == [False, True]


def test_gaps_jitter_and_disorder(tmp_path: Path) -> None:
    lines = _rows([*range(40), 43, 42, 44, *range(46, 60)])
    lines[5] = f"{T0 + 52},6,0"  # 2 s late on a grid of 10 s: the same slot
    [series] = _read(_csv(tmp_path, "ts,value,label", *lines))
    assert len(series.values_SC) == 60
    assert series.interval_ns == 10 * 10**9
    assert np.flatnonzero(np.isnan(series.values_SC[:, 0])).tolist() == [40, 41, 45]
    np.testing.assert_array_equal(series.values_SC[42:45, 0], [43, 44, 45])


def test_of_two_rows_in_a_slot_the_later_instant_wins_then_the_later_row(tmp_path: Path) -> None:
    lines = _rows(list(range(60)))
    more = [f"{T0 + 501},111,0", f"{T0 + 503},222,0", f"{T0 + 502},333,0", f"{T0 + 590},444,0", f"{T0 + 590},555,0"]
    [series] = _read(_csv(tmp_path, "ts,value,label", *lines, *more))
    assert series.values_SC[50, 0] == 222
    assert series.values_SC[59, 0] == 555


def test_counters_become_increases(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(1, 9, 100)
    lines = [f"{T0 + 10 * i},{5000 + total}" for i, total in enumerate(np.cumsum(steps))]
    [series] = _read(_csv(tmp_path, "ts,value", *lines))
    assert np.isnan(series.values_SC[0, 0])
    np.testing.assert_array_equal(series.values_SC[1:, 0], steps[1:])


def test_labels_of_gaps_and_slots(tmp_path: Path) -> None:
    lines = _rows([*range(40), 42, *range(45, 60)])
    for at, label in ((39, 1), (40, 1), (41, 0)):
        lines[at] = lines[at][:-1] + str(label)
    lines.append(f"{T0 + 501},1,1")  # second row of slot 50
    [series] = _read(_csv(tmp_path, "ts,value,label", *lines))
    assert series.labels_S is not None
    # 40 and 41 are a hole between two labelled slots; 43 and 44 lie between a labelled and another one
    assert np.flatnonzero(series.labels_S).tolist() == [39, 40, 41, 42, 50]


def test_rows_name_their_stream(tmp_path: Path) -> None:
    lines = [f"{T0 + i},{name},{i}" for i in range(50) for name in ("b", "a")]
    both = _read(_csv(tmp_path, "ts,stream,value", *lines), train=40)
    assert [(series.name, series.train_end) for series in both] == [("a", 40), ("b", 40)]


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    lines = _rows([*range(40), 43, *range(46, 60)])
    [wanted] = _read(_csv(tmp_path, "ts,value,label", *lines))
    rows = [line.split(",") for line in lines]
    seconds = [int(row[0]) for row in rows]
    forms = {
        "numbers": pa.array(seconds),
        "milliseconds": pa.array([1000 * s for s in seconds], pa.int64()),
        "text": pa.array([datetime.fromtimestamp(s, UTC).isoformat() for s in seconds]),
        "zoned": pa.array([s * 10**6 for s in seconds], pa.timestamp("us", "Europe/Berlin")),
        "naive": pa.array([s * 1000 for s in seconds], pa.timestamp("ms")),
    }
    values = {
        "value": pa.array([float(r[1]) for r in rows], pa.float32()),
        "label": pa.array([r[2] == "1" for r in rows]),
    }
    for name, column in forms.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"ts": column, **values}), path)
        [series] = _read(path)
        np.testing.assert_array_equal(series.values_SC, wanted.values_SC, err_msg=name)
        assert series.first_slot == wanted.first_slot, name


@pytest.mark.parametrize(
    ("lines", "own", "said"),
    [
        (["a,b", "1,2", "3"], {}, "row 3: 1 cells, the header has 2"),
        (["a,b", "1,x"], {}, "row 2"),
        (["ts,value", "yesterday,1"], {}, "row 2: ts 'yesterday'"),
        (["ts,value", *[f"{T0 + i},1" for i in range(9)]], {}, "give --interval-s"),
        (["ts,value", *[f"{T0 + i * i * i},1" for i in range(99)]], {}, "follow no interval"),
        (["ts,value", *[f"{T0 + i},1" for i in range(99)], f"{T0 + 10**6},1"], {}, "time stamps is wrong"),
        (["a,label", "1,0", "2,0"], {"label_column": "truth"}, "no column 'truth' among a, label"),
        (["label", "1", "2"], {}, "no value column"),
        (["a", "1", "2"], {"train": 2.0}, "at least one slot on either side"),
        (["a"], {}, "no rows"),
    ],
)
def test_errors_say_what_and_where(tmp_path: Path, lines: list[str], own: dict[str, object], said: str) -> None:
    with pytest.raises(AnomalyLLMError, match=r"cpu") as caught:
        _read(_csv(tmp_path, *lines), **own)
    assert said in str(caught.value)


def test_a_given_interval_needs_no_inference(tmp_path: Path) -> None:
    [series] = _read(_csv(tmp_path, "ts,value", *[f"{T0 + 30 * i},{i}" for i in range(9)]), interval_s=30.0)
    assert series.interval_ns == 30 * 10**9
    assert series.values_SC[:, 0].tolist() == list(range(9))


def test_text_is_no_value(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"value": ["a", "b"]}), path)
    with pytest.raises(SourceError, match="column 'value': string is not a number"):
        _read(path)


def test_cells_of_any_number_go_through_the_same_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files are put on the grid in pieces; the pieces leave no trace."""
    import trainer.backtest.gridding as gridding

    lines = _rows([*range(300), *range(20, 40), *range(300, 320), 310, 90])
    path = _csv(tmp_path, "ts,value,label", *lines)
    [whole] = _read(path)
    monkeypatch.setattr(gridding, "CELLS_A_CALL", 7)
    [cut] = _read(path)
    np.testing.assert_array_equal(whole.values_SC, cut.values_SC)


def test_a_person_knows_better_whether_it_counts(tmp_path: Path) -> None:
    rows = [f"{T0 + 10 * i},{i * i}" for i in range(60)]
    path = _csv(tmp_path, "ts,value", *rows)
    rising = np.arange(60.0) ** 2
    [gauge] = _read(path, kind="gauge")
    np.testing.assert_allclose(gauge.data_SC[:, 0], rising, rtol=1e-5, atol=1e-2)
    [counter] = _read(path, kind="counter")
    np.testing.assert_allclose(counter.data_SC[1:, 0], np.diff(rising), rtol=1e-5)
    assert gauge.timed
    assert gauge.at(0) == "2023-11-14T22:13:20.000Z"
    assert not _read(_csv(tmp_path, "value", *"1234"))[0].timed

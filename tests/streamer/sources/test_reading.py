"""CSV and JSON lines become batches; what cannot be read is named by its row."""

import io

import orjson
import pytest

from streamer.sources.reading import Row, RowError, batches, read_csv, read_json_lines


def _csv(text: str, **options: str) -> list[Row]:
    return list(read_csv(io.StringIO(text), "file.csv", **options))


def test_rows_that_name_their_stream() -> None:
    rows = _csv("stream,ts,value\na,1700000000,1\nb,1700000000,2.5\n")
    assert [(row.stream, row.ts, row.channels, row.values) for row in rows] == [
        ("a", 1700000000, ("value",), [1.0]),
        ("b", 1700000000, ("value",), [2.5]),
    ]
    assert rows[0].ns == 1_700_000_000_000_000_000


def test_several_value_columns_are_channels_of_the_named_stream() -> None:
    rows = _csv("time,x,y\n2026-01-31T12:00:00Z,1,\n", stream="plant")
    assert (rows[0].stream, rows[0].channels, rows[0].values) == ("plant", ("x", "y"), [1.0, None])


def test_without_a_name_every_column_is_a_stream() -> None:
    rows = _csv("x,Timestamp,y\n1,1700000000,nan\n", prefix="plant.")
    assert [(row.stream, row.values) for row in rows] == [("plant.x", [1.0])]


def test_the_time_column_can_be_named() -> None:
    assert _csv("when,value\n5.5,1\n", stream="s", time_column="when")[0].ns == 5_500_000_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "row 1: no time column"),
        ("ts,ts\n", "row 1: a column name is given twice"),
        ("ts\n1\n", "row 1: no value column"),
        ("ts,value\n1,1\n2\n", "row 3: 1 cells, the header has 2"),
        ("ts,value\n1,1\n\n2,x\n", "row 4, column 'value': 'x' is not a number"),
        ("ts,value\nyesterday,1\n", "row 2: ts 'yesterday' is not RFC 3339"),
        ("stream,ts,value\n,1,1\n", "row 2: the stream column is empty"),
    ],
)
def test_csv_errors_name_the_row(text: str, message: str) -> None:
    with pytest.raises(RowError, match=message):
        _csv(text)


def test_json_lines_are_points_or_batches() -> None:
    lines = [
        b'{"stream":"a","ts":1,"value":2}',
        b"",
        b'{"stream":"a","ts":"2026-01-31T12:00:00Z","values":{"x":1,"y":null}}',
        b'{"stream":"b","channels":["x"],"points":[[1,2],[2,3]]}',
    ]
    rows = list(read_json_lines(lines, "-"))
    assert [(row.stream, row.channels, row.values) for row in rows] == [
        ("a", ("value",), [2]),
        ("a", ("x", "y"), [1, None]),
        ("b", ("x",), [2]),
        ("b", ("x",), [3]),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "row 1: not JSON"),
        (b"[]", "row 1: expected an object"),
        (b'{"ts":1,"value":1}', "row 1: no stream"),
        (b'{"stream":"a","ts":1}', 'row 1: no "value"'),
        (b'{"stream":"a","value":1}', 'row 1: no "ts"'),
        (b'{"stream":"a","ts":1,"value":"x"}', "row 1: 'x' is not a number"),
        (b'{"stream":"a","ts":1,"value":true}', "row 1: 'True' is not a number"),
        (b'{"stream":"a","channels":["x"],"points":[[1]]}', r"row 1, point 0: expected \[ts, x\]"),
    ],
)
def test_json_errors_name_the_row(line: bytes, message: str) -> None:
    with pytest.raises(RowError, match=message):
        list(read_json_lines([line], "-"))


def test_batches_keep_order_and_size_and_split_where_channels_change() -> None:
    rows = [Row("a", ts, ts, ("value",), [float(ts)]) for ts in range(5)]
    rows.insert(2, Row("b", 9, 9, ("value",), [1.0]))
    rows.append(Row("a", 5, 5, ("x", "y"), [1.0, 2.0]))
    made = list(batches(rows, size=3))
    assert sorted((batch.stream, [point[0] for point in batch.points]) for batch in made) == [
        ("a", [0, 1, 2]),
        ("a", [3, 4]),
        ("a", [5]),
        ("b", [9]),
    ]
    last = next(batch for batch in made if len(batch.channels) == 2)
    assert orjson.loads(last.message()) == {"stream": "a", "channels": ["x", "y"], "points": [[5, 1.0, 2.0]]}
    assert last.newest_ns == 5

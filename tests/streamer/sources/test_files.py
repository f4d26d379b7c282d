"""Files as people have them: what is understood, what flows, what is set aside."""

import bz2
import gzip
import io
import lzma
from pathlib import Path
from typing import Any

import cramjam
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from streamer.errors import ConfigError, ContractError
from streamer.sources.files import Understood, opened, understood
from streamer.sources.layout import Hints
from streamer.sources.times import reader_of, zone_of
from tests.streamer.sources.payloads import NOW, NOW_MS, NOW_S, series, write_v1
from tests.streamer.sources.test_fuzz import GOOD

Points = dict[str, list[list[Any]]]


def read(raw: bytes, name: str = "plant.csv", **hints: Any) -> tuple[Points, Understood]:
    """Points a stream and channel set, and what was said."""
    out = understood(io.BytesIO(raw), name, Hints(**hints))
    points: Points = {}
    for batch in out.batches:
        points.setdefault("|".join((batch.stream, *batch.channels)), []).extend(batch.points)
    return points, out


def iso(day: str, clock: str) -> str:
    return f"{day}T{clock}.000000000Z"


def test_wide_a_stream_a_column() -> None:
    points, out = read(b"ts,cpu,mem\n1790000000,1,2\n1790000060,,3\n", prefix="web.")
    assert points == {"web.cpu|value": [[NOW_S, 1.0]], "web.mem|value": [[NOW_S, 2.0], [NOW_S + 60, 3.0]]}
    assert out.summary == [
        "CSV, cells parted by commas, 3 columns",
        "time: column 'ts', epoch numbers, unit by size",
        "wide: a stream a column: 'cpu', 'mem'",
    ]
    assert out.refused == 0


def test_one_stream_with_channels() -> None:
    points, _ = read(b"ts,cpu,mem\n1790000000,1,2\n1790000060,,3\n", stream="web")
    assert points == {"web|cpu|mem": [[NOW_S, 1.0, 2.0], [NOW_S + 60, None, 3.0]]}


def test_long_with_german_times_numbers_and_delimiter() -> None:
    raw = (
        "Zeit;Sensor;Wert\n31.01.2026 12:00;Büro;1.234,5\n31.01.2026 12:01;Büro;n/a\n01.02.2026 00:00;Hof;-2\n".encode()
    )
    points, out = read(raw, time_zone="Europe/Berlin")
    assert points == {
        "Büro|value": [[iso("2026-01-31", "11:00:00"), 1234.5], [iso("2026-01-31", "11:01:00"), None]],
        "Hof|value": [[iso("2026-01-31", "23:00:00"), -2.0]],
    }
    assert out.summary[1:] == [
        "time: column 'Zeit', day/month/year, read in Europe/Berlin",
        "long: column 'Sensor' says the stream; values: 'Wert'",
        "numbers: with a decimal comma",
    ]


def test_long_with_several_labels_and_values() -> None:
    raw = b"time,site,sensor_id,temp,hum\n2026-01-31T12:00:00Z,x,1,5,50\n2026-01-31T12:00:00Z,x,2,6,60\n"
    points, _ = read(raw)
    at = iso("2026-01-31", "12:00:00")
    assert points == {
        "plant{sensor_id=1,site=x}|temp|hum": [[at, 5.0, 50.0]],
        "plant{sensor_id=2,site=x}|temp|hum": [[at, 6.0, 60.0]],
    }
    assert set(read(raw, stream_columns=("sensor_id",))[0]) == {"1|temp|hum", "2|temp|hum"}
    assert set(read(raw, stream_columns=("sensor_id",), value_columns=("hum",))[0]) == {"1|value", "2|value"}


def test_influx_annotated_csv() -> None:
    raw = (
        b"#datatype,string,long,dateTime:RFC3339,double,string,string,string\n#group,false,false,false,false,true,true,true\n"
        b"#default,_result,,,,,,\n,result,table,_time,_value,_field,_measurement,host\n"
        b",,0,2026-01-31T00:00:00Z,1.5,usage,cpu,a\n,,1,2026-01-31T00:00:00Z,2.5,idle,cpu,a\n"
    )
    points, _ = read(raw)
    at = iso("2026-01-31", "00:00:00")
    assert points == {"cpu{host=a}|usage": [[at, 1.5]], "cpu{host=a}|idle": [[at, 2.5]]}


def test_no_header_and_date_apart_from_clock() -> None:
    points, _ = read(b"2026-01-31 12:00:00\t5\n2026-01-31 12:01:00\t6\n", "log.txt")
    assert list(points) == ["column2|value"]
    points, out = read(b"Date,Time,v\n2026-01-31,12:00:00,1\n2026-01-31,12:01:00,2\n")
    assert points == {"v|value": [[iso("2026-01-31", "12:00:00"), 1.0], [iso("2026-01-31", "12:01:00"), 2.0]]}
    assert "'Date' with 'Time'" in out.summary[1]


def test_remarks_are_left_out_and_said() -> None:
    rows = "".join(f"17900{at:05d},{at},remark number {at}\n" for at in range(40))
    points, out = read(b"ts,value,remark\n" + rows.encode())
    assert list(points) == ["value|value"]
    assert out.summary[-1] == "left out: 'remark'"


def test_bad_rows_are_told_one_by_one_and_the_others_flow() -> None:
    good = "".join(f"{NOW_S + at},{at},{at}\n" for at in range(300))
    raw = f"ts,a,b\n{good}noon,1,2\n{NOW_S},x,7\n{NOW_S},1\n{NOW_S},1e99,8\n{NOW_S + 300},300,300\n"
    points, out = read(raw.encode(), stream="s")
    assert len(points["s|a|b"]) == 301
    assert points["s|b"] == [[NOW_S, 7.0], [NOW_S, 8.0]]
    assert [bad.where for bad in out.bad] == [
        "row 302, column 'ts'",
        "row 303, column 'a'",
        "row 304",
        "row 305, column 'a'",
    ]
    assert all(bad.cure for bad in out.bad)


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, lambda raw: bytes(cramjam.zstd.compress(raw))]
)
def test_compressed(pack: Any) -> None:
    raw = pack(b"ts,value\n1790000000,1\n" + b"1790000060,2\n" * 2000)
    points, out = read(raw, "a.csv.gz")
    assert len(points["value|value"]) == 2001
    assert out.summary[0].startswith("compressed with")
    with pytest.raises(ConfigError, match="damaged"):
        read(raw[: len(raw) // 2], "a.csv.gz")


@pytest.mark.parametrize("form", GOOD)
def test_every_format_is_found_and_read_from_a_file(form: str, tmp_path: Path) -> None:
    raw = GOOD[form][-1]
    path = tmp_path / "dump"
    path.write_bytes(raw)
    with opened(path, Hints()) as out:
        assert out.form == form
        assert out.summary
        assert sum(len(batch.points) for batch in out.batches) >= 1
        assert out.series


def test_lines_of_a_large_file_come_in_blocks_and_bad_ones_are_found_again() -> None:
    line = b"cpu,host=a usage=1.5 1790000000\n"
    raw = line * 50_000 + b"bad line\n" + line * 10
    points, out = read(raw, "-")
    assert len(points["cpu{host=a}|usage"]) == 50_010
    assert [bad.where for bad in out.bad] == ["line 50001, field '?'"]


def test_labels_and_kinds_are_known_after_reading() -> None:
    raw = write_v1(series({"__name__": "x_total", "job": "a"}, (NOW_MS, 1.0)))
    _, out = read(raw, "dump.bin")
    assert out.series["x_total{job=a}"].kind == "counter"
    assert out.series["x_total{job=a}"].labels == {"job": "a"}


def test_json_lines_of_the_metrics_topic() -> None:
    points, out = read(orjson.dumps({"stream": "a", "ts": NOW_S, "value": 1}), "-")
    assert points == {"a|value": [[NOW_S, 1]]}
    assert out.form == "jsonl"


def test_parquet() -> None:
    table = pa.table(
        {
            "when": pa.array([NOW, None, NOW + 60 * 10**9], pa.timestamp("ns", "America/New_York")),
            "sensor": ["a", "a", "b"],
            "value": [1.5, 2.0, None],
            "on": [True, False, None],
        }
    )
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    points, out = read(buffer.getvalue(), "dump.parquet")
    at = iso("2026-09-21", "14:13:20")
    assert points == {"a|value|on": [[at, 1.5, 1.0]], "b|value|on": [[iso("2026-09-21", "14:14:20"), None, None]]}
    assert out.summary[0] == "Parquet, 3 rows, 4 columns"
    assert out.refused == 1
    with pytest.raises(ConfigError, match="Parquet"):
        read(buffer.getvalue()[:100], "dump.parquet")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"hello\nworld\n", "no time column"),
        (b"ts,name\n1790000000,a\n", "no column of numbers"),
        (b"date,v\n01/02/2026,1\n02/03/2026,2\n", "--time-format"),
        (b"when,v\nlast week,1\n", "no time column"),
        (b"<xml/>", "XML"),
        (b"Obj\x01abc", "Avro"),
    ],
)
def test_what_cannot_be_understood_says_what_to_do(raw: bytes, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(raw, "-")


@pytest.mark.parametrize(
    "hints",
    [
        {"time_column": "x"},
        {"stream_columns": ("x",)},
        {"value_columns": ("x",)},
        {"time_zone": "Mars/X"},
        {"form": "x"},
    ],
)
def test_hints_that_do_not_fit(hints: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        read(b"ts,value\n1790000000,1\n", **hints)


@pytest.mark.parametrize(
    ("cell", "zone", "form", "ns"),
    [
        ("2026-01-31T12:00:00+0100", "", "", 1769857200),
        ("2026-01-31 12:00", "+01:00", "", 1769857200),
        ("2026-01-31 12:00:00 UTC", "Asia/Tokyo", "", 1769860800),
        ("2026-01-31 12:00:00 +01:00", "", "", 1769857200),
        ("31.01.26 12:00", "Europe/Berlin", "", 1769857200),
        ("1/31/2026 12:00:00 PM", "", "", 1769860800),
        ("2026/01/31 12:00:00", "", "", 1769860800),
        ("1769860800.0", "Asia/Tokyo", "", 1769860800),
        ("1769860800000", "", "", 1769860800),
        ("Jan 31 2026 12h", "", "%b %d %Y %Hh", 1769860800),
    ],
)
def test_times(cell: str, zone: str, form: str, ns: int) -> None:
    read_time, summary = reader_of([cell], zone, form)
    assert read_time(cell) == ns * 10**9
    assert summary


def test_the_hour_that_occurs_twice_is_read_twice() -> None:
    day = "2026-10-25"
    cells = [f"{day} {clock}" for clock in ("01:59", "02:00", "02:30", "02:59", "02:00", "02:30", "02:59", "03:00")]
    read_time, _ = reader_of(cells, "Europe/Berlin")
    times = [read_time(cell) for cell in cells]
    assert times == sorted(times)
    assert len(set(times)) == len(times)


@pytest.mark.parametrize("cell", ["2026-13-01", "2026-01-31 25:00", "1969-01-01", "x", ""])
def test_a_single_bad_time_is_the_contract_error(cell: str) -> None:
    read_time, _ = reader_of(["2026-01-31 12:00:00"])
    with pytest.raises(ContractError):
        read_time(cell)


def test_zones() -> None:
    assert zone_of("Europe/Berlin")
    for name in ("+25:00", "../etc/passwd", "x", "+"):
        with pytest.raises(ConfigError):
            zone_of(name)


@given(st.binary(max_size=300) | st.text(st.sampled_from('ts,;\t\n"01-:. #ax'), max_size=120).map(str.encode))
def test_any_bytes_are_read_or_refused_with_an_error_of_ours(raw: bytes) -> None:
    try:
        points, out = read(raw, "x.csv")
    except ConfigError:
        return
    assert points or out.refused or raw
    assert out.refused == len(out.bad)

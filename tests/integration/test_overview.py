"""How everything stands, read from real servers at work."""

import asyncio
import io
import os
import sys

import orjson
import pytest
import redis.asyncio
from rich.console import Console

from streamer.cli.status import render
from streamer.host.fleet import worker_env
from streamer.kafka.client import make_producer
from streamer.kafka.tables import TableReader
from streamer.overview.query import StreamQuery
from streamer.overview.reading import Overview, OverviewReader, reading
from streamer.placement import home_partition
from streamer.settings import CommonSettings
from testkit.detecting import PAST, STEP_MS, normal, ready
from testkit.serving import until

pytestmark = pytest.mark.kafka


def text_of(read: Overview) -> str:
    """The screen as text of 100 columns."""
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render(read))
    return console.export_text()


async def command(settings: CommonSettings, *arguments: str) -> tuple[int, str, str]:
    """Exit status, output and errors of a command as a user runs it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streamer.cli", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **worker_env(settings)},
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_without_workers_every_partition_lacks_a_reader_and_what_waits_is_counted(
    settings: CommonSettings,
) -> None:
    producer = await make_producer(settings)
    for number in range(5):
        await producer.send_and_wait(
            settings.topic("metrics"), b"x", partition=number % 2, timestamp_ms=1_000_000_000_000
        )
    await producer.stop()
    async with reading(settings) as reader:
        read = await reader.read()
        again = await reader.read()
    assert read.troubles == []
    assert read.unread == {room: [0, 1, 2, 3] for room in ("streamer", "detector", "trainer")}
    lags = {lag.stage: lag for lag in read.lags}
    assert [part.records for part in lags["streamer"].partitions] == [3, 2, 0, 0]
    assert lags["streamer"].seconds > 1e8
    assert (lags["detector"].records, lags["detector"].seconds, lags["detector"].unknown) == (0, 0.0, [])
    assert [lag.records for lag in again.lags] == [lag.records for lag in read.lags]
    assert not read.well
    assert read.answers
    assert "0, 1, 2, 3" in text_of(read)


async def test_a_server_that_is_away_is_part_of_the_picture(settings: CommonSettings) -> None:
    away = settings.model_copy(update={"bootstrap": "127.0.0.1:1", "redis_url": "redis://:open-sesame@127.0.0.1:1/0"})
    async with reading(away) as reader:
        read = await reader.read()
    assert not read.answers
    assert len(read.troubles) == 2
    shown = text_of(read)
    assert "does not answer" in shown
    assert "open-sesame" not in shown


@pytest.mark.slow(12)  # three workers and a student
async def test_streams_incidents_and_lags_of_workers_at_work(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    given = {"interval_s": STEP_MS / 1000, "labels": {"room": "lab"}}
    async with ready(settings, redis_client, ["a", "b"], given=given) as run:
        risen = normal(PAST, 60)
        risen[40:] += 30.0
        await run.live("a", PAST, risen, piece=20)
        await run.live("b", PAST, normal(PAST, 60), piece=20)
        await run.producer.send_and_wait(settings.topic("metrics"), b"not json", partition=0)
        await run.producer.send_and_wait(settings.topic("streams"), b'{"alerts_per_week": 2}', key=b"c")
        async with reading(settings) as reader:

            async def opened() -> bool:
                await reader.follow()
                rows, _ = await reader.streams(StreamQuery(alerting=True))
                return bool(rows) and "json" in reader.dead_letters.by_reason and bool(reader.incidents.events)

            await until(opened)
            await _check_streams(reader, settings, run.version)
            await _check_commands(settings)
            await _check_story(settings, next(iter(reader.incidents.events)))
            await until(lambda: _quiet(reader))
            read = await reader.read()
    assert read.troubles == []
    assert read.unread == {"streamer": [], "detector": [], "trainer": [0, 1, 2, 3]}
    assert {worker.room for worker in read.workers} == {"streamer", "detector"}
    assert read.streams is not None
    assert (read.streams.total, read.streams.by_state) == (3, {"warming": 2, "unseen": 1})
    assert sum(read.streams.open_by_severity.values()) == 1
    assert read.dead_letters == {"json": 1}
    assert {model.version for model in read.models} == {run.version}
    shown = text_of(read)
    assert "warming 2" in shown
    assert "json 1" in shown
    assert len(shown.splitlines()) <= 40
    assert orjson.loads(orjson.dumps(read))["streams"]["total"] == 3


async def _check_commands(settings: CommonSettings) -> None:
    code, out, err = await command(settings, "streams", "list", "--sort", "score", "--limit", "2")
    assert (code, err) == (0, "")
    print(out)
    assert "1 to 2 of 3 streams" in out
    assert "critical" in out
    code, out, err = await command(settings, "streams", "list", "[ac]", "--json")
    told = {row["stream"]: row for row in map(orjson.loads, out.splitlines())}
    assert set(told) == {"a", "c"}
    assert told["a"]["open"][0]["kind"] == "anomaly"
    assert told["c"]["settings"] == {"alerts_per_week": 2.0}
    code, out, err = await command(settings, "streams", "show", "a", "--last", "30s")
    print(out, err)
    assert (code, err) == (0, "")
    for shown in ("█", "░", "surprise", "a rose to", "warming: student of 600 slots"):
        assert shown in out
    code, _, err = await command(settings, "streams", "show", "a", "--channel", "x")
    assert (code, "has no channel x; it has value" in err) == (1, True)
    code, _, err = await command(settings, "streams", "show", "nobody")
    assert (code, "there is no stream nobody" in err) == (1, True)


async def _check_story(settings: CommonSettings, incident_id: str) -> None:
    code, out, err = await command(settings, "alerts", "show", incident_id[:8])
    print(out)
    assert (code, err) == (0, "")
    for shown in ("█", "░", "a rose to", "widths of the band outside", "room=lab", f"feedback a {incident_id}"):
        assert shown in out, shown


async def _quiet(reader: OverviewReader) -> bool:
    read = await reader.read()
    return len(read.lags) == 3 and not any(lag.records for lag in read.lags if lag.stage != "trainer")


async def _check_streams(reader: OverviewReader, settings: CommonSettings, version: str) -> None:
    rows, total = await reader.streams(StreamQuery())
    assert ([row.name for row in rows], total) == (["a", "b", "c"], 3)
    a, b, c = rows
    assert (a.state, a.model, a.interval_s, a.labels) == ("warming", version, STEP_MS / 1000, {"room": "lab"})
    assert a.partition == home_partition("a", settings.partitions)
    assert a.score is not None
    assert b.score is not None
    assert a.score > b.score
    assert (a.worst, b.worst) != (None, None)
    assert b.open == []
    assert (c.state, c.dial, c.points) == ("unseen", "2/week", 0)
    [said] = reader.incidents.newest()
    assert a.open[0].incident_id == said.data.incident_id
    for query, names in (
        (StreamQuery(sort="score"), ["a", "b", "c"]),
        (StreamQuery(sort="score", reverse=True), ["c", "b", "a"]),
        (StreamQuery(glob="[bc]"), ["b", "c"]),
        (StreamQuery(labels={"room": "lab"}), ["a", "b"]),
        (StreamQuery(states=frozenset({"unseen"})), ["c"]),
        (StreamQuery(alerting=True), ["a"]),
        (StreamQuery(limit=1, offset=1), ["b"]),
        (StreamQuery(sort="incident", limit=1), ["a"]),
    ):
        assert [row.name for row in (await reader.streams(query))[0]] == names, query


async def test_status_is_a_screen_or_an_object(settings: CommonSettings) -> None:
    code, out, err = await command(settings, "status")
    assert (code, err) == (0, "")
    assert "0, 1, 2, 3" in out, out
    code, out, err = await command(settings, "status", "--json")
    assert (code, err) == (0, "")
    told = orjson.loads(out)
    assert told["unread"]["streamer"] == [0, 1, 2, 3]
    assert told["streams"]["total"] == 0
    away = settings.model_copy(update={"bootstrap": "127.0.0.1:1"})
    assert (await command(away, "status"))[0] == 1


async def test_a_table_that_is_started_again_leaves_no_connection(settings: CommonSettings) -> None:
    table = TableReader(settings, "streams")
    await table.start()
    before = table._consumer
    assert before is not None
    await table.start()
    assert before._closed
    assert table._consumer is not before
    await table.stop()

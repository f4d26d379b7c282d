"""The commands that talk to servers, as a user runs them: as processes, against broker and Redis."""

import asyncio
import gzip
import time
from pathlib import Path

import orjson
import pytest

from streamer.contracts import AnomalyEvent, ChannelShare, Feedback, Incident, StreamSettings
from streamer.host.embedded import EmbeddedStack, TansuBroker
from streamer.kafka.client import header, make_producer
from streamer.kafka.topics import provision
from streamer.placement import home_partition
from streamer.settings import CommonSettings
from testkit.processes import command, listening, run_command
from testkit.serving import PATIENCE_S, read_all, until
from tests.streamer.sources.payloads import series, write_v1

pytestmark = pytest.mark.kafka


async def test_publish_sends_old_points_as_history_to_their_home_partition(
    settings: CommonSettings, tmp_path: Path
) -> None:
    now = time.time()
    old, fresh = tmp_path / "old.csv", tmp_path / "fresh.jsonl"
    old.write_text("stream,ts,value\n" + "".join(f"a{i % 2},{1_600_000_000 + i},{i}\n" for i in range(250)))
    fresh.write_bytes(orjson.dumps({"stream": "b", "ts": now, "values": {"x": 1, "y": None}}) + b"\n")
    code, out, err = await run_command(settings, "publish", str(old), str(fresh))
    assert (code, err.strip()) == (0, "")
    assert f"published 251 points of 3 streams to {settings.topic('metrics')}" in out
    records = await read_all(settings, "metrics")
    points: dict[str, int] = {}
    for record in records:
        message = orjson.loads(record.value)
        stream = message["stream"]
        points[stream] = points.get(stream, 0) + len(message["points"])
        assert record.key == stream.encode()
        assert record.partition == home_partition(stream, settings.partitions)
        assert header(record, "mode") == (None if stream == "b" else "history")
    assert points == {"a0": 125, "a1": 125, "b": 1}


async def test_publish_reads_standard_input_and_names_a_bad_row(settings: CommonSettings) -> None:
    lines = b'{"stream":"s","ts":1,"value":1}\n{"stream":"s","ts":2,"value":"x"}\n'
    code, out, err = await run_command(settings, "publish", "--history", "no", stdin=lines)
    assert (code, "published" in out) == (1, False)
    assert "stdin, row 2: 'x' is not a number" in err
    code, out, _ = await run_command(settings, "publish", "--stream", "s", stdin=b"ts,value\n1700000000,1\n")
    assert (code, "published 1 points of 1 streams" in out) == (0, True)


async def test_publish_reads_what_other_tools_write(settings: CommonSettings, tmp_path: Path) -> None:
    scrape, table = tmp_path / "scrape", tmp_path / "plant.csv.gz"
    scrape.write_bytes(write_v1(series({"__name__": "x_total", "job": "a"}, (1_790_000_000_000, 1.0))))
    table.write_bytes(
        gzip.compress("Zeit;Sensor;Wert\n31.01.2026 12:00;Büro;1,5\n31.01.2026 12:01;Büro;kaputt\n".encode())
    )
    args = ("publish", str(scrape), str(table), "--time-zone", "Europe/Berlin")
    code, out, _ = await run_command(settings, *args, "--dry-run")
    assert code == 0
    assert "x_total{job=a}" in out
    assert "column 'Sensor' says the stream" in out
    assert await read_all(settings, "metrics") == []
    code, out, err = await run_command(settings, *args)
    assert code == 1
    assert "published 2 points of 2 streams" in out
    assert "row 3, column 'Wert': 'kaputt' is no number" in err
    points = {
        orjson.loads(r.value)["stream"]: orjson.loads(r.value)["points"] for r in await read_all(settings, "metrics")
    }
    assert points["x_total{job=a}"] == [[1_790_000_000_000_000_000, 1.0]]
    assert points["Büro"] == [["2026-01-31T11:00:00.000000000Z", 1.5]]
    told = {r.key: orjson.loads(r.value) for r in await read_all(settings, "streams")}
    assert told == {b"x_total{job=a}": {"labels": {"job": "a"}, "kind": "counter"}}


async def test_publish_says_which_file_is_missing(settings: CommonSettings) -> None:
    code, _, err = await run_command(settings, "publish", "nowhere.csv")
    assert (code, err) == (1, "error: nowhere.csv: no such file\n")


async def test_streams_are_set_listed_and_deleted(settings: CommonSettings) -> None:
    code, out, err = await run_command(
        settings, "streams", "set", "s", "--interval-s", "0.1", "--labels", "team=core,env=prod"
    )
    assert (code, err) == (0, "")
    code, out, _ = await run_command(settings, "streams", "set", "s", "--floor-abs", "5", "--channels", "x,y")
    kept = StreamSettings(interval_s=0.1, labels={"team": "core", "env": "prod"}, floor_abs=5, channels=["x", "y"])
    last = (await read_all(settings, "streams"))[-1]
    assert (last.key, StreamSettings.model_validate_json(last.value)) == (b"s", kept)
    code, out, err = await run_command(settings, "streams", "list", "--json")
    assert (code, err) == (0, "")
    assert orjson.loads(out)["settings"]["floor_abs"] == 5
    code, out, _ = await run_command(settings, "streams", "delete", "s")
    assert (await read_all(settings, "streams"))[-1].value is None
    assert (await run_command(settings, "streams", "list", "--json"))[1] == ""


async def test_a_refused_stream_setting_names_its_flag(settings: CommonSettings) -> None:
    code, _, err = await run_command(settings, "streams", "set", "s", "--interval-s", "0")
    assert code == 1
    assert "--interval-s: Input should be greater than 0" in err


async def test_the_alert_dial_is_set_in_slots_or_in_time(settings: CommonSettings) -> None:
    async def now() -> dict[str, object]:
        value: dict[str, object] = orjson.loads((await read_all(settings, "streams"))[-1].value)
        return value

    await run_command(settings, "streams", "set", "s", "--alert-budget", "2", "--floor-abs", "5")
    assert await now() == {"alert_budget": 2, "floor_abs": 5}
    code, _, err = await run_command(settings, "streams", "set", "s", "--alerts-per-week", "1")
    assert (code, err) == (0, "")
    assert await now() == {"alerts_per_week": 1, "floor_abs": 5}
    code, _, err = await run_command(settings, "streams", "set", "s", "--alerts-per-week", "1", "--alert-budget", "2")
    assert code == 1
    assert "drop alert_budget, or alerts_per_week" in err
    assert "--:" not in err


async def test_topics_are_provisioned_once_and_described(settings: CommonSettings) -> None:
    other = settings.model_copy(update={"topic_prefix": settings.topic_prefix + "b."})
    assert (await run_command(other, "topics", "provision"))[1].count("created") == 8
    assert (await run_command(other, "topics", "provision"))[1] == "all topics exist\n"
    code, out, _ = await run_command(other, "topics", "describe")
    assert code == 0
    assert f"{other.topic_prefix}metrics" in out
    rows = {line.split()[0].removeprefix(other.topic_prefix): line.split() for line in out.splitlines()[1:]}
    assert rows["metrics"][-2:] == ["4", "0"]
    assert rows["models"][-3:] == ["table", "1", "0"]


@pytest.mark.slow(7)  # nine processes
async def test_alerts_are_shown_with_their_reason_or_as_they_are(settings: CommonSettings) -> None:
    producer = await make_producer(settings)
    for stream in ("plant.a", "plant.b"):
        event = _event(stream)
        await producer.send(
            settings.topic("anomalies"),
            event.model_dump_json().encode(),
            key=stream.encode(),
            partition=home_partition(stream, settings.partitions),
        )
    await producer.stop()
    once = ("alerts", "--since", "5m", "--no-follow")
    code, out, err = await run_command(settings, *once, "--stream", "*.a")
    assert (code, err) == (0, "")
    assert "plant.a" in out
    assert "value is far above" in out
    assert len(out.splitlines()) == 2
    assert "plant.b" not in out
    code, out, err = await run_command(
        settings, *once, "--severity", "critical", "--state", "open", "--label", "room=lab"
    )
    assert (code, out, err) == (0, "", "")
    code, out, _ = await run_command(settings, *once, "--severity", "warning", "--state", "open")
    assert [line.split()[3] for line in out.splitlines()[::2]] == ["plant.a", "plant.b"]
    assert "there is no state closed" in (await run_command(settings, *once, "--state", "closed"))[2]
    code, out, err = await run_command(settings, "alerts", "show", "i-plant.a:0", "--since", "7d")
    assert (code, err) == (0, "")
    for told in (
        "value is far above",
        "surprise 7.50",
        "windows of 16 slots",
        "no picture",
        "feedback plant.a i-plant.a",
    ):
        assert told in out, told
    assert "is the beginning of 2 incidents" in (await run_command(settings, "alerts", "show", "i-"))[2]
    assert "no incident x" in (await run_command(settings, "alerts", "show", "x"))[2]
    code, out, _ = await run_command(settings, *once, "--json")
    assert {AnomalyEvent.model_validate_json(line).subject for line in out.splitlines()} == {"plant.a", "plant.b"}
    assert (await run_command(settings, "alerts", "--since", "now", "--no-follow"))[1] == ""
    assert "--since" in (await run_command(settings, "alerts", "--since", "soon"))[2]


async def test_feedback_names_the_incident_as_an_alert_shows_it(settings: CommonSettings) -> None:
    code, out, err = await run_command(settings, "feedback", "web.cpu", "0f-1:3", "false_alarm", "--note", "a [test]")
    assert (code, err) == (0, "web.cpu has no incident 0f-1 among the alerts of 30 days: sent as it is\n")
    assert out.startswith("web.cpu: 0f-1 was false_alarm: it ends")
    [record] = await read_all(settings, "feedback")
    said = Feedback.model_validate_json(record.value)
    assert (record.key, said.stream, said.incident_id) == (b"web.cpu", "web.cpu", "0f-1")
    assert (said.verdict, said.note) == ("false_alarm", "a [test]")
    code, _, err = await run_command(settings, "feedback", "web.cpu", "0f-1", "wrong")
    assert (code, "maintenance" in err) == (2, True)
    code, _, err = await run_command(settings, "feedback", "", "0f-1", "true")
    assert code == 1
    assert err.startswith("error: stream: ")


async def test_feedback_takes_the_beginning_of_an_id_as_alerts_shows_it(settings: CommonSettings) -> None:
    producer = await make_producer(settings)
    for stream, number in (("a", 1), ("a", 2), ("b", 3)):
        event = _event(stream)
        event = event.model_copy(update={"data": event.data.model_copy(update={"incident_id": f"0f-{number}"})})
        await producer.send(settings.topic("anomalies"), event.model_dump_json().encode(), key=stream.encode())
    await producer.stop()
    assert "2 incidents: 0f-1, 0f-2" in (await run_command(settings, "feedback", "a", "0f", "true"))[2]
    code, out, err = await run_command(settings, "feedback", "b", "0f", "true")
    assert (code, err) == (0, "")
    assert out.startswith("b: 0f-3 was true")
    [record] = await read_all(settings, "feedback")
    assert Feedback.model_validate_json(record.value).incident_id == "0f-3"


COMMANDS = (
    ("topics", "describe"), ("feedback", "a", "i", "true"), ("alerts",), ("publish",), ("models", "list"),
    ("streams", "show", "a"), ("alerts", "show", "i"),
)  # fmt: skip


async def _gives_up(settings: CommonSettings, *arguments: str) -> None:
    """It ends by itself with one line: what does not answer."""
    code, out, err = await run_command(settings, *arguments, env={"ANOMALYLLM_TIMEOUT": "1"})
    assert code == 1, arguments
    [line] = (out + err).splitlines()
    assert f"Kafka at {settings.bootstrap} does not answer" in line, (arguments, line)


@pytest.mark.slow(5)
async def test_commands_give_up_on_a_kafka_that_is_away(settings: CommonSettings) -> None:
    away = settings.model_copy(update={"bootstrap": "127.0.0.1:1"})
    await asyncio.gather(*(_gives_up(away, *arguments) for arguments in COMMANDS))
    async with listening() as port:  # it accepts, and never answers
        await _gives_up(settings.model_copy(update={"bootstrap": f"127.0.0.1:{port}"}), "streams", "list")


async def test_followed_alerts_end_when_kafka_goes(tmp_path: Path, stack: EmbeddedStack) -> None:
    """A consumer whose broker has gone hears nothing, like one without alerts."""
    broker = TansuBroker(tmp_path / "broker")
    await broker.start()
    settings = CommonSettings(bootstrap=broker.bootstrap, redis_url=stack.redis_url, state_dir=tmp_path)
    await provision(settings)
    async with command(tmp_path / "alerts", settings, "alerts", "--json", env={"ANOMALYLLM_TIMEOUT": "2"}) as process:
        producer = await make_producer(settings)

        async def heard() -> bool:  # it begins at the end, wherever that is by then
            await producer.send_and_wait("anomalies", _event("a").model_dump_json().encode(), key=b"a", partition=0)
            return "i-a:0" in process.output

        await until(heard)
        broker.kill()
        await producer.stop()
        async with asyncio.timeout(PATIENCE_S):
            assert await process.process.wait() == 1
    assert "does not answer" in process.output.splitlines()[-1]
    assert "Traceback" not in process.output


def _event(stream: str) -> AnomalyEvent:
    incident = Incident(
        incident_id="i-" + stream,
        revision=0,
        state="open",
        stream=stream,
        severity="critical",
        started_at="2026-01-31T12:00:00Z",
        updated_at="2026-01-31T12:00:01Z",
        grid_version=1,
        anchor_slot=1,
        slot=2,
        slots=1,
        score=7.5,
        tail_probability=3e-8,
        threshold=4.0,
        channels=[ChannelShare(channel="value", share=1.0, value=9.0, expected=1.5, low=1.0, high=2.0)],
        view="prototype",
        scale=16,
        depth=0,
        reason="value is far above what it was",
    )
    return AnomalyEvent(
        id=f"{incident.incident_id}:0",
        source="/test",
        type="anomalyllm.incident.open",
        subject=stream,
        time=incident.updated_at,
        data=incident,
    )

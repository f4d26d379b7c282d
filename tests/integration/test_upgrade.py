"""What earlier versions have stored, between today's workers: windows, states, model records and artefacts of tests/fixtures.

Each folder is named after the commit whose `anomalyllm up` has written it (docs/how-to/upgrade.md): `wave` with an open
incident, `two` of two channels, a counter `count`, all with students of 1 400 slots of a minute, and `early`, whose interval
was not known yet.
"""

import base64
import gzip
import json
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import redis.asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from detector.incidents.record import StreamState, read_states
from detector.live.worker import DetectorWorker
from detector.model.artefact import FORMAT
from streamer.contracts import TOPICS, AnomalyEvent, ModelRecord, TrainingRequest
from streamer.kafka.cluster import cluster_id
from streamer.kafka.topics import provision
from streamer.placement import SHARDS
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers, read_windows
from testkit.detecting import announce, detecting, detector_settings, events, in_force
from testkit.serving import producing, read_all, running, until

FIXTURES = Path(__file__).parents[1] / "fixtures"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir() if path.is_dir() and not path.name.startswith("_"))
# Artefacts of these have another format: their streams are fitted again.
REFUSED = {"979f7fd"}
STREAMS = ["count", "two", "wave"]


@dataclass
class Upgraded:
    """Today's workers over what an earlier version has stored."""

    version: str
    body: dict[str, Any]
    settings: CommonSettings
    producer: AIOKafkaProducer
    client: redis.asyncio.Redis
    detector: DetectorWorker

    @property
    def next_slot(self) -> int:
        """The first that the earlier version has not seen, counted from the beginning of its streams."""
        return int(self.body["made"]["history"] + self.body["made"]["live"])

    def ts(self, slot: int) -> int:
        """Seconds since 1970."""
        return int(self.body["made"]["begin_s"] + slot * self.body["made"]["step_s"])

    def told_before(self) -> AnomalyEvent:
        """The newest event that the earlier version has published: `wave` is outside."""
        return AnomalyEvent.model_validate_json(_records(self.body, "anomalies")[-1][1] or b"")

    def students(self) -> dict[str, str]:
        """Versions in force by stream."""
        newest = {key: value for key, value, _ in _records(self.body, "models") if value}
        made = [ModelRecord.model_validate_json(value) for value in newest.values()]
        return {record.stream: record.promoted.version for record in made if record.promoted}

    async def live(self, stream: str, channels: list[str], rows: np.ndarray) -> None:
        """Points from `next_slot` on, ten a record; rows (S, C)."""
        for at in range(0, len(rows), 10):
            points = [[self.ts(self.next_slot + at + k), *map(float, row)] for k, row in enumerate(rows[at : at + 10])]
            body = {"stream": stream, "channels": channels, "points": points}
            await self.send(stream, body, points[-1][0])

    async def send(self, stream: str, body: dict[str, Any], at_s: float) -> None:
        """A record of `metrics`, written when its newest point was measured."""
        topic, stamp = self.settings.topic("metrics"), round(at_s * 1000)
        await self.producer.send_and_wait(topic, orjson.dumps(body), key=stream.encode(), timestamp_ms=stamp)

    async def judged(self, stream: str, slots: int) -> bool:
        """Whether so many slots more than before have been judged."""
        raw = await self.client.get(Keys(self.settings.namespace).stream_state(_shard(stream, self.body), stream))
        before = base64.b64decode(self.body["redis"][f"al:{{{_shard(stream, self.body)}}}:verdict:{stream}"][1])
        return bool(raw and orjson.loads(raw)["scored"] >= orjson.loads(before)["scored"] + slots)


def _shard(stream: str, body: dict[str, Any]) -> int:
    (key,) = [key for key in body["redis"] if key.endswith(f":head:{stream}")]
    return int(key.partition("{")[2].partition("}")[0])


def _records(body: dict[str, Any], topic: str) -> list[tuple[bytes, bytes | None, list[tuple[str, bytes]]]]:
    """Key, value and headers of a topic's records."""
    return [
        (base64.b64decode(key), value and base64.b64decode(value), [(name, base64.b64decode(v)) for name, v in headers])
        for key, value, headers in body["topics"][topic]
    ]


async def _restore(body: dict[str, Any], settings: CommonSettings, client: redis.asyncio.Redis) -> None:
    """Into Redis as it was, but for the names of this test and its cluster; offset 0 of both topics is applied."""
    cluster = (await cluster_id(settings)).encode()
    for key, (kind, value) in body["redis"].items():
        name = key.replace("al:", f"{settings.namespace}:", 1)
        for topic in ("metrics", "windows"):
            name = name.replace(f":off:{topic}:", f":off:{settings.topic(topic)}:")
            name = name.replace(f":epoch:{topic}:", f":epoch:{settings.topic(topic)}:")
        if kind == "string":
            await client.set(name, base64.b64decode(value))
        elif kind == "set":
            await client.sadd(name, *map(base64.b64decode, value))
        elif kind == "list":
            await client.rpush(name, *map(base64.b64decode, value))
        else:
            mapping: dict[Any, Any] = {base64.b64decode(field): base64.b64decode(each) for field, each in value.items()}
            mapping |= {b"cluster": cluster, b"offset": b"0"}
            for shard in range(SHARDS):  # the fixture has those of its streams alone
                await client.hset(name.replace(name[name.index("{") : name.index("}")], f"{{{shard}"), mapping=mapping)


@asynccontextmanager
async def upgraded(version: str, settings: CommonSettings, client: redis.asyncio.Redis) -> AsyncIterator[Upgraded]:
    """Restore a fixture, and start a streamer and a detector."""
    body = json.loads(gzip.decompress((FIXTURES / version / "stored.json.gz").read_bytes()))
    own = settings.model_copy(update={"partitions": 1, "topic_prefix": f"u{settings.topic_prefix}"})
    await provision(own)
    await _restore(body, own, client)
    Path(own.store_uri()).mkdir(parents=True)
    for file in (FIXTURES / version).glob("*.safetensors"):
        shutil.copy(file, own.store_uri())
    try:
        async with producing(own) as producer:
            await producer.send_and_wait(own.topic("metrics"), b'{"stream":"wave","ts":1,"value":0}', key=b"wave")
            for topic in ("streams", "models", "anomalies"):
                for key, value, headers in _records(body, topic):
                    await producer.send_and_wait(own.topic(topic), value, key=key, headers=headers)
            for key, value, headers in _records(body, "windows")[-1:]:
                await producer.send_and_wait(own.topic("windows"), value, key=key or None, headers=headers)
            async with running(own), detecting(detector_settings(own)) as detector:
                yield Upgraded(version, body, own, producer, client, detector)
    finally:
        admin = AIOKafkaAdminClient(bootstrap_servers=own.bootstrap)
        await admin.start()
        await admin.delete_topics([own.topic(topic) for topic in TOPICS])
        await admin.close()


def wave(first: int, count: int) -> np.ndarray:
    """As the fixtures' streams were made, with other noise."""
    slots = np.arange(first, first + count)
    return np.asarray(50 + 10 * np.sin(2 * np.pi * slots / 48) + np.random.default_rng(9).normal(0, 1, count))


@pytest.mark.parametrize("version", VERSIONS)
async def test_streams_go_on_after_an_upgrade(
    version: str, settings: CommonSettings, redis_client: redis.asyncio.Redis, capfd: pytest.CaptureFixture[str]
) -> None:
    """The open incident ends under its id, students go on or are refused with what to do, windows keep their past."""
    async with upgraded(version, settings, redis_client) as run:
        before = await read_windows(redis_client, Keys(run.settings.namespace), STREAMS)
        count = 150
        usual = wave(run.next_slot, count)
        await run.live("wave", ["value"], usual[:, None])
        outside = np.stack([usual, -usual / 3], axis=1)
        outside[130:] += [60.0, -20.0]
        await run.live("two", ["in", "out"], outside)
        raw = 73210.26843556654 + np.cumsum(usual)  # where the fixtures' counter stood
        await run.live("count", ["value"], raw[:, None])
        for k in range(40):
            at = run.ts(run.next_slot) + 37 * k
            await run.send("early", {"stream": "early", "ts": at, "value": k % 7}, at)
        for stream in STREAMS:
            await until(lambda stream=stream: run.judged(stream, count))  # type: ignore[misc]

        told = await events(run.settings)
        open_before = run.told_before()
        assert [e.data.state for e in told if e.data.incident_id == open_before.data.incident_id][-1] == "resolved"
        assert {e.subject for e in told if e.data.kind == "anomaly"} == {"wave", "two"}, "a counter goes on counting"
        (opened,) = [e for e in told if e.subject == "two" and e.data.state == "open"]
        judging = {stream: ref.version for stream in STREAMS if (ref := run.detector.bank.model_of(stream))}
        asked = [TrainingRequest.model_validate_json(r.value or b"") for r in await read_all(run.settings, "training")]
        if version in REFUSED:
            assert judging == {}
            assert opened.data.warming
            assert {(r.stream, r.reason) for r in asked} == {(stream, "cold") for stream in STREAMS}, (
                "each of them once"
            )
            assert len(asked) == len(STREAMS)
            fitted = await announce(run.producer, detector_settings(run.settings), redis_client, STREAMS)
            await until(lambda: in_force(run.detector, STREAMS, fitted))
        else:
            assert judging == run.students()
            assert opened.data.model_version == run.students()["two"]

        after = await read_windows(redis_client, Keys(run.settings.namespace), [*STREAMS, "early"])
        for stream in STREAMS:
            assert after[stream].header.lo == before[stream].header.lo
            assert after[stream].header.hi == before[stream].header.hi + count
            past = len(before[stream].values_SC)
            np.testing.assert_array_equal(after[stream].values_SC[:past], before[stream].values_SC)
        headers = await read_headers(redis_client, Keys(run.settings.namespace), ["early"])
        assert headers["early"].interval_ns == 37 * 10**9
        assert not await read_all(run.settings, "dead-letters")
    lines = [line for line in capfd.readouterr().out.splitlines() if "fit its streams again" in line]
    assert bool(lines) == (version in REFUSED)


def test_the_page_names_the_format_of_artefacts() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "upgrade.md"
    assert f"| format {FORMAT}, in the artefact |" in page.read_text()


async def test_a_state_that_cannot_be_read_is_told_and_begun_anew(
    redis_client: redis.asyncio.Redis, capfd: pytest.CaptureFixture[str]
) -> None:
    keys, good = Keys(f"n{uuid.uuid4().hex}"), StreamState(7, 10**9, 0, 100)
    bad = {"cut": b'{"grid_version":', "list": b"[1]", "other": b"{}", "null": b'{"tracker":null}'}
    for stream, raw in {**bad, "good": good.to_json()}.items():
        await redis_client.set(keys.stream_state(0, stream), raw)
    streams = [*bad, "good", "none"]
    found = await read_states(redis_client, keys, dict.fromkeys(streams, 0), streams)
    assert found == {"good": good}
    said = capfd.readouterr().out
    assert [stream for stream in streams if f"--stream '{stream}'" in said] == list(bad)

"""The detector worker between real Kafka, real Redis and the real streamer, with real students."""

import orjson
import pytest
import redis.asyncio

from streamer.contracts import AnomalyEvent, TrainingRequest
from streamer.keys import Keys
from streamer.partitioning import home_partition
from streamer.settings import CommonSettings
from streamer.stats import read_stats
from tests.integration.detecting import announce, detecting, detector_settings, events, normal, send, start_of
from tests.integration.test_streamer import producing, read_all, running, until

pytestmark = pytest.mark.kafka
STREAMS = ["a", "b", "c"]
PAST = 600


async def test_from_history_to_an_explained_alert(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    own = detector_settings(settings)
    start = start_of(PAST)
    async with producing(settings) as producer, running(settings), detecting(own) as detector:
        for stream in STREAMS:
            given = {"interval_s": 0.1, "labels": {"room": "lab"}, "tenant": "t"}
            await producer.send_and_wait(settings.topic("streams"), orjson.dumps(given), key=stream.encode())
        for stream in STREAMS:
            await send(producer, settings, stream, start, 0, normal(0, PAST), history=True)

        async def asked() -> bool:
            requests = [TrainingRequest.model_validate_json(r.value) for r in await read_all(settings, "training")]
            return {(r.stream, r.reason, r.job) for r in requests} == {(s, "cold", "full") for s in STREAMS}

        await until(asked)
        version = await announce(producer, own, redis_client, STREAMS)
        await until(lambda: _installed(detector, STREAMS))
        values = normal(PAST, 300)
        values[100:115] += 30.0
        for stream in STREAMS:
            for at in range(0, 300, 20):
                await send(
                    producer, settings, stream, start, PAST + at, values[at : at + 20] if stream == "a" else
                    normal(PAST + at, 20),
                )  # fmt: skip

        async def over() -> bool:
            return [e.data.state for e in await events(settings, "a")][-1:] == ["resolved"]

        await until(over)
        assert not [e for e in await events(settings) if e.subject != "a"]
        told = await events(settings, "a")
        _check_reason(told, start, version, settings)

        async def counted() -> bool:
            (stats,) = [
                row for row in await read_stats(redis_client, Keys(settings.namespace)) if row["room"] == "detector"
            ]
            return stats["windows_scored"] == 900 and stats["alerts"] == 1 and stats["streams_warming"] == 3

        await until(counted)


def _check_reason(told: list[AnomalyEvent], start: int, version: str, settings: CommonSettings) -> None:
    assert [e.data.revision for e in told] == list(range(len(told)))
    opened, resolved = told[0].data, told[-1].data
    assert told[0].type == "anomalyllm.incident.open"
    assert told[0].id == f"{opened.incident_id}:0"
    assert 0 <= opened.slot * 100 - start - (PAST + 100) * 100 <= 300
    assert (opened.tenant, opened.labels, opened.model_version) == ("t", {"room": "lab"}, version)
    assert opened.threshold == 4.0
    assert opened.score >= 4.0
    assert opened.source_partition == home_partition("a", settings.partitions)
    assert len(opened.source_offsets) == 2
    assert opened.channels[0].channel == "value"
    assert opened.channels[0].high is not None
    assert opened.channels[0].value is not None
    assert opened.channels[0].value > opened.channels[0].high
    assert "a rose to" in opened.reason
    assert not opened.historic
    assert resolved.ended_at is not None
    assert 13 <= resolved.slots <= 40


async def _installed(detector: object, streams: list[str]) -> bool:
    bank = getattr(detector, "bank", None)
    return bank is not None and all(bank.model_of(stream) for stream in streams)

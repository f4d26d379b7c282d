"""The detector worker between real Kafka, real Redis and the real streamer, with real students."""

from typing import Any

import numpy as np
import orjson
import pytest
import redis.asyncio

from detector.incidents.record import StreamState
from detector.live.streams import BatchOutcome, OwnedStreams
from streamer.contracts import AnomalyEvent, Feedback, TrainingRequest
from streamer.host.stats import read_stats
from streamer.kafka.client import header
from streamer.placement import home_partition, shard_of
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers
from testkit.detecting import (
    PAST,
    STEP_MS,
    Ready,
    announce,
    detecting,
    detector_settings,
    events,
    in_force,
    normal,
    ready,
    send,
    start_of,
    states,
)
from testkit.serving import producing, read_all, running, until

pytestmark = pytest.mark.kafka
STREAMS = ["a", "b", "c"]


def risen(count: int, begin: int, end: int | None = None, first: int = PAST) -> np.ndarray:
    """Normal values from slot `first` on, far too high from `begin` to `end` (counted from there)."""
    values = normal(first, count)
    values[begin:end] += 30.0
    return values


async def test_from_history_to_an_explained_alert(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    given = {"interval_s": 0.1, "labels": {"room": "lab"}, "tenant": "t"}
    async with ready(settings, redis_client, STREAMS, given=given) as run:
        assert {(r.stream, r.reason, r.job) for r in await requests(settings)} == {(s, "cold", "full") for s in STREAMS}
        await run.live("a", PAST, risen(300, 100, 115), piece=20)
        for stream in "bc":
            await run.live(stream, PAST, normal(PAST, 300), piece=20)
        await until(lambda: _last(settings, "a", "resolved"))
        published = await events(settings)
        assert {event.subject for event in published} == {"a"}
        _check_reason(published, run, settings)

        async def counted() -> bool:
            rows = await read_stats(redis_client, Keys(settings.namespace))
            (stats,) = [row for row in rows if row["room"] == "detector"]
            return bool(stats["windows_scored"] == 900 and stats["alerts"] == 1 and stats["streams_warming"] == 3)

        await until(counted)


async def test_windows_past_the_gate_reach_the_teacher_and_are_counted(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    async with ready(settings, redis_client, "ab", fit={"teacher": "random", "teacher_budget": 0.3}) as run:
        for stream in "ab":
            await run.live(stream, PAST, normal(PAST, 300), piece=20)

        async def counted() -> bool:
            rows = await read_stats(redis_client, Keys(settings.namespace))
            (stats,) = [row for row in rows if row["room"] == "detector"]
            if stats["windows_scored"] != 600:
                return False
            seen = float(stats["teacher_windows"])
            assert 0 < seen < 600
            assert stats["teacher_share"] == round(seen / 600, 4)
            assert stats["streams_with_teacher"] == 2
            return True

        await until(counted)


def _check_reason(published: list[AnomalyEvent], run: Ready, settings: CommonSettings) -> None:
    assert [e.data.revision for e in published] == list(range(len(published)))
    opened, resolved = published[0].data, published[-1].data
    assert published[0].type == "anomalyllm.incident.open"
    assert published[0].id == f"{opened.incident_id}:0"
    assert PAST + 100 <= run.slot(opened.slot) <= PAST + 103
    assert (opened.tenant, opened.labels, opened.model_version) == ("t", {"room": "lab"}, run.version)
    assert opened.threshold == pytest.approx(4.505, abs=1e-3)  # what 600 slots can back
    assert opened.score >= opened.threshold
    assert opened.source_partition == home_partition("a", settings.partitions)
    assert len(opened.source_offsets) == 2
    assert opened.channels[0].channel == "value"
    assert opened.channels[0].high is not None
    assert opened.channels[0].value is not None
    assert opened.channels[0].value > opened.channels[0].high
    assert "a rose to" in opened.reason
    assert not opened.historic
    assert resolved.ended_at is not None
    assert resolved.end_reason == "returned"
    assert opened.extreme is not None
    assert opened.extreme.reach > 0
    assert 13 <= resolved.slots <= 15 + 64 + 10  # as long as the widest look holds what happened


async def requests(settings: CommonSettings) -> list[TrainingRequest]:
    return [TrainingRequest.model_validate_json(record.value) for record in await read_all(settings, "training")]


async def _last(settings: CommonSettings, stream: str, state: str) -> bool:
    return (await states(settings, stream))[-1:] == [state]


async def _open(settings: CommonSettings, stream: str) -> bool:
    """Whether the stream's incident is open; the third slot may have made it worse already."""
    return (await states(settings, stream))[-1:] in (["open"], ["update"])


def gapless(published: list[AnomalyEvent]) -> bool:
    """Each incident's revisions are 0, 1, 2, …, a repeated id says the same."""
    by_id = {event.id: event for event in published}
    if any(by_id[event.id] != event for event in published):
        return False
    incidents = {event.data.incident_id for event in published}
    return all(
        sorted(e.data.revision for e in by_id.values() if e.data.incident_id == incident)
        == list(range(sum(e.data.incident_id == incident for e in by_id.values())))
        for incident in incidents
    )


async def test_an_open_incident_survives_a_restart(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    async with ready(settings, redis_client, ["a"]) as run:
        await run.live("a", PAST, risen(60, 40))
        await until(lambda: _open(settings, "a"))
        await run.stop_detector()
        await run.live("a", PAST + 60, risen(150, 0, 10, first=PAST + 60))
        async with detecting(run.own):
            await until(lambda: _last(settings, "a", "resolved"))
        published = await events(settings, "a")
        assert len({event.data.incident_id for event in published}) == 1
        assert gapless(published)
        assert run.slot(published[0].data.anchor_slot) < PAST + 60
        assert published[-1].data.slots >= 30


async def test_what_waits_is_judged_though_the_stream_was_called_silent_before(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that comes back may find a stream silent, and read all of it, before it has read what waits."""
    follow_batch = OwnedStreams.follow_batch

    async def late(self: OwnedStreams, *given: Any) -> BatchOutcome:
        await self.ensure(["a"])
        return await follow_batch(self, *given)

    async with ready(settings, redis_client, ["a"]) as run:
        await run.live("a", PAST, normal(PAST, 20))
        await until(lambda: _scored(run, 20))
        await run.stop_detector()
        await run.live("a", PAST + 20, risen(150, 20, 40, first=PAST + 20))
        await until(lambda: _written(redis_client, run, 170))
        monkeypatch.setattr(OwnedStreams, "follow_batch", late)
        async with detecting(run.own):
            await until(lambda: _last(settings, "a", "resolved"))
        published = await events(settings)
        assert gapless(published)
        assert all(event.data.source_offsets for event in published)


async def _scored(run: Ready, slots: int) -> bool:
    entry = run.detector.streams.entries.get("a")
    return entry is not None and run.slot(entry.scored) == PAST + slots - 1


async def _written(client: redis.asyncio.Redis, run: Ready, slots: int) -> bool:
    found = await read_headers(client, Keys(run.own.namespace), ["a"])
    return run.slot(found["a"].hi) == PAST + slots - 1


async def test_a_stream_without_a_student_alerts_as_warming_and_survives_a_restart(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    made = detector_settings(settings, min_history=8192)
    start = start_of(300)
    async with producing(settings) as producer, running(settings):
        body = orjson.dumps({"interval_s": STEP_MS / 1000})
        await producer.send_and_wait(settings.topic("streams"), body, key=b"cold")
        async with detecting(made):
            for at in range(0, 200, 20):
                await send(producer, settings, "cold", start, at, risen(20, 192 - at, first=at))
            await until(lambda: _open(settings, "cold"))
        await send(producer, settings, "cold", start, 200, risen(100, 0, 10, first=200))
        async with detecting(made):
            await until(lambda: _last(settings, "cold", "resolved"))
    published = await events(settings, "cold")
    assert gapless(published)
    assert len({event.data.incident_id for event in published}) == 1
    assert all(event.data.warming and event.data.model_version is None for event in published), published[0].data
    assert 192 <= published[0].data.slot - start // STEP_MS <= 194
    assert "has no model of its own yet" in published[0].data.reason


async def test_late_data_retract_an_incident(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    async with ready(settings, redis_client, ["a"]) as run:
        await run.live("a", PAST, risen(60, 50))
        await until(lambda: _open(settings, "a"))
        rows = [
            [run.start_ms + (PAST + 50 + k) * 100 + 1, float(v)] for k, v in enumerate(normal(PAST + 50, 10))
        ]  # a millisecond later, in the same slots: these win
        await run.producer.send_and_wait(
            settings.topic("metrics"), orjson.dumps({"stream": "a", "points": rows}), key=b"a"
        )
        await until(lambda: _last(settings, "a", "retracted"))
        assert gapless(await events(settings, "a"))


async def test_a_false_alarm_ends_its_incident(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    async with ready(settings, redis_client, ["a"]) as run:
        await run.live("a", PAST, risen(60, 50))
        await until(lambda: _open(settings, "a"))
        opened = (await events(settings, "a"))[0]
        said = Feedback(incident_id=opened.data.incident_id, stream="a", verdict="true")
        topic = settings.topic("feedback")
        await run.producer.send_and_wait(topic, b"not json", key=b"a")
        await run.producer.send_and_wait(topic, said.model_dump_json().encode(), key=b"a")
        await until(lambda: _left_out(run, "a"))
        said = said.model_copy(update={"verdict": "false_alarm"})
        await run.producer.send_and_wait(topic, said.model_dump_json().encode(), key=b"a")
        await until(lambda: _last(settings, "a", "resolved"))
        assert "false alarm" in (await events(settings, "a"))[-1].data.reason
        assert not await _left_out(run, "a")
        await run.live("a", PAST + 60, risen(40, 0, first=PAST + 60))
        await run.stop_detector()
        async with detecting(run.own) as again:
            await run.live("a", PAST + 100, risen(20, 0, first=PAST + 100))
            await until(lambda: _seen(again, "a", run, PAST + 120))
            stream_state = again.streams.states["a"]
            stream_state.forget_before(
                again.streams.entries["a"].hi
            )  # as it does when no late point can reach the incident
            assert not stream_state.tracker.recent
            unknown = said.model_copy(update={"incident_id": "0" * len(said.incident_id)})
            for published in (unknown, said.model_copy(update={"verdict": "maintenance"})):
                await run.producer.send_and_wait(topic, published.model_dump_json().encode(), key=b"a")
            await until(lambda: _excludes(stream_state))
        assert [state for state in await states(settings, "a") if state != "update"] == ["open", "resolved"]
        dead = [r for r in await read_all(settings, "dead-letters") if header(r, "topic") == topic]
        assert [(r.value, header(r, "error")) for r in dead] == [(b"not json", "json")]


async def _excludes(stream_state: StreamState) -> bool:
    return bool(stream_state.exclude)


async def _left_out(run: Ready, stream: str) -> bool:
    """Whether there are slots that the stream's student must not learn from."""
    return await _excludes(run.detector.streams.states[stream])


async def _seen(detector: object, stream: str, run: Ready, slots: int) -> bool:
    streams = getattr(detector, "streams", None)
    entry = streams.entries.get(stream) if streams else None
    return entry is not None and run.slot(entry.scored) >= slots - 1


async def test_bad_messages_are_set_aside(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    async with ready(settings, redis_client, ["a"]) as run:
        windows = settings.topic("windows")
        await run.producer.send_and_wait(windows, b"nonsense", partition=1)
        await run.producer.send_and_wait(windows, None, key=b"a", partition=1)
        await run.live("a", PAST, risen(60, 50))
        await until(lambda: _open(settings, "a"))
        dead = await read_all(settings, "dead-letters")
        assert sorted((r.value or b"", header(r, "error")) for r in dead) == [
            (b"", "windows"),
            (b"nonsense", "windows"),
        ]


async def test_a_tombstone_forgets_the_stream(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    keys = Keys(settings.namespace)
    async with ready(settings, redis_client, ["a"]) as run:
        await run.live("a", PAST, risen(60, 50))
        await until(lambda: _open(settings, "a"))
        assert await redis_client.exists(keys.stream_state(shard_of("a"), "a"))
        await run.producer.send_and_wait(settings.topic("streams"), None, key=b"a")
        await until(lambda: _last(settings, "a", "resolved"))
        assert not await redis_client.exists(keys.stream_state(shard_of("a"), "a"))
        assert [r.value is None for r in await read_all(settings, "models")] == [False, True]
        assert "a" not in run.detector.streams.entries
        assert run.detector.bank.model_of("a") is None


async def test_another_channel_set_ends_what_was_open(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    async with ready(settings, redis_client, ["a"]) as run:
        await run.live("a", PAST, risen(60, 50))
        await until(lambda: _open(settings, "a"))
        point = {"stream": "a", "ts": run.start_ms + (PAST + 60) * 100, "values": {"value": 1.0, "more": 2.0}}
        await run.producer.send_and_wait(settings.topic("metrics"), orjson.dumps(point), key=b"a")
        await until(lambda: _last(settings, "a", "resolved"))
        published = await events(settings, "a")
        assert len({event.data.grid_version for event in published}) == 1
        assert gapless(published)
        assert published[-1].data.end_reason == "grid"
        assert "back to normal" not in published[-1].data.reason


async def test_a_new_model_takes_over_between_batches(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    async with ready(settings, redis_client, ["a"]) as run:
        await run.live("a", PAST, normal(PAST, 100))
        await until(lambda: _seen(run.detector, "a", run, PAST + 100))
        version = await announce(run.producer, run.own, redis_client, ["a"])
        await until(lambda: in_force(run.detector, ["a"], version))
        await run.live("a", PAST + 100, risen(30, 20, first=PAST + 100))
        await until(lambda: _open(settings, "a"))
        assert (await events(settings, "a"))[-1].data.model_version == version
        stream_state = run.detector.streams.states["a"]
        assert run.slot(stream_state.model_since) == PAST + 100


async def test_an_incident_of_a_stream_that_nothing_judges_any_more_says_so(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    async with ready(settings, redis_client, ["a"], warming=False) as run:
        await run.live("a", PAST, risen(60, 50))
        await until(lambda: _open(settings, "a"))
        await run.producer.send_and_wait(settings.topic("models"), None, key=b"a")
        await until(lambda: _without_model(run, "a"))
        await run.live("a", PAST + 60, risen(5, 0, first=PAST + 60))
        await until(lambda: _last(settings, "a", "resolved"))
        told = (await events(settings, "a"))[-1].data
        assert told.end_reason == "unjudged"
        assert "not judged any more, for it has no model for its grid" in told.reason


async def _without_model(run: Ready, stream: str) -> bool:
    return run.detector.bank.model_of(stream) is None


async def test_streams_leave_memory_and_come_back_as_they_were(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detector.live.streams.MAX_LIVE", 1)
    async with ready(settings, redis_client, STREAMS) as run:
        for at in range(0, 200, 10):
            for stream in STREAMS:
                values = (
                    risen(10, 100 - at, 115 - at, first=PAST + at)
                    if stream == "a" and 100 <= at < 120
                    else normal(PAST + at, 10)
                )
                await run.live(stream, PAST + at, values)
        await until(lambda: _last(settings, "a", "resolved"))
        published = await events(settings)
        assert {event.subject for event in published} == {"a"}
        assert gapless(published)
        assert run.detector.stats.counts["left_memory"] > 0

        async def few() -> bool:
            return len(run.detector.streams.entries) <= 1

        await until(few)


async def test_a_lasting_shift_is_a_new_baseline(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    async with ready(settings, redis_client, ["a"], max_slots=40) as run:
        await run.live("a", PAST, risen(200, 50))
        await until(lambda: _seen(run.detector, "a", run, PAST + 200))
        published = await events(settings, "a")
        assert [e.data.state for e in published].count("open") == 1
        assert published[-1].data.state == "resolved"
        assert "New baseline" in published[-1].data.reason
        (drift,) = [r for r in await requests(settings) if r.reason == "drift"]
        assert drift.span is not None
        assert run.slot(drift.span[0]) in range(PAST + 49, PAST + 54)

"""Redis emptied, or restored from an older state: windows are rebuilt, students go on, nothing storms, and it is told."""

from collections.abc import Sequence

import numpy as np
import orjson
import pytest
import redis.asyncio

from streamer.contracts import AnomalyEvent
from streamer.host.losses import SYSTEM_STREAM
from streamer.host.stats import read_stats
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_windows
from testkit.detecting import PAST, Ready, detecting, events, in_force, normal, ready
from testkit.serving import running, until

STREAMS = ["a", "b", "c"]


async def empty(client: redis.asyncio.Redis, settings: CommonSettings) -> None:
    """All keys of the test go at once, as by FLUSHALL or a new server."""
    names = [key async for key in client.scan_iter(match=f"{settings.namespace}:*", count=1000)]
    await client.delete(*names)


async def snapshot(client: redis.asyncio.Redis, settings: CommonSettings) -> dict[bytes, bytes]:
    """All keys of the test, as a backup has them."""
    names = [key async for key in client.scan_iter(match=f"{settings.namespace}:*", count=1000)]
    return {name: raw for name in names if (raw := await client.dump(name)) is not None}


async def restore(client: redis.asyncio.Redis, settings: CommonSettings, backup: dict[bytes, bytes]) -> None:
    """The backup comes back, and nothing of what came after it: all at once, as a server that starts with it."""
    names = [key async for key in client.scan_iter(match=f"{settings.namespace}:*", count=1000)]
    async with client.pipeline(transaction=True) as pipe:
        pipe.delete(*names)
        for name, raw in backup.items():
            pipe.restore(name, 0, raw, replace=True)
        await pipe.execute()


def risen(first: int, count: int, begin: int, end: int) -> np.ndarray:
    """Normal values from slot `first` on, far too high from `begin` to `end` (counted from there)."""
    values = normal(first, count)
    values[begin:end] += 30.0
    return values


async def everywhere(run: Ready, first: int, count: int) -> None:
    """Normal points of all streams."""
    for stream in run.streams:
        await run.live(stream, first, normal(first, count))


async def reaches(run: Ready, slot: int) -> None:
    """Wait until all windows hold everything from the first slot up to, not including, this one."""

    async def whole() -> bool:
        windows = await read_windows(run.client, Keys(run.own.namespace), run.streams)
        return len(windows) == len(run.streams) and all(
            (run.slot(w.header.lo), run.slot(w.header.hi)) == (0, slot - 1) for w in windows.values()
        )

    await until(whole)


async def judged(run: Ready, slot: int) -> None:
    """Wait until an anomaly that begins at this slot of `a` has been told, and is over."""
    await run.live("a", slot, risen(slot, 200, 0, 15))

    async def told() -> bool:
        return any(
            e.data.state == "resolved" and slot <= run.slot(e.data.anchor_slot) <= slot + 3
            for e in await events(run.own, "a")
        )

    await until(told)


def told_once(published: Sequence[AnomalyEvent]) -> bool:
    """Exactly one event says that Redis has lost data."""
    system = [event for event in published if event.subject == SYSTEM_STREAM]
    return [(e.data.kind, e.data.state, "Redis has lost data" in e.data.reason) for e in system] == [
        ("system", "resolved", True)
    ]


async def windows_of(run: Ready) -> dict[str, bytes]:
    windows = await read_windows(run.client, Keys(run.own.namespace), run.streams)
    return {stream: window.values_SC.tobytes() for stream, window in windows.items()}


@pytest.mark.slow(7)
async def test_emptied_while_workers_run(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    async with ready(settings, redis_client, STREAMS) as run:
        await everywhere(run, PAST, 60)
        await run.live("a", PAST + 60, risen(PAST + 60, 20, 5, 20))

        async def open_() -> bool:
            return any(e.data.state == "open" for e in await events(run.own, "a"))

        await until(open_)
        for stream in "bc":
            await run.live(stream, PAST + 60, normal(PAST + 60, 20))
        await reaches(run, PAST + 80)
        before, before_events = await windows_of(run), await events(run.own)
        await empty(redis_client, settings)
        await reaches(run, PAST + 80)  # nobody sends anything: it is noticed all the same
        assert await windows_of(run) == before
        assert await in_force(run.detector, STREAMS, run.version)

        async def closed() -> bool:
            return any(e.data.end_reason == "lost" for e in await events(run.own, "a"))

        await until(closed)
        await everywhere(run, PAST + 80, 200)
        await judged(run, PAST + 280)
        published = await events(run.own)
        new = [e for e in published if e.id not in {before.id for before in before_events}]
        assert told_once(new)
        # what was open is closed under its own id; what was told before is not told again
        assert {e.subject for e in new} == {"a", SYSTEM_STREAM}
        lost = [e for e in new if e.data.end_reason == "lost"]
        assert [e.data.incident_id for e in lost] == [before_events[0].data.incident_id]
        assert lost[0].data.revision == before_events[-1].data.revision + 1
        assert all(run.slot(e.data.anchor_slot) >= PAST + 80 for e in new if e.subject == "a" and e not in lost)

        async def counted() -> bool:
            rows = {row["room"]: row for row in await read_stats(redis_client, Keys(settings.namespace))}
            return all(float(rows[room].get("redis_losses", 0)) > 0 for room in ("streamer", "detector"))

        await until(counted)


@pytest.mark.slow(7)
async def test_emptied_and_both_workers_restart(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    async with ready(settings, redis_client, STREAMS) as run:
        await everywhere(run, PAST, 40)
        await reaches(run, PAST + 40)
        await empty(redis_client, settings)
        await reaches(run, PAST + 40)  # offsets have the epochs of these workers now, the counter is gone
        await run.stop_detector()
        async with running(settings), detecting(run.own) as detector:  # a second streamer takes over from the first
            await everywhere(run, PAST + 40, 40)
            await reaches(run, PAST + 80)
            await judged(run, PAST + 80)
            assert await in_force(detector, STREAMS, run.version)


@pytest.mark.slow(7)
async def test_emptied_while_nobody_runs(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    async with ready(settings, redis_client, STREAMS) as run:
        await run.live("a", PAST, risen(PAST, 200, 50, 65))  # told and over: it must not be told again

        async def over() -> bool:
            return [e.data.state for e in await events(run.own, "a")][-1:] == ["resolved"]

        await until(over)
        for stream in "bc":
            await run.live(stream, PAST, normal(PAST, 200))
        await reaches(run, PAST + 200)
        before, before_events = await windows_of(run), await events(run.own)
        await run.stop_detector()
        await run.stop_streamer()
        await empty(redis_client, settings)
        async with running(settings), detecting(run.own) as detector:
            await reaches(run, PAST + 200)
            assert await windows_of(run) == before
            await everywhere(run, PAST + 200, 40)
            await judged(run, PAST + 240)
            assert await in_force(detector, STREAMS, run.version)
        published = await events(run.own)
        new = [e for e in published if e.id not in {before.id for before in before_events}]
        assert told_once(new)
        assert all(e.subject == SYSTEM_STREAM or run.slot(e.data.anchor_slot) >= PAST + 240 for e in new)


@pytest.mark.slow(7)
async def test_restored_from_an_older_state(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    async with ready(settings, redis_client, STREAMS) as run:
        await everywhere(run, PAST, 40)
        await reaches(run, PAST + 40)
        backup = await snapshot(redis_client, settings)
        await everywhere(run, PAST + 40, 60)
        await judged(run, PAST + 100)
        for stream in "bc":
            await run.live(stream, PAST + 100, normal(PAST + 100, 200))
        await reaches(run, PAST + 300)
        before, before_events = await windows_of(run), await events(run.own)
        await restore(redis_client, settings, backup)
        await reaches(run, PAST + 300)
        assert await windows_of(run) == before
        await everywhere(run, PAST + 300, 40)
        await judged(run, PAST + 340)
        published = await events(run.own)
        new = [e for e in published if e.id not in {before.id for before in before_events}]
        assert told_once(new)
        assert all(e.subject == SYSTEM_STREAM or run.slot(e.data.anchor_slot) >= PAST + 340 for e in new)
        assert len(published) == len(before_events) + len(new)  # and nothing is repeated


async def test_a_deleted_stream_that_is_still_published_is_judged_again(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    async with ready(settings, redis_client, ["a"]) as run:
        await run.live("a", PAST, normal(PAST, 40))
        await reaches(run, PAST + 40)
        entry = run.detector.streams.entries["a"]
        await run.producer.send_and_wait(settings.topic("streams"), None, key=b"a")

        async def gone() -> bool:
            return not await read_windows(redis_client, Keys(settings.namespace), ["a"])

        await until(gone)
        # a message of before the deletion came after it: the worker knows the stream as it was
        run.detector.streams.entries["a"] = entry
        body = orjson.dumps({"interval_s": 0.1})
        await run.producer.send_and_wait(settings.topic("streams"), body, key=b"a")
        await run.live("a", PAST + 40, normal(PAST + 40, 160))
        await judged(run, PAST + 200)

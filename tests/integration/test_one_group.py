"""Two streamers and two detectors in one consumer group each: they share the partitions, hand them over while data flow,
and what comes out is what one of each would have made of it.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack

import numpy as np
import pytest
import redis.asyncio

from detector.live.worker import DetectorWorker
from streamer.contracts import AnomalyEvent
from streamer.placement import home_partition
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_windows
from streamer.worker import StreamerWorker
from testkit.detecting import PAST, Ready, detecting, detector_settings, events, normal, ready
from testkit.serving import running, until

pytestmark = pytest.mark.kafka
PARTITIONS = 4
STREAMS = [
    name
    for p in range(PARTITIONS)
    for name in [f"s{i}" for i in range(60) if home_partition(f"s{i}", PARTITIONS) == p][:3]
]  # three of each partition
PART = 120  # slots sent at each size of the groups
ANOMALY = range(20, 40)  # of each part
SIZES = (2, 1, 2)

Workers = Sequence[StreamerWorker | DetectorWorker]


def values_of(part: int) -> np.ndarray:
    """The values of one part, with an anomaly in it."""
    values = normal(PAST + part * PART, PART)
    values[ANOMALY.start : ANOMALY.stop] += 30.0
    return values


def shared(workers: Workers, partitions: int) -> bool:
    """Whether each partition is one worker's, and each worker has one."""
    owned = [worker.owner.owned if hasattr(worker, "owner") else set() for worker in workers]
    return all(owned) and sorted(p for own in owned for p in own) == list(range(partitions))


@pytest.mark.slow(15)
async def test_groups_of_two_one_and_two_miss_nothing_and_repeat_nothing(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    assert settings.partitions == PARTITIONS
    async with ready(settings, redis_client, STREAMS) as run:
        await run.stop_detector()
        await run.stop_streamer()
        streamers: list[tuple[AsyncExitStack, StreamerWorker]] = []
        detectors: list[tuple[AsyncExitStack, DetectorWorker]] = []

        async def resize(size: int) -> None:
            while len(streamers) > size:
                for stack, _ in (streamers.pop(0), detectors.pop(0)):
                    await stack.aclose()
            while len(streamers) < size:
                own = detector_settings(settings, assignment="group", worker_name=f"{len(detectors)}")
                one, other = AsyncExitStack(), AsyncExitStack()
                streamers.append((one, await one.enter_async_context(running(settings, assignment="group"))))
                detectors.append((other, await other.enter_async_context(detecting(own))))

        async def all_shared() -> bool:
            groups: tuple[Workers, Workers] = ([w for _, w in streamers], [w for _, w in detectors])
            return all(shared(group, settings.partitions) for group in groups)

        try:
            for part, size in enumerate(SIZES):
                for stream in STREAMS:  # half of it before they have shared the partitions anew
                    await run.live(stream, PAST + part * PART, values_of(part)[: PART // 2])
                await resize(size)
                await until(all_shared)
                for stream in STREAMS:
                    await run.live(stream, PAST + part * PART + PART // 2, values_of(part)[PART // 2 :])
            for stream in STREAMS:
                await run.live(stream, PAST + len(SIZES) * PART, normal(PAST + len(SIZES) * PART, PART))

            async def told() -> bool:
                return all([await over(run, stream) >= set(range(len(SIZES))) for stream in STREAMS])

            await until(told)
        finally:
            await resize(0)
        await _check(run)


async def over(run: Ready, stream: str) -> set[int]:
    """The parts whose anomaly has been told and is over: the third so soon is the second again."""
    ended = [e.data for e in await events(run.own, stream) if e.data.state == "resolved"]
    parts = {part: PAST + part * PART + ANOMALY.start for part in range(len(SIZES))}
    return {
        part
        for part, slot in parts.items()
        if any(run.slot(d.anchor_slot) <= slot + 3 and slot < run.slot(d.slot) for d in ended)
    }


async def _check(run: Ready) -> None:
    windows = await read_windows(run.client, Keys(run.own.namespace), STREAMS)
    parts = [values_of(part) for part in range(len(SIZES))]
    end = PAST + len(SIZES) * PART
    expected = np.concatenate([normal(0, PAST), *parts, normal(end, PART)]).astype(np.float32)
    for stream in STREAMS:
        np.testing.assert_array_equal(windows[stream].values_SC[:, 0], expected, err_msg=stream)
    first: dict[str, AnomalyEvent] = {}
    for event in await events(run.own):
        assert first.setdefault(event.id, event) == event  # a revision may be repeated, byte for byte
    revisions: dict[str, list[int]] = {}
    for event in first.values():
        revisions.setdefault(event.data.incident_id, []).append(event.data.revision)
    assert all(told == list(range(len(told))) for told in revisions.values())

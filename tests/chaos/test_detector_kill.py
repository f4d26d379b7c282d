"""kill -9 of the detector in mid-load: no incident is lost, no revision is skipped or told in two versions."""

import asyncio
import os
import sys

import numpy as np
import pytest
import redis.asyncio

from detector.live.settings import WorkerSettings
from streamer.contracts import AnomalyEvent
from streamer.host.fleet import worker_env
from streamer.settings import CommonSettings
from testkit.detecting import PAST, Ready, events, normal, ready
from testkit.serving import until

STREAMS = [f"s{i}" for i in range(12)]
SLOTS = 680  # whole records of five slots in every portion
ANOMALY_EVERY = 100  # slots; each lasts 20
KILLS = 2
PORTIONS = KILLS + 1  # one is under way at every kill, one comes after the last


def begins(stream: str) -> range:
    """First slots of the anomalies of a stream."""
    return range(50 + STREAMS.index(stream) * 2, SLOTS - 70, ANOMALY_EVERY)


def values_of(stream: str) -> np.ndarray:
    """Normal with an anomaly in every hundred slots, each stream's a little later than the last one's."""
    values = normal(PAST, SLOTS)
    for begin in begins(stream):
        values[begin : begin + 20] += 30.0
    return values


async def start(settings: WorkerSettings) -> asyncio.subprocess.Process:
    common = CommonSettings.model_validate(settings.model_dump(include=set(CommonSettings.model_fields)))
    environment = {**os.environ, **worker_env(common)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streamer.cli", "detector", env=environment, stderr=asyncio.subprocess.DEVNULL
    )


@pytest.mark.slow(14)
@pytest.mark.kafka
async def test_kill_9_in_mid_load_loses_and_changes_nothing(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    async with ready(settings, redis_client, STREAMS) as run:
        await run.stop_detector()
        values = {stream: values_of(stream) for stream in STREAMS}

        async def load(portion: int) -> None:
            for at in range(portion * SLOTS // PORTIONS, (portion + 1) * SLOTS // PORTIONS, 5):
                for stream in STREAMS:
                    await run.live(stream, PAST + at, values[stream][at : at + 5])

        worker = await start(run.own)
        for kill in range(KILLS):
            before = len(await events(settings))
            loading = asyncio.create_task(load(kill))

            async def published(before: int = before) -> bool:
                return len(await events(settings)) > before + 3

            await until(published)
            worker.kill()
            await worker.wait()
            worker = await start(run.own)
            await loading
        await load(KILLS)
        provoked = {(stream, begin) for stream in STREAMS for begin in begins(stream)}

        async def finished() -> bool:
            published = await events(settings)
            late = run.start_ms // 100 + PAST + SLOTS - 15  # a false alarm at the very end stays open
            open_ones = {e.data.incident_id for e in published if e.data.anchor_slot < late} - _ended(published)
            return not open_ones and provoked <= {cause for event in published for cause in _causes(event, run)}

        try:
            await until(finished)
        finally:
            worker.kill()
            await worker.wait()
        _check(await events(settings))


def _causes(event: AnomalyEvent, run: Ready) -> set[tuple[str, int]]:
    """Stream and beginning of the anomalies that an incident covers; one that began as a false alarm may go on as one."""
    first, last = (run.slot(slot) - PAST for slot in (event.data.anchor_slot, event.data.slot))
    return {(event.subject, begin) for begin in begins(event.subject) if first < begin + 20 and begin <= last}


def _ended(published: list[AnomalyEvent]) -> set[str]:
    return {event.data.incident_id for event in published if event.data.state == "resolved"}


def _check(published: list[AnomalyEvent]) -> None:
    first: dict[str, AnomalyEvent] = {}
    for event in published:
        # a revision may be repeated, byte for byte
        assert first.setdefault(event.id, event) == event
    incidents: dict[str, list[int]] = {}
    for event in first.values():  # in order of first appearance: partitions keep it
        incidents.setdefault(event.data.incident_id, []).append(event.data.revision)
    assert all(revisions == list(range(len(revisions))) for revisions in incidents.values())
    slots: dict[str, list[int]] = {}
    for event in first.values():
        if event.data.kind == "anomaly":  # that a stalled test sends nothing is told before what waits is judged
            slots.setdefault(event.subject, []).append(event.data.slot)
    assert all(times == sorted(times) for times in slots.values())

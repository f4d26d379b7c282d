"""A rebalance that gives partitions back costs nothing: students stay where they are."""

import pytest
import redis.asyncio
from aiokafka import TopicPartition

from detector.live.counts import STAGES, counted
from detector.model.banks import StudentBank
from streamer.contracts import ModelRecord
from streamer.settings import CommonSettings
from testkit.detecting import PAST, Ready, announce, in_force, normal, ready, states
from testkit.serving import until

pytestmark = pytest.mark.kafka


async def test_only_what_is_new_is_installed_after_a_rebalance(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ready(settings, redis_client, ["a", "b"]) as run:
        detector, owner = run.detector, run.detector.owner
        version = await announce(run.producer, run.own, redis_client, ["a", "b"])  # the log holds two records of each
        await until(lambda: in_force(detector, ["a", "b"], version))
        installed: list[str] = []
        whole = StudentBank.install

        def install(self: StudentBank, records: list[ModelRecord], *more: object) -> object:
            installed.extend(record.stream for record in records)
            return whole(self, records, *more)  # type: ignore[arg-type]

        monkeypatch.setattr(StudentBank, "install", install)
        topic = settings.topic("windows")
        every = {TopicPartition(topic, p) for p in range(settings.partitions)}
        await owner.on_partitions_revoked(every)
        await owner.on_partitions_assigned(every)
        values = normal(PAST, 60)
        values[50:] += 30.0
        await run.live("a", PAST, values)
        await until(lambda: _opened(run))
        assert installed == []
        assert await in_force(detector, ["a", "b"], version)
        newer = await announce(run.producer, run.own, redis_client, ["b"])
        await until(lambda: in_force(detector, ["b"], newer))
        assert installed == ["b"]
        await until(lambda: _counted(run))

        # A partition that stays away takes its students with it.
        monkeypatch.setattr("detector.live.following.LOST_KEPT_S", 0.0)
        home = detector.streams.partition("a")
        await owner.on_partitions_revoked({TopicPartition(topic, home)})

        async def gone() -> bool:
            return detector.bank.model_of("a") is None and "a" not in detector.following.models.known

        await until(gone)
        await until(lambda: _counted(run))


async def _opened(run: Ready) -> bool:
    return (await states(run.own, "a"))[:1] == ["open"]


async def _counted(run: Ready) -> bool:
    """Whether what is reported is what a pass over all streams finds."""
    streams, counts = run.detector.streams, run.detector.stats.counts
    names = streams.entries.keys() | streams.states.keys()
    whole = [counted(s, streams.entries.get(s), streams.states.get(s), run.detector.bank) for s in names]
    incidents = sum(one.incidents for one in whole)
    stages = all(counts[f"streams_{stage}"] == sum(one.stage == stage for one in whole) for stage in STAGES)
    return stages and counts["open_incidents"] == incidents

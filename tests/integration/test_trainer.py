"""The trainer between real servers: requests in, students in force."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import redis.asyncio
from aiokafka import AIOKafkaProducer

from detector.model.artefact import ArtefactStore
from detector.model.banks import StudentBank
from detector.model.interface import Segment
from detector.model.store_errors import StoreError
from detector.model.teachers import Teachers
from streamer.contracts import ModelRecord, TrainingRequest
from streamer.kafka.tables import TableReader
from streamer.placement import shard_of
from streamer.settings import CommandSettings, CommonSettings
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys
from streamer.windows.ring import read_windows
from testkit.serving import PATIENCE_S, at_work, producing, until
from testkit.simulation import simulate
from trainer.cli.models import details, read_record, read_records, roll_back, table
from trainer.cli.train import ask
from trainer.settings import TrainerSettings
from trainer.worker import TrainerWorker

pytestmark = pytest.mark.kafka


def typed(settings: CommonSettings) -> CommandSettings:
    """The same for a command."""
    return CommandSettings.model_validate(settings.model_dump())


async def _write(client: redis.asyncio.Redis, settings: CommonSettings, stream: str, values_SC: np.ndarray) -> None:
    keys, shard = Keys(settings.namespace), shard_of(stream)
    header = StreamHeader(
        state="grid",
        grid_version=1,
        interval_ns=10**9,
        capacity=len(values_SC),
        channels=[f"c{c}" for c in range(values_SC.shape[1])],
        counters=[False] * values_SC.shape[1],
        hi=len(values_SC) - 1,
    )
    await client.set(keys.header(shard, stream), orjson.dumps(asdict(header)))
    await client.set(keys.ring(shard, stream), values_SC.astype("<f4").tobytes())
    await client.sadd(keys.names(shard), stream)


@asynccontextmanager
async def _trainer(settings: CommonSettings, **window_changes: object) -> AsyncIterator[TrainerWorker]:
    own = TrainerSettings.model_validate({**settings.model_dump(), "teacher": "random", **window_changes})
    async with at_work(TrainerWorker(own)) as worker:
        yield worker


async def _request(
    settings: CommonSettings,
    producer: AIOKafkaProducer,
    stream: str,
    partition: int | None = None,
    **window_changes: object,
) -> None:
    request = TrainingRequest.model_validate(
        {"stream": stream, "reason": "cold", "requested_at": "now", **window_changes}
    )
    topic = settings.topic("training")
    await producer.send_and_wait(topic, request.model_dump_json().encode(), key=stream.encode(), partition=partition)


async def _until(settings: CommonSettings, streams: set[str], versions: int = 1) -> dict[str, list[ModelRecord]]:
    """Follow `models` until each stream has so many records."""
    reader = TableReader(settings, "models")
    await reader.start()
    found: dict[str, list[ModelRecord]] = {}
    try:
        async with asyncio.timeout(PATIENCE_S):
            while any(len(found.get(s, [])) < versions for s in streams):
                for record in await reader.poll(100):
                    if record.value is not None:
                        found.setdefault(record.key.decode(), []).append(ModelRecord.model_validate_json(record.value))
    finally:
        await reader.stop()
    return found


@pytest.mark.slow(9)
async def test_requests_become_students_in_force(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, tmp_path: Path
) -> None:
    series = {"wave": simulate("wave", 0, 700), "white": simulate("white", 0, 300)}
    series["two"] = np.concatenate([simulate("wave", 1, 700), simulate("white", 2, 700)], 1)
    for stream, values in series.items():
        await _write(redis_client, settings, stream, values)
    async with _trainer(settings) as worker, producing(settings) as producer:
        # what cannot be trained is dropped or dead-lettered and stops nobody
        await producer.send_and_wait(settings.topic("training"), b"{")
        await _request(settings, producer, "unknown")
        for stream in series:
            await _request(settings, producer, stream)
        await _request(settings, producer, "wave", reason="manual")
        found = await _until(settings, set(series))

        async def both_failed() -> bool:
            return worker.stats.counts["failed"] >= 2

        await until(both_failed)
        assert worker.stats.counts["students_trained"] >= 3
        assert "unknown" not in found
    records = [rows[-1] for rows in found.values()]
    assert all(r.promoted is not None and r.promoted.grid_version == 1 for r in records)
    bank = StudentBank(Teachers(worker.settings))
    assert bank.install(records, ArtefactStore(settings.store_uri(), tmp_path / "cache")) == {}
    changed = series["wave"].copy()
    changed[-60:] += 5.0
    [score] = bank.score([Segment("wave", changed[-bank.context - 59 :], 60)])
    assert np.nanmax(score.surprise_K) > 4

    # a second trainer finds nothing left to do: the requests were committed
    async with _trainer(settings) as again, producing(settings) as producer:
        # behind everything that was asked for, in every partition
        for partition in range(settings.partitions):
            await _request(settings, producer, f"unknown{partition}", partition)

        async def dropped() -> bool:
            stats = getattr(again, "stats", None)
            return stats is not None and stats.counts["failed"] >= settings.partitions

        await until(dropped)
        assert again.stats.counts["jobs"] == settings.partitions
        assert again.stats.counts["students_trained"] == 0


async def test_update_by_request_then_rollback(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    values = simulate("white", 0, 3000)
    await _write(redis_client, settings, "white", values[:1500])
    async with _trainer(settings) as worker:
        assert await ask(typed(settings), ["white"], "full", 60.0)
        await _write(redis_client, settings, "white", values)
        assert await ask(typed(settings), ["white"], "prototypes", 60.0)
        assert worker.stats.counts["updates"] == 1
        assert worker.stats.counts["students_trained"] == 1
    record = await read_record(settings, "white")
    assert record.promoted is not None
    assert record.previous is not None
    assert record.promoted.points == 3000
    assert record.previous.points == 1500
    assert table(await read_records(settings)).row_count == 1
    assert details(settings, record).renderables
    back = await roll_back(settings, "white")
    assert back.promoted == record.previous
    assert (await read_record(settings, "white")).promoted == record.previous


async def test_store_that_is_away_is_waited_for(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[StoreError] = []
    write = ArtefactStore.write

    def watched(store: ArtefactStore, name: str, data: bytes) -> tuple[str, str]:
        try:
            return write(store, name, data)
        except StoreError as error:
            refused.append(error)
            raise

    monkeypatch.setattr(ArtefactStore, "write", watched)
    await _write(redis_client, settings, "white", simulate("white", 0, 300))
    settings.state_dir.mkdir(parents=True)
    obstacle = settings.state_dir / "models"
    obstacle.write_text("a file where the folder should be")
    async with _trainer(settings, teacher="none") as worker, producing(settings) as producer:
        await _request(settings, producer, "white")

        async def tried_again() -> bool:
            return len(refused) > 1

        await until(tried_again)
        assert worker.stats.counts["students_trained"] == 0
        obstacle.unlink()
        found = await _until(settings, {"white"})
    assert found["white"][-1].promoted is not None


async def test_a_deleted_stream_loses_its_model(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    await _write(redis_client, settings, "white", simulate("white", 0, 300))
    async with _trainer(settings, teacher="none"), producing(settings) as producer:
        assert await ask(typed(settings), [], "full", 60.0)
        await producer.send_and_wait(settings.topic("streams"), None, key=b"white")

        async def gone() -> bool:
            return not await read_records(settings)

        await until(gone)


@pytest.mark.slow(9)
async def test_two_trainers_share_the_work(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    streams = {f"white{i}" for i in range(12)}
    for i, stream in enumerate(sorted(streams)):
        await _write(redis_client, settings, stream, simulate("white", i, 300))
    own = {"assignment": "group", "teacher": "none"}
    async with _trainer(settings, **own) as first, _trainer(settings, **own) as second, producing(settings) as producer:

        def owned(worker: TrainerWorker) -> set[int]:
            consumer = getattr(worker, "consumer", None)
            return set() if consumer is None else {p.partition for p in consumer.assignment()}

        async def shared() -> bool:
            return bool(owned(first) and owned(second)) and not owned(first) & owned(second)

        await until(shared)
        for stream in streams:
            await _request(settings, producer, stream)
        await _until(settings, streams)

        async def all_done() -> bool:
            return first.stats.counts["jobs"] + second.stats.counts["jobs"] >= len(streams)

        await until(all_done)
        assert min(first.stats.counts["jobs"], second.stats.counts["jobs"]) > 0


async def test_a_history_too_large_for_memory_is_refused_and_committed(
    settings: CommonSettings, redis_client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    read = read_windows

    async def noting(client: redis.asyncio.Redis, keys: Keys, streams: list[str], *more: Any) -> object:
        loaded.extend(streams)
        return await read(client, keys, streams, *more)

    monkeypatch.setattr("trainer.run.read_windows", noting)
    monkeypatch.setattr("trainer.run.free_bytes", lambda: 4 * 10**7)
    await _write(redis_client, settings, "small", simulate("wave", 0, 700))
    await _write(redis_client, settings, "large", np.tile(simulate("wave", 1, 700), (1, 64)))
    async with _trainer(settings, teacher="none") as worker, producing(settings) as producer:
        for stream in ("large", "small"):
            await _request(settings, producer, stream, partition=0)
        await _until(settings, {"small"})

        async def failed() -> bool:
            return worker.stats.counts["failed"] == 1

        await until(failed)
    assert loaded == ["small"]
    async with (
        _trainer(settings, teacher="none") as again,
        producing(settings) as producer,
    ):  # committed: not tried again
        await _request(settings, producer, "small", partition=0, reason="manual")
        await _until(settings, {"small"}, versions=2)
        assert again.stats.counts["failed"] == 0

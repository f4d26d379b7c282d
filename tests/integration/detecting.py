"""Helpers of the detector's tests between real servers: data, students, events."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import numpy as np
import orjson
import redis.asyncio
import torch
from aiokafka import AIOKafkaProducer

from detector.artefact import ArtefactStore, Header, Member, dump, new_version
from detector.bank import layout_of
from detector.worker import DetectorWorker
from detector.workersettings import WorkerSettings
from streamer.contracts import AnomalyEvent, ModelRecord, ModelRef
from streamer.keys import Keys
from streamer.publishing import HISTORY_HEADERS
from streamer.rings import read_windows
from streamer.settings import CommonSettings
from tests.integration.test_streamer import read_all
from trainer.fit import fit_stack
from trainer.histories import History, stacks

STEP_MS = 100
FIT_WINDOWS = 512


def detector_settings(settings: CommonSettings, **own: object) -> WorkerSettings:
    """Small and without a teacher: what is tested here is the worker."""
    small = {
        "teacher": "none",
        "scales": [4, 16],
        "teacher_scales": [16],
        "prototypes": 8,
        "worker_name": "detector-under-test",
    }
    return WorkerSettings.model_validate({**settings.model_dump(), **small, **own})


@asynccontextmanager
async def detecting(settings: WorkerSettings) -> AsyncIterator[DetectorWorker]:
    """A detector worker in this process."""
    worker = DetectorWorker(settings)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


def normal(first: int, count: int, seed: int = 0) -> np.ndarray:
    """A noisy sine, period 20 slots; the same slot has the same value in every call."""
    noise = np.random.default_rng(seed).standard_normal(20_000)
    slots = np.arange(first, first + count)
    return np.asarray(10 + 3 * np.sin(slots * 2 * np.pi / 20) + 0.3 * noise[slots])


async def send(
    producer: AIOKafkaProducer, settings: CommonSettings, stream: str, start_ms: int, first: int,
    values: Sequence[float] | np.ndarray, *, history: bool = False,
) -> None:  # fmt: skip
    """Points of slots first, first + 1, … as one batch."""
    rows = [[start_ms + (first + k) * STEP_MS, float(value)] for k, value in enumerate(values)]
    await producer.send_and_wait(
        settings.topic("metrics"),
        orjson.dumps({"stream": stream, "points": rows}),
        key=stream.encode(),
        headers=HISTORY_HEADERS if history else None,
    )


def start_of(slots_ago: int) -> int:
    """Time stamp (ms, on the grid) so many slots before now."""
    return (round(time.time() * 1000) // STEP_MS - slots_ago) * STEP_MS


async def announce(
    producer: AIOKafkaProducer, settings: WorkerSettings, client: redis.asyncio.Redis, streams: Sequence[str]
) -> str:
    """Fit students of what Redis has, store them and say so on `models`; returns the version."""
    windows = await read_windows(client, Keys(settings.namespace), streams)
    histories = [
        History(name, tuple(window.header.channels), window.values_SC, window.header.lo, window.header.grid_version)
        for name, window in sorted(windows.items())
    ]
    layout = layout_of(settings, None)
    version = new_version()
    store = ArtefactStore(settings.store_uri(), settings.state_dir / "cache")
    for number, stack in enumerate(stacks(histories, torch.device("cpu"))):
        fitted = await asyncio.to_thread(fit_stack, stack, layout, FIT_WINDOWS)
        members, start = [], 0
        for history in fitted.histories:
            span = (history.lo, history.hi)
            members.append(
                Member(history.stream, start, list(history.channels), history.grid_version, span, history.points)
            )
            start += len(history.channels)
        raw = dump(Header(version, layout, members), fitted.rows, fitted.streams)
        uri, sha256 = store.write(f"{version}-{number}.safetensors", raw)
        for row, member in enumerate(members):
            ref = ModelRef(
                version=version,
                uri=uri,
                row=row,
                sha256=sha256,
                grid_version=member.grid_version,
                trained_slots=member.trained_slots,
                points=member.points,
            )
            record = ModelRecord(stream=member.stream, promoted=ref, announced_at=datetime.now(UTC).isoformat())
            await producer.send_and_wait(
                settings.topic("models"), record.model_dump_json().encode(), key=member.stream.encode()
            )
    return version


async def events(settings: CommonSettings, stream: str | None = None) -> list[AnomalyEvent]:
    """All of `anomalies`, partition by partition in order."""
    found = [AnomalyEvent.model_validate_json(record.value) for record in await read_all(settings, "anomalies")]
    return [event for event in found if stream in (None, event.subject)]

"""Helpers of the detector's tests between real servers: data, students, events.

Shapes: S slots of a window, C channels
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import orjson
import redis.asyncio
import torch
from aiokafka import AIOKafkaProducer

from detector.live.settings import WorkerSettings
from detector.live.worker import DetectorWorker
from detector.model.artefact import ArtefactStore, Header, Member, dump, new_version
from detector.model.banks import StudentBank
from detector.model.seasons import Seasons
from streamer.contracts import AnomalyEvent, ModelRecord, TrainingRequest
from streamer.kafka.publishing import HISTORY_HEADERS
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers, read_windows
from testkit.serving import at_work, producing, read_all, running, until
from trainer.fit.agreed import budget_of, layout_of, load_teacher
from trainer.fit.distil import Distillation
from trainer.fit.full import fit_stack
from trainer.fit.histories import History, stacks
from trainer.fit.run import ref_of
from trainer.settings import TrainerSettings

STEP_MS = 100
# Small, and without a shape memory, which would keep an incident open until its widest window has passed: what is
# tested is the worker.
FIT: dict[str, object] = {
    "teacher": "none",
    "scales": [4, 16],
    "teacher_scales": [16],
    "prototypes": 8,
    "shape_share": 0.0,
}


def detector_settings(settings: CommonSettings, **own: object) -> WorkerSettings:
    """Those of a worker under test, which does not take the test's own slowness for silence of its streams."""
    fixed = {"worker_name": "detector-under-test", "no_data_min_s": 600}
    return WorkerSettings.model_validate({**settings.model_dump(), **fixed, **own})


@asynccontextmanager
async def detecting(settings: WorkerSettings) -> AsyncIterator[DetectorWorker]:
    """A detector worker in this process."""
    async with at_work(DetectorWorker(settings)) as worker:
        yield worker


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
    producer: AIOKafkaProducer,
    settings: WorkerSettings,
    client: redis.asyncio.Redis,
    streams: Sequence[str],
    fit: Mapping[str, object] | None = None,
) -> str:
    """Fit students of what Redis has, store them and say so on `models`; returns the version."""
    windows = await read_windows(client, Keys(settings.namespace), streams)
    histories = [
        History(name, tuple(window.header.channels), window.values_SC, window.header.lo, window.header.grid_version)
        for name, window in sorted(windows.items())
    ]
    fitting = TrainerSettings.model_validate({**FIT, "state_dir": settings.state_dir, **(fit or {})})
    teacher = load_teacher(fitting)
    layout = layout_of(fitting, teacher)
    how = None if teacher is None else Distillation(budget_of(fitting, teacher), evidence=False)
    version = new_version()
    store = ArtefactStore(settings.store_uri(), settings.state_dir / "cache")
    for number, stack in enumerate(stacks(histories, torch.device("cpu"))):
        fitted = await asyncio.to_thread(fit_stack, stack, layout, fitting, teacher, how)
        members, start = [], 0
        for history in fitted.histories:
            span = (history.lo, history.hi)
            members.append(
                Member(history.stream, start, list(history.channels), history.grid_version, span, history.points)
            )
            start += len(history.channels)
        header = Header(version, layout, members)
        raw = dump(header, fitted.rows, fitted.streams, fitted.memories, Seasons())
        uri, sha256 = store.write(f"{version}-{number}.safetensors", raw)
        for row, member in enumerate(members):
            ref = ref_of(header, row, uri, sha256)
            record = ModelRecord(stream=member.stream, promoted=ref, announced_at=datetime.now(UTC).isoformat())
            await producer.send_and_wait(
                settings.topic("models"), record.model_dump_json().encode(), key=member.stream.encode()
            )
    return version


@dataclass
class Ready:
    """Streams with students of `PAST` slots of history, between running workers."""

    own: WorkerSettings
    producer: AIOKafkaProducer
    client: redis.asyncio.Redis
    detector: DetectorWorker
    streams: list[str]
    start_ms: int
    version: str
    stop_detector: Callable[[], Awaitable[None]]  # returns when it has ended
    stop_streamer: Callable[[], Awaitable[None]]  # the same

    async def live(self, stream: str, first: int, values: Sequence[float] | np.ndarray, piece: int = 10) -> None:
        """Live points from slot `first` on, a few at a time."""
        for at in range(0, len(values), piece):
            await send(self.producer, self.own, stream, self.start_ms, first + at, values[at : at + piece])

    def slot(self, absolute: int) -> int:
        """Slots since the start of the history."""
        return absolute - self.start_ms // STEP_MS


PAST = 600


@asynccontextmanager
async def ready(
    settings: CommonSettings,
    client: redis.asyncio.Redis,
    streams: Sequence[str],
    *,
    given: object = None,
    fit: Mapping[str, object] | None = None,
    **own: object,
) -> AsyncIterator[Ready]:
    """Streamer and detector running, students in force, nothing live yet."""
    made = detector_settings(settings, **own)
    start = start_of(PAST)
    async with producing(settings) as producer, AsyncExitStack() as streaming, AsyncExitStack() as stack:
        await streaming.enter_async_context(running(settings))
        detector = await stack.enter_async_context(detecting(made))
        for stream in streams:
            body = orjson.dumps(given or {"interval_s": STEP_MS / 1000})
            await producer.send_and_wait(settings.topic("streams"), body, key=stream.encode())
        for stream in streams:
            await send(producer, settings, stream, start, 0, normal(0, PAST), history=True)
        keys = Keys(settings.namespace)

        async def written() -> bool:
            headers = await read_headers(client, keys, list(streams))
            return len(headers) == len(streams) and all(h.hi - h.lo + 1 == PAST for h in headers.values())

        await until(written)
        await until(lambda: asked_for(settings, set(streams)))
        version = await announce(producer, made, client, list(streams), fit)
        await until(lambda: in_force(detector, streams, version))
        yield Ready(made, producer, client, detector, list(streams), start, version, stack.aclose, streaming.aclose)


async def asked_for(settings: CommonSettings, streams: set[str]) -> bool:
    """Whether all these streams have asked for training."""
    records = await read_all(settings, "training")
    return {TrainingRequest.model_validate_json(record.value).stream for record in records} >= streams


async def in_force(detector: DetectorWorker, streams: Iterable[str], version: str) -> bool:
    """Whether the detector scores the streams with this version."""
    bank: StudentBank | None = getattr(detector, "bank", None)
    refs = [bank.model_of(stream) if bank else None for stream in streams]
    return all(ref is not None and ref.version == version for ref in refs)


async def states(settings: CommonSettings, stream: str) -> list[str]:
    """States of a stream's events, in order, without updates: a severity that rises is one."""
    return [event.data.state for event in await events(settings, stream) if event.data.state != "update"]


async def events(settings: CommonSettings, stream: str | None = None) -> list[AnomalyEvent]:
    """All of `anomalies`, partition by partition in order."""
    found = [AnomalyEvent.model_validate_json(record.value) for record in await read_all(settings, "anomalies")]
    return [event for event in found if stream in (None, event.subject)]

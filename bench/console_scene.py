"""A deployment worth looking at, for the console's pictures: services with days and weeks of their own, trained, one hour live.

Shapes: S slots of a stream, C channels
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
from aiokafka import AIOKafkaProducer

from streamer.contracts import StreamSettings
from streamer.host.embedded import EmbeddedStack
from streamer.host.fleet import Fleet, worker_env
from streamer.kafka.client import make_producer
from streamer.kafka.publishing import HISTORY_HEADERS, Batch
from streamer.kafka.tables import TableReader
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings

INTERVAL_S, PAST_S, LIVE_S = 60, 15 * 86_400, 5_400
ROWS = 2_000  # of one record


class Service(NamedTuple):
    """A stream of the scene: level and swing of its day, its noise, and what happens to it lately."""

    name: str
    team: str
    unit: str
    channels: tuple[str, ...]
    level: float
    swing: float
    noise: float
    event: tuple[int, int, float] | None = None  # minutes ago: begin, end; factor


SERVICES = (
    Service("checkout.latency", "payments", "ms", ("value",), 180, 90, 6, (22, -1, 3.0)),
    Service("checkout.requests", "payments", "req/s", ("value",), 900, 620, 22),
    Service("payments.errors", "payments", "/min", ("value",), 6, 3, 0.7, (64, 48, 9.0)),
    Service("search.latency", "search", "ms", ("value",), 95, 30, 4),
    Service("search.requests", "search", "req/s", ("value",), 2400, 1700, 60, (14, -1, 0.25)),
    Service("db-1.cpu", "platform", "%", ("user", "system", "iowait"), 34, 16, 1.5, (36, 12, 2.0)),
    Service("db-2.cpu", "platform", "%", ("user", "system", "iowait"), 31, 15, 1.4),
    Service("db-1.connections", "platform", "", ("value",), 210, 110, 7),
    Service("queue.depth", "platform", "", ("value",), 40, 22, 5),
    Service("edge.bytes_out", "platform", "MB/s", ("value",), 310, 210, 9, (16, -1, 1.22)),
    Service("cache.hit_ratio", "search", "%", ("value",), 92, 3, 0.4),
    Service("mail.sent", "growth", "/min", ("value",), 120, 100, 9),
)


def values(service: Service, first_s: int, count: int, seed: int, eventful: bool) -> np.ndarray:
    """Values (S, C) of the slots from one on: a day, a calmer weekend, noise, and the event."""
    rng = np.random.default_rng(seed)
    at_S = first_s + np.arange(count) * INTERVAL_S
    hour_S = at_S % 86_400 / 3600
    day_S = 0.5 - 0.5 * np.cos(2 * math.pi * (hour_S - 4) / 24)
    weekend_S = np.where((at_S // 86_400 + 3) % 7 >= 5, 0.6, 1.0)
    base_S = service.level - service.swing / 2 + service.swing * day_S * weekend_S
    if eventful and service.event is not None:
        begin, end, factor = service.event
        ago_S = (time.time() - at_S) / 60
        base_S = np.where((ago_S <= begin) & (ago_S > end), base_S * factor, base_S)
    parts = np.array([1.0, 0.35, 0.12])[: len(service.channels)]
    made_SC: np.ndarray = np.clip(
        base_S[:, None] * parts + rng.normal(0, service.noise, (count, len(parts))) * parts, 0, None
    )
    return made_SC


async def send(producer: AIOKafkaProducer, settings: CommonSettings, name: str, channels: tuple[str, ...],
               first_s: int, values_SC: np.ndarray, *, history: bool, step_s: float = INTERVAL_S) -> None:  # fmt: skip
    """Points as records of some thousand rows."""
    for at in range(0, len(values_SC), ROWS):
        rows = [
            [first_s + (at + k) * step_s, *map(float, row.round(3))] for k, row in enumerate(values_SC[at : at + ROWS])
        ]
        batch = Batch(name, channels, rows)
        await producer.send_and_wait(
            settings.topic("metrics"), batch.message(), key=name.encode(), headers=HISTORY_HEADERS if history else None
        )


async def settle(settings: CommonSettings, streams: set[str], limit_s: float = 240.0) -> None:
    """Wait until all of them have a model record."""
    table, found = TableReader(settings, "models"), set[str]()
    await table.start()
    try:
        async with asyncio.timeout(limit_s):
            while not found >= streams:
                found |= {(record.key or b"").decode() for record in await table.poll(500)}
    finally:
        await table.stop()


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[CommonSettings]:
    """Servers and workers at work on it; two weeks learnt, ninety minutes live, dead letters of two sorts."""
    async with EmbeddedStack(folder) as stack:
        settings = CommonSettings(
            bootstrap=stack.bootstrap, redis_url=stack.redis_url, state_dir=folder / "state", assignment="all"
        )
        await provision(settings)
        fleet = Fleet(worker_env(settings), folder)
        producer = await make_producer(settings)
        fleet.start()
        try:
            now = int(time.time()) // INTERVAL_S * INTERVAL_S
            live, past = now - LIVE_S, now - LIVE_S - PAST_S
            for service in SERVICES:
                own = StreamSettings(
                    interval_s=INTERVAL_S, labels={"team": service.team, "env": "prod"}, unit_name=service.unit or None,
                    paused=service.name == "mail.sent",
                )  # fmt: skip
                body = own.model_dump_json(exclude_defaults=True).encode()
                await producer.send_and_wait(settings.topic("streams"), body, key=service.name.encode())
            for seed, service in enumerate(SERVICES):
                past_SC = values(service, past, PAST_S // INTERVAL_S, seed, False)
                await send(producer, settings, service.name, service.channels, past, past_SC, history=True)
            await settle(settings, {service.name for service in SERVICES})
            for seed, service in enumerate(SERVICES, 100):
                live_SC = values(service, live, LIVE_S // INTERVAL_S, seed, True)
                await send(producer, settings, service.name, service.channels, live, live_SC, history=False)
            for bad in (b"cpu=97", orjson.dumps({"stream": "web.cpu", "ts": time.time() + 86_400, "value": 1})):
                await producer.send_and_wait(settings.topic("metrics"), bad, key=b"web.cpu")
            yield settings
        finally:
            await producer.stop()
            await fleet.stop()

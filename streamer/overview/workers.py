"""The workers that are alive, and the partitions that none of them reads."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio

from streamer.host.stats import read_stats
from streamer.windows.keys import Keys

# What each room reads; a sink reads `anomalies` under a group of its own.
READS = {"streamer": "metrics", "detector": "windows", "trainer": "training"}
# The counter of a room that says how much it does.
THROUGHPUT = {"streamer": "points_in", "detector": "windows_scored", "trainer": "students_trained", "sink": "messages"}
_HEAD = ("room", "worker", "since", "at", "rates", "facts")


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker's newest report."""

    room: str
    name: str
    reported_s: float  # ago
    up_s: float
    topic: str | None  # full name; None: it has not said yet
    group: str | None
    partitions: list[int]  # of `topic` that it owns
    host: str | None = None
    version: str | None = None  # of the program
    store: str | None = None  # where it looks for artefacts
    counts: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)  # gained per second

    @property
    def per_s(self) -> float:
        """What it does a second, in the unit of its room (`THROUGHPUT`)."""
        return self.rates.get(THROUGHPUT.get(self.room, ""), 0.0)


async def read_workers(client: redis.asyncio.Redis, keys: Keys) -> list[Worker]:
    """All that reported in the last ten seconds, by room and name. Raises redis.RedisError."""
    now = time.time()
    return [_worker(row, now) for row in await read_stats(client, keys)]


def _worker(row: dict[str, Any], now: float) -> Worker:
    facts = row.get("facts", {})
    return Worker(
        row["room"],
        row["worker"],
        max(0.0, round(now - row["at"], 1)),
        max(0.0, round(now - row.get("since", row["at"]), 1)),
        facts.get("topic"),
        facts.get("group"),
        list(facts.get("partitions", ())),
        facts.get("host"),
        facts.get("version"),
        facts.get("store"),
        {name: value for name, value in row.items() if name not in _HEAD and isinstance(value, int | float)},
        row.get("rates", {}),
    )


def unread(workers: Iterable[Worker], room: str, partitions: int) -> list[int]:
    """Partitions that no living worker of the room owns.

    >>> mine = Worker("streamer", "a", 0.1, 60.0, "metrics", "streamer", [0, 2])
    >>> unread([mine], "streamer", 4)
    [1, 3]
    """
    read = {partition for worker in workers if worker.room == room for partition in worker.partitions}
    return [partition for partition in range(partitions) if partition not in read]

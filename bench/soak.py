"""Hours of a modest load: do memory, descriptors, threads and delays stay flat? `make soak` (an hour; SOAK_S or --seconds).

Embedded broker and Valkey, one of each worker, 200 streams with a point a second each, an anomaly now and then. Every ten
seconds: resident memory, descriptors and threads of each worker, memory of Redis, and the delays of streamer and detector
out of /metrics. The first tenth is warming up. Of the rest the median of the last third is held against that of the first:

- flat is a rise of no more than a tenth, and 16 MB (memory), 4 (descriptors), 2 (threads), 50 ms (delays) besides;
- delays are those of each third together, read between the bounds of the histogram, and may rise by a half.

The embedded broker keeps all records in memory and is not judged. Ends with status 1 when something is not flat.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import orjson
import psutil
import redis.asyncio
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from streamer.host.embedded import EmbeddedStack
from streamer.host.fleet import WORKERS, Fleet, worker_env
from streamer.kafka.client import make_producer
from streamer.kafka.publishing import HISTORY_HEADERS
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings
from testkit.ports import lasting_ports

HISTORY = CAPACITY = 1024  # slots: rings are full from the first live point on
ANOMALY = 4.0
SAMPLE_S = 10.0
WARMING = 0.1  # of the run
RISE, RISE_OF_DELAYS = 1.1, 1.5
SLACK = {"MB": 16.0, "descriptors": 4.0, "threads": 2.0, "ms": 50.0}
MB = 1 << 20

Buckets = dict[float, float]  # upper bound in seconds → observations up to it


@dataclass
class Samples:
    """What was measured, by what it is of and its unit; and the buckets of delays, by room."""

    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    delays: dict[str, list[Buckets]] = field(default_factory=dict)

    def add(self, what: str, unit: str, value: float) -> None:
        """One more of a kind."""
        self.values.setdefault((what, unit), []).append(value)


def quantile(before: Buckets, after: Buckets, share: float) -> float:
    """Seconds below which this share of the observations between two scrapes lies, linear within a bucket.

    >>> quantile({0.1: 5.0, 0.2: 5.0, float("inf"): 5.0}, {0.1: 55.0, 0.2: 105.0, float("inf"): 105.0}, 0.75)
    0.15
    """
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    wanted, low, below = share * max(counts.values()), 0.0, 0.0
    for bound, count in counts.items():
        if count >= wanted:
            return round(
                low if bound == float("inf") else low + (bound - low) * (wanted - below) / max(count - below, 1e-9), 6
            )
        low, below = bound, count
    return low


def thirds(count: int) -> tuple[slice, slice]:
    """First and last third of so many samples, without the warming up.

    >>> thirds(100)
    (slice(10, 40, None), slice(70, 100, None))
    """
    first = round(count * WARMING)
    third = (count - first) // 3
    return slice(first, first + third), slice(count - third, count)


def rows_of(samples: Samples) -> list[tuple[str, str, float, float, bool]]:
    """What, its unit, the first third, the last, and whether that is flat."""
    rows = []
    for (what, unit), values in samples.values.items():
        first, last = (float(np.median(values[part])) for part in thirds(len(values)))
        rows.append((what, unit, first, last, last <= RISE * first + SLACK[unit]))
    for room, scrapes in samples.delays.items():
        parts = [scrapes[part] for part in thirds(len(scrapes))]
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            first, last = (1000 * quantile(part[0], part[-1], share) for part in parts)
            rows.append((f"{room}, delay {name}", "ms", first, last, last <= RISE_OF_DELAYS * first + SLACK["ms"]))
    return rows


async def _publish(settings: CommonSettings, producer: AIOKafkaProducer, streams: int, end: float) -> None:
    rng, slot = np.random.default_rng(0), 0
    names = [f"s{i}" for i in range(streams)]
    start = int(time.time())

    def value(i: int, at: int) -> float:
        return round(float(np.sin(at * 2 * np.pi / (20 + i % 40)) + rng.normal() * 0.2), 4)

    for i, name in enumerate(names):
        rows = [[(start + at) * 1000, value(i, at)] for at in range(-HISTORY, 0)]
        body = orjson.dumps({"stream": name, "points": rows})
        await producer.send_and_wait(settings.topic("metrics"), body, key=name.encode(), headers=HISTORY_HEADERS)
    while time.time() < end:
        for i, name in enumerate(names):
            lifted = ANOMALY if (slot + 37 * i) % 1800 < 15 else 0.0
            body = orjson.dumps({"stream": name, "ts": (start + slot) * 1000, "value": value(i, slot) + lifted})
            await producer.send(settings.topic("metrics"), body, key=name.encode())
        slot += 1
        await asyncio.sleep(max(0.0, start + slot - time.time()))


def _scrape(port: int, room: str) -> Buckets:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    return {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "anomalyllm_delay_seconds_bucket" and sample.labels["room"] == room
    }


async def _sample(samples: Samples, ports: dict[str, int], client: redis.asyncio.Redis) -> None:
    for process in psutil.Process().children(recursive=True):
        words = process.cmdline()
        if not words or words[-1] not in WORKERS:
            continue
        samples.add(words[-1], "MB", process.memory_info().rss / MB)
        samples.add(words[-1], "descriptors", process.num_fds())
        samples.add(words[-1], "threads", process.num_threads())
    samples.add("Redis", "MB", (await client.info("memory"))["used_memory"] / MB)
    for room in ("streamer", "detector"):
        buckets = await asyncio.to_thread(_scrape, ports[room], room)
        if buckets:
            samples.delays.setdefault(room, []).append(buckets)


async def _main(seconds: float, streams: int, folder: Path) -> Samples:
    samples = Samples()
    async with EmbeddedStack(folder / "stack") as stack, redis.asyncio.Redis.from_url(stack.redis_url) as client:
        settings = CommonSettings(
            bootstrap=stack.bootstrap, redis_url=stack.redis_url, assignment="all", state_dir=folder
        )
        await provision(settings)
        ports = dict(zip(WORKERS, lasting_ports(3), strict=True))
        own = {"ANOMALYLLM_TEACHER": "none", "ANOMALYLLM_CAPACITY": str(CAPACITY)}
        workers = Fleet({**os.environ, **worker_env(settings), **own}, folder, ports)
        workers.start()
        producer = await make_producer(settings)
        end = time.time() + seconds
        publishing = asyncio.create_task(_publish(settings, producer, streams, end))
        try:
            while time.time() < end and not publishing.done():
                await asyncio.sleep(SAMPLE_S)
                workers.check()
                await _sample(samples, ports, client)
            await publishing
        finally:
            publishing.cancel()
            await producer.stop()
            await workers.stop()
    return samples


def course(values: Sequence[float]) -> str:
    """Medians of the tenths of a run: a plateau looks otherwise than a leak."""
    return " ".join(f"{np.median(part):.0f}" for part in np.array_split(np.array(values), 10) if len(part))


def _print(rows: Sequence[tuple[str, str, float, float, bool]]) -> int:
    print("| what | first third | last third | |\n| --- | --- | --- | --- |")
    for what, unit, first, last, flat in rows:
        print(f"| {what} | {first:.1f} {unit} | {last:.1f} {unit} | {'flat' if flat else '**not flat**'} |")
    return 0 if all(row[-1] for row in rows) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SOAK_S", "3600")))
    parser.add_argument("--streams", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = asyncio.run(_main(given.seconds, given.streams, Path(temporary)))
    print(f"{given.streams} streams, {given.seconds:.0f} s, {len(found.values['Redis', 'MB'])} samples")
    status = _print(rows_of(found))
    for (what, unit), values in found.values.items():
        if unit == "MB":
            print(f"{what}, MB in tenths of the run: {course(values)}")
    sys.exit(status)

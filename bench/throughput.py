"""Points a second through the streamer, and how long a point takes to reach `windows`.

  python bench/throughput.py [--streams 1000] [--points 2000000] [--per-record 100]

Starts an embedded broker and Valkey of its own and one streamer worker as a process; the records are published before
the worker starts, so the figure is the worker's. The latency part then publishes one point a stream and second.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson
import psutil
import redis.asyncio

from streamer.host.embedded import EmbeddedStack
from streamer.host.fleet import worker_env
from streamer.host.stats import read_stats
from streamer.kafka.client import make_consumer, make_producer
from streamer.kafka.topics import provision
from streamer.placement import home_partition
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.wire import decode


async def load(settings: CommonSettings, streams: int, points: int, per_record: int, t0: int) -> int:
    """Publish `points` points, round robin over streams, `per_record` a record; returns the slots a stream got."""
    producer = await make_producer(settings)
    slots = points // streams
    rng = np.random.default_rng(0)
    values = rng.normal(size=slots).round(3).tolist()
    topic = settings.topic("metrics")
    homes = [home_partition(f"s{i}", settings.partitions) for i in range(streams)]
    for at in range(0, slots, per_record):
        stamps = range(t0 + at * 1000, t0 + (at + per_record) * 1000, 1000)
        rows = list(zip(stamps, values[at : at + per_record], strict=False))
        for i in range(streams):
            body: object = {"stream": f"s{i}", "points": rows}
            if per_record == 1:
                body = {"stream": f"s{i}", "ts": rows[0][0], "value": rows[0][1]}
            await producer.send(topic, orjson.dumps(body), partition=homes[i])
    await producer.stop()
    return slots


async def main() -> None:
    """Run both parts and print a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--points", type=int, default=2_000_000)
    parser.add_argument("--per-record", type=int, default=100)
    parser.add_argument("--latency-seconds", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedStack(Path(folder)) as stack:
            settings = CommonSettings(bootstrap=stack.bootstrap, redis_url=stack.redis_url, assignment="all")
            await provision(settings)
            t0 = (int(time.time()) - arguments.points // arguments.streams - 60) * 1000
            slots = await load(settings, arguments.streams, arguments.points, arguments.per_record, t0)
            total = slots * arguments.streams
            env = {**os.environ, "OMP_NUM_THREADS": "1", **worker_env(settings)}
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "streamer.cli", "streamer", env=env, stderr=asyncio.subprocess.DEVNULL
            )
            rate, cpu = await throughput(settings, worker.pid, total)
            delays = await latency(settings, arguments.streams, arguments.latency_seconds, t0 + slots * 1000)
            worker.terminate()
            await worker.wait()
    report = {
        "streams": arguments.streams, "points": total, "per_record": arguments.per_record,
        "points_per_s": round(rate), "worker_cpu_s": round(cpu, 2), "points_per_cpu_s": round(total / cpu),
        "latency_ms": {q: round(float(np.quantile(delays, q)) * 1e3, 1) for q in (0.5, 0.95, 0.99)},
    }  # fmt: skip
    print(json.dumps(report))


async def throughput(settings: CommonSettings, pid: int, total: int) -> tuple[float, float]:
    """Points a second between the first and the last thousandth of the load, and the worker's CPU seconds."""
    process = psutil.Process(pid)
    begun: tuple[float, float, float] | None = None
    async with redis.asyncio.Redis.from_url(settings.redis_url) as client:
        while True:
            rows = await read_stats(client, Keys(settings.namespace))
            done = float(rows[0].get("points_in", 0)) if rows else 0.0
            if done and begun is None:
                begun = (float(rows[0]["at"]), done, sum(process.cpu_times()[:2]))
            if done >= total and begun is not None:
                return (done - begun[1]) / (float(rows[0]["at"]) - begun[0]), sum(process.cpu_times()[:2])
            await asyncio.sleep(0.05)


async def latency(settings: CommonSettings, streams: int, seconds: int, t0: int) -> list[float]:
    """Seconds from producing a point to reading its change from `windows`, one point a stream and second."""
    consumer = await make_consumer(settings, None, settings.topic("windows"))
    while not consumer.assignment():
        await asyncio.sleep(0.05)
    while await consumer.getmany(timeout_ms=500):
        continue
    producer = await make_producer(settings)
    sent: dict[tuple[str, int], float] = {}
    delays: list[float] = []

    async def send() -> None:
        for second in range(seconds):
            started = time.monotonic()
            for i in range(streams):
                ts = t0 + second * 1000
                body = orjson.dumps({"stream": f"s{i}", "ts": ts, "value": 1.5})
                sent[f"s{i}", ts // 1000] = time.monotonic()
                await producer.send(
                    settings.topic("metrics"), body, partition=home_partition(f"s{i}", settings.partitions)
                )
                if i % 10 == 9:  # spread over the second, as metrics are
                    await asyncio.sleep(max(0.0, started + (i + 1) / streams - time.monotonic()))

    sending = asyncio.create_task(send())
    while len(delays) < streams * seconds:
        batches = await consumer.getmany(timeout_ms=200)
        now = time.monotonic()
        for record in (record for records in batches.values() for record in records):
            batch = decode(record.value)
            for stream, first, count in zip(
                batch.streams, batch.columns["first_slot"], batch.columns["slots"], strict=True
            ):
                begun = (sent.pop((stream, slot), None) for slot in range(int(first), int(first) + int(count)))
                delays += [now - moment for moment in begun if moment is not None]
        if sending.done() and not batches and not sent:
            break
    await sending
    await producer.stop()
    await consumer.stop()
    return delays


if __name__ == "__main__":
    asyncio.run(main())

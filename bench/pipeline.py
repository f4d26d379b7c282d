"""The whole pipeline at N streams: fit seconds, slots scored a second, produce → alert latency, false alerts.

  python bench/pipeline.py [--streams 1000] [--history 1024] [--seconds 60]

Starts an embedded stack and all three workers as processes, publishes history for every stream, lets the trainer fit
all of them, then publishes one point a stream and second with a level shift in every hundredth stream, and afterwards
a backlog of points as fast as the broker takes them.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson
import psutil
import redis.asyncio
from aiokafka import AIOKafkaProducer

from streamer.host.embedded import EmbeddedStack
from streamer.host.fleet import Fleet, worker_env
from streamer.host.stats import read_stats
from streamer.kafka.client import make_consumer, make_producer
from streamer.kafka.topics import provision
from streamer.placement import home_partition
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys

NOISE = 0.2
SHIFT = 4.0  # twenty times the noise, four amplitudes' worth of a sine
SHIFT_SLOTS = 10
SETTLED_S = 3.0  # the detector publishes its counters every second
BACKLOG_SLOTS = 2000  # a stream: the counters that are waited for come once a second
RECORD_SLOTS = 100  # of them a record


def value_of(i: int, slot: int, rng: np.random.Generator) -> float:
    """Stream i at a slot: a sine of its own period, with noise."""
    return float(np.sin(slot * 2 * np.pi / (20 + i % 40)) + rng.normal() * NOISE)


class Bench:
    """One run."""

    def __init__(self, settings: CommonSettings, producer: AIOKafkaProducer, streams: int, t0: int) -> None:
        self.settings = settings
        self.producer = producer
        self.names = [f"s{i}" for i in range(streams)]
        self.t0 = t0
        self.rng = np.random.default_rng(0)

    async def send(self, i: int, slots: range, history: bool = False, shift: float = 0.0) -> None:
        """Publish slots of stream i as one record."""
        rows = [[(self.t0 + slot) * 1000, round(value_of(i, slot, self.rng) + shift, 4)] for slot in slots]
        await self.producer.send(
            self.settings.topic("metrics"),
            orjson.dumps({"stream": self.names[i], "points": rows}),
            partition=home_partition(self.names[i], self.settings.partitions),
            headers=[("mode", b"history")] if history else [],
        )

    async def counts(self, room: str) -> dict[str, float]:
        """Newest counters of a worker."""
        async with redis.asyncio.Redis.from_url(self.settings.redis_url) as client:
            rows = await read_stats(client, Keys(self.settings.namespace))
        mine = [row for row in rows if row["room"] == room]
        return {k: float(v) for k, v in mine[0].items() if k not in ("room", "worker")} if mine else {}

    async def until(self, room: str, key: str, count: float) -> dict[str, float]:
        """Wait until a counter has reached a value."""
        while True:
            counts = await self.counts(room)
            if counts.get(key, 0) >= count:
                return counts
            await asyncio.sleep(0.2)

    async def settled(self) -> int:
        """Students in force, once no more come. One that fails the trainer's gate never does: the prior goes on."""
        before = -1
        while True:
            counts = await self.counts("detector")
            here = int(counts.get("streams_warming", 0) + counts.get("streams_ready", 0))
            if here and here == before:
                return here
            before = here
            await asyncio.sleep(SETTLED_S)


async def main() -> None:
    """Run it and print a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--history", type=int, default=1024)
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedStack(Path(folder)) as stack:
            settings = CommonSettings(
                bootstrap=stack.bootstrap, redis_url=stack.redis_url, assignment="all", state_dir=Path(folder)
            )
            await provision(settings)
            workers = Fleet({**os.environ, **worker_env(settings)}, Path(folder))
            workers.start()
            producer = await make_producer(settings)
            # so far back that the backlog's last slots are not in the future
            t0 = int(time.time()) - arguments.history - BACKLOG_SLOTS
            bench = Bench(settings, producer, arguments.streams, t0)
            try:
                report = await run(bench, workers, arguments.history, arguments.seconds)
            finally:
                await producer.stop()
                await workers.stop()
    print(json.dumps({"streams": arguments.streams, "history": arguments.history, **report}))


async def run(bench: Bench, workers: Fleet, history: int, seconds: int) -> dict[str, object]:
    """The three parts: fit, live, backlog."""
    await bench.until("detector", "at", 1)
    begun = time.monotonic()
    for i in range(len(bench.names)):
        await bench.send(i, range(history), history=True)
    await bench.until("trainer", "students_trained", len(bench.names))
    fit_s = time.monotonic() - begun
    in_force = await bench.settled()
    inbox = await make_consumer(bench.settings, None, bench.settings.topic("anomalies"))
    shifted_at: dict[str, float] = {}
    opened: dict[str, float] = {}
    false: set[str] = set()

    async def listen() -> None:
        async for record in inbox:
            incident = orjson.loads(record.value)["data"]
            stream = incident["stream"]
            if incident["state"] != "open" or incident["kind"] != "anomaly":
                continue
            if stream in shifted_at:
                opened.setdefault(stream, time.monotonic())
            else:
                false.add(incident["incident_id"])

    listening = asyncio.create_task(listen())
    before = await bench.counts("detector")
    cpu = cpu_of(workers)
    # the live clock goes on where the history ended
    start, slot = time.monotonic(), history
    for second in range(seconds):
        shifting = seconds // 2 <= second < seconds // 2 + SHIFT_SLOTS
        for i, name in enumerate(bench.names):
            lifted = shifting and i % 100 == 7
            if lifted:
                shifted_at.setdefault(name, time.monotonic())
            await bench.send(i, range(slot, slot + 1), shift=SHIFT if lifted else 0.0)
        slot += 1
        await asyncio.sleep(max(0.0, start + second + 1 - time.monotonic()))
    live_false = len(false)
    live_cpu = cpu_of(workers) - cpu
    scored = (await bench.counts("detector")).get("windows_scored", 0) - before.get("windows_scored", 0)
    backlog = await drain(bench, slot)
    listening.cancel()
    await inbox.stop()
    delays = np.array([opened[s] - at for s, at in shifted_at.items() if s in opened])
    return {
        "fit_all_s": round(fit_s, 1), "in_force": in_force, "live_slots_scored": int(scored), "live_workers_cpu_share": round(live_cpu / seconds, 2),
        "shifted": len(shifted_at), "found": len(delays),
        "produce_to_alert_s": {q: round(float(np.quantile(delays, q)), 2) for q in (0.5, 0.95)} if len(delays) else None,
        "false_incidents": live_false, "false_per_10k_slots": round(live_false / max(scored, 1) * 1e4, 2),
        **backlog,
    }  # fmt: skip


async def drain(bench: Bench, slot: int) -> dict[str, float]:
    """Publish a backlog, measure how fast the detector scores it."""
    before = (await bench.counts("detector")).get("windows_scored", 0.0)
    begun = time.monotonic()
    for at in range(slot, slot + BACKLOG_SLOTS, RECORD_SLOTS):
        for i in range(len(bench.names)):
            await bench.send(i, range(at, at + RECORD_SLOTS))
    total = BACKLOG_SLOTS * len(bench.names)
    counts = await bench.until("detector", "windows_scored", before + total * 0.99)
    teacher = counts.get("teacher_windows", 0.0)
    return {"backlog_slots_per_s": round(total / (time.monotonic() - begun)), "teacher_windows": teacher}


def cpu_of(workers: Fleet) -> float:
    """CPU seconds of this process's children: the workers and the servers."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        times = child.cpu_times()
        total += times.user + times.system
    return total


if __name__ == "__main__":
    asyncio.run(main())

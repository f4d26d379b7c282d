"""What the three workers have in common: servers, readiness, the loop, draining, closing, and a sure end.

A worker is three functions: `boot` connects what it needs, `turn` does one batch, `drain` does what is left when it
is asked to end. How long each may take once the end is asked for:

- `boot` is cancelled at once: nothing has been begun.
- A turn is finished, and `drain` done, within `DRAIN_S`; they are cancelled after it, or at once when they wait for a
  server that is away. A batch that is cut off is read again by the next start, as after a crash.
- Clients are closed at the same time, within `CLOSE_S`; then their connections are dropped. That of Redis is the last:
  a consumer that leaves its group may still ask it, and what it opened then would be left open.
"""

import asyncio
import gc
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, NoReturn

import redis.asyncio
import structlog
from aiokafka import AIOKafkaProducer

from streamer.errors import AnomalyLLMError
from streamer.host.logs import configure_logs
from streamer.host.probes import Health, Probes
from streamer.host.reported import StatsCollector
from streamer.host.signals import leave, run_until_signalled
from streamer.host.stats import Room, Stats
from streamer.kafka.client import CLOSE_S, make_producer
from streamer.masking import masked
from streamer.metrics import TURN
from streamer.patience import patiently, uninterrupted
from streamer.redis_client import make_redis, redis_name
from streamer.refusals import REDIS_ERRORS
from streamer.settings import CommonSettings
from streamer.stopping import Stop
from streamer.tracing import switch_on
from streamer.version import installed_version
from streamer.windows.keys import Keys

log = structlog.get_logger(__name__)

# A batch takes well under a second when servers answer. With closing (1.5 s) and threads (1 s) it adds up to 4.5 s.
DRAIN_S = 2.0


@dataclass
class Servers:
    """What every worker is given: connections that answered once, and names."""

    redis: redis.asyncio.Redis
    producer: AIOKafkaProducer
    keys: Keys
    stats: Stats
    _closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    shown: list[Stats] = field(default_factory=list)

    def shows(self, *stats: Stats) -> None:
        """Show these counters as metrics in place of `stats`: a process of sinks has some for each of them."""
        self.shown[:] = stats

    def closes(self, *stops: Callable[[], Awaitable[None]]) -> None:
        """Call these when the worker ends, also when `boot` does not come to its end. Name them before they connect."""
        self._closing += stops


async def run_worker(
    settings: CommonSettings,
    room: Room,
    stop: Stop,
    boot: Callable[[Servers], Awaitable[None]],
    turn: Callable[[], Awaitable[None]],
    drain: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run one worker until `stop` is requested; waits for servers that are away, at the start and later.

    Raises:
        RefusedError: a password or a right is missing; waiting cannot help.
        AnomalyLLMError: whatever else `boot` and `turn` cannot mend.
    """
    booted = asyncio.Event()
    health = Health(room)
    health.waiting_for, health.ending = (lambda: stop.waits), stop.requested.is_set
    probes = Probes(health, settings.metrics_host, settings.metrics_port) if settings.metrics_port else None

    async def work() -> None:
        closing: list[Callable[[], Awaitable[None]]] = []
        last: list[Callable[[], Awaitable[None]]] = []
        beating = asyncio.create_task(_beat(health))
        try:
            client = make_redis(settings)
            last.append(client.aclose)
            await patiently(redis_name(settings), client.ping, REDIS_ERRORS)
            producer = await make_producer(settings)
            closing.append(producer.stop)
            keys = Keys(settings.namespace)
            stats = Stats(client, keys, settings.worker_name, room)
            stats.facts.update(
                host=socket.gethostname(), version=installed_version(), store=masked(settings.store_uri())
            )
            servers = Servers(client, producer, keys, stats, closing, [stats])
            if probes is not None:
                probes.add(StatsCollector(room, settings.partitions, servers.shown))
            await boot(servers)
            booted.set()
            health.turned()
            health.ready = True
            log.info(f"{room} ready", bootstrap=settings.bootstrap, partitions=settings.partitions)
            while not stop.requested.is_set():
                begin = time.perf_counter()
                await turn()
                TURN.labels(room).observe(time.perf_counter() - begin)
                health.turned()
            if drain is not None:
                await drain()
        finally:
            await uninterrupted(_close_all(closing, last))
            beating.cancel()
            if probes is not None:
                probes.close()

    with stop.observed():
        task = asyncio.create_task(work())
    try:
        await _first(task, stop.requested)
        if booted.is_set():
            await _first(task, stop.hopeless, timeout_s=DRAIN_S)
        if not task.done():
            log.info(
                "ending in the middle of a batch; it is read again at the next start" if booted.is_set() else "ending"
            )
            task.cancel()
        await task
    except asyncio.CancelledError:
        if not task.done():  # we are cancelled ourselves
            task.cancel()
            await asyncio.wait({task})
            raise
        if not stop.requested.is_set():
            raise
    log.info("stopped")


async def _beat(health: Health) -> None:
    """As long as the event loop runs."""
    while True:
        health.beat()
        await asyncio.sleep(1.0)


async def _first(task: "asyncio.Task[None]", event: asyncio.Event, timeout_s: float | None = None) -> None:
    """Return when the task has ended or the event is set, whichever comes first."""
    watching = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, watching}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()


async def _close_all(closing: list[Callable[[], Awaitable[None]]], last: list[Callable[[], Awaitable[None]]]) -> None:
    await _close(closing, CLOSE_S + 0.5)  # clients drop their connections after CLOSE_S
    await _close(last, 0.1)


async def _close(closing: list[Callable[[], Awaitable[None]]], timeout_s: float) -> None:
    """Close all at the same time, the newest first; what does not end in time is dropped."""
    tasks = [asyncio.ensure_future(close()) for close in reversed(closing)]
    if not tasks:
        return
    done, late = await asyncio.wait(tasks, timeout=timeout_s)
    for task in late:
        task.cancel()
    for task in done:
        if task.exception() is not None:
            log.info("not closed in order", error=masked(f"{type(task.exception()).__name__}: {task.exception()}"))


def run_process(
    settings: CommonSettings, room: Room, work: Callable[[], Coroutine[Any, Any, None]], stop: Stop
) -> NoReturn:
    """Run a worker as this process: logs, signals, and exit status 1 with one line when it cannot go on."""
    configure_logs(settings.log_format, settings.log_level, settings.worker_name)
    if settings.traces:
        switch_on(room, installed_version())

    async def reported() -> int:
        try:
            await work()
        except AnomalyLLMError as error:
            log.error("cannot go on", error=masked(error), kind=type(error).__name__)
            return 1
        return 0

    gc.freeze()  # a worker stands still while garbage is looked for: not in what it has imported (torch!)
    leave(run_until_signalled(reported(), stop.request) or 0)

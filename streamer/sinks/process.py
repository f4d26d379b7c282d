"""`anomalyllm sink`: all sinks of a file in one process, each on its own feet."""

import asyncio
import signal
from collections.abc import Sequence

import redis.asyncio
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from streamer.host.logs import configure_logs
from streamer.kafka.client import make_producer, patiently
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings
from streamer.sinks.building import build
from streamer.sinks.config import SinksFile
from streamer.sinks.feedback import Acknowledged
from streamer.sinks.worker import REDIS_ERRORS, SinkWorker

log = structlog.get_logger(__name__)
FEEDBACK_MS = 1_000


class SinkProcess:
    """Runs sinks until `stop` (or SIGTERM, SIGINT)."""

    def __init__(self, settings: CommonSettings, file: SinksFile, names: Sequence[str] | None = None) -> None:
        """`names`: some of the file's sinks; None: all. Raises ConfigError where one cannot be built."""
        self.settings = settings
        self._file = file
        self._transports = {name: build(file, name) for name in (names or file.sinks)}
        self._stopping = asyncio.Event()
        self.workers: list[SinkWorker] = []

    def stop(self) -> None:
        """Let every sink finish what it is sending."""
        self._stopping.set()
        for worker in self.workers:
            worker.stop()

    async def run(self) -> None:
        """Work until stopped."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        settings = self.settings
        client = redis.asyncio.Redis.from_url(settings.redis_url)
        acknowledged = Acknowledged(settings)
        try:
            await patiently(f"Redis at {settings.redis_url}", client.ping, REDIS_ERRORS)
            producer = await make_producer(settings)
            try:
                await provision(settings)
                await acknowledged.start()
                self.workers = [
                    SinkWorker(settings, self._file, name, transport, client, producer, acknowledged)
                    for name, transport in self._transports.items()
                ]
                if self._stopping.is_set():
                    return
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._follow(acknowledged))
                    for worker in self.workers:
                        tasks.create_task(self._keep(worker))
            finally:
                await producer.stop()
        finally:
            await acknowledged.stop()
            for transport in self._transports.values():
                await transport.aclose()
            await client.aclose()
        log.info("stopped")

    async def _keep(self, worker: SinkWorker) -> None:
        """A mistake of ours in one sink is said, and concerns no other: it starts again from its shelf."""

        def say(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            log.error("sink failed, starting it again", sink=worker.sink, exc_info=error)

        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Exception),
            wait=wait_exponential(1.0, max=60.0),
            before_sleep=say,
            stop=lambda _: self._stopping.is_set(),
            reraise=True,
        ):
            with attempt:
                await worker.run()

    async def _follow(self, acknowledged: Acknowledged) -> None:
        cluster = None
        while not self._stopping.is_set():
            if await acknowledged.poll(FEEDBACK_MS):
                for worker in self.workers:
                    worker.wake()
            now = self.workers[0].cluster
            if cluster is not None and now != cluster:
                await acknowledged.rewind()
            cluster = now


def run(settings: CommonSettings, file: SinksFile, names: Sequence[str] | None) -> None:
    """Run sinks until told to stop."""
    configure_logs(settings.log_format, settings.log_level, settings.worker_name)

    async def work() -> None:
        await SinkProcess(settings, file, names).run()

    asyncio.run(work())

"""`anomalyllm sink`: all sinks of a file in one process, each on its own feet."""

import asyncio
from collections.abc import Sequence

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential

from streamer.errors import AnomalyLLMError
from streamer.host.worker import Servers, run_process, run_worker
from streamer.settings import CommonSettings
from streamer.sinks.building import build
from streamer.sinks.config import SinksFile
from streamer.sinks.feedback import Acknowledged
from streamer.sinks.worker import SinkWorker
from streamer.stopping import Stop

log = structlog.get_logger(__name__)
FEEDBACK_MS = 250


class SinkProcess:
    """Runs sinks until `stop` is called."""

    def __init__(self, settings: CommonSettings, file: SinksFile, names: Sequence[str] | None = None) -> None:
        """`names`: some of the file's sinks; None: all. Raises ConfigError where one cannot be built."""
        self.settings = settings
        self.stopping = Stop()
        self.workers: list[SinkWorker] = []
        self._file = file
        self._transports = {name: build(file, name) for name in (names or file.sinks)}
        self._tasks: list[asyncio.Task[None]] = []
        self._cluster: str | None = None

    def stop(self) -> None:
        """Let every sink finish what it is sending."""
        self.stopping.request()

    async def run(self) -> None:
        """Work until stopped. Raises AnomalyLLMError where Kafka or Redis refuse us."""
        await run_worker(self.settings, "sink", self.stopping, self._boot, self._turn, self._drain)

    async def _boot(self, servers: Servers) -> None:
        self._acknowledged = Acknowledged(self.settings)
        servers.closes(*(transport.aclose for transport in self._transports.values()))
        servers.closes(self._acknowledged.stop, self._end)
        await self._acknowledged.start()
        self.workers = [
            SinkWorker(self.settings, self._file, name, transport, servers.redis, servers.producer, self._acknowledged)
            for name, transport in self._transports.items()
        ]
        servers.shows(*(worker.stats for worker in self.workers))
        self._tasks = [asyncio.create_task(self._keep(worker)) for worker in self.workers]

    async def _turn(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()
        if await self._acknowledged.poll(FEEDBACK_MS):
            for worker in self.workers:
                worker.wake()
        cluster = self.workers[0].cluster
        if self._cluster and cluster and cluster != self._cluster:
            await self._acknowledged.rewind()
        self._cluster = cluster or self._cluster

    async def _drain(self) -> None:
        for worker in self.workers:
            worker.stop()
        await asyncio.gather(*self._tasks)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, worker: SinkWorker) -> None:
        """A mistake of ours in one sink is said, and concerns no other: it starts again from what is stored."""

        def again(error: BaseException) -> bool:
            ours = (
                isinstance(error, AnomalyLLMError) and not error.retriable
            )  # a password, a right: waiting cannot help
            return isinstance(error, Exception) and not ours and not self.stopping.requested.is_set()

        def say(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            log.error("sink failed, starting it again", sink=worker.sink, exc_info=error)

        async for attempt in AsyncRetrying(
            retry=retry_if_exception(again), wait=wait_exponential(1.0, max=60.0), before_sleep=say, reraise=True
        ):
            with attempt:
                await worker.run()


def run(settings: CommonSettings, file: SinksFile, names: Sequence[str] | None) -> None:
    """Run sinks as this process until it is asked to end."""
    process = SinkProcess(settings, file, names)
    run_process(settings, "sink", process.run, process.stopping)

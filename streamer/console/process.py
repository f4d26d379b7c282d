"""The console as a process: a web server, what it follows, and a producer for what people change."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
import uvicorn
from aiokafka import AIOKafkaProducer

from streamer.console.app import Console
from streamer.console.following import HISTORY_S, Following
from streamer.console.hub import Hub
from streamer.console.picture import Picture
from streamer.console.writing import Writing
from streamer.errors import ConfigError
from streamer.host.worker import run_process
from streamer.kafka.client import make_producer
from streamer.overview.reading import OverviewReader
from streamer.settings import ConsoleSettings
from streamer.stopping import Stop

log = structlog.get_logger(__name__)
GIVE_UP_S = 5.0  # a person waits for the answer
CLOSE_S = 1  # open pages are told to come again


class _Server(uvicorn.Server):
    """Signals are the process's own business (streamer/host/signals.py)."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


class _Outlet:
    """A producer made when something is to be changed first."""

    def __init__(self, settings: ConsoleSettings, writing: Writing) -> None:
        self._settings = settings
        self._writing = writing
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def send(self, body: Any) -> None:
        """One change. Raises ContractError, UnavailableError, RefusedError."""
        self._writing.record(body)  # a wish that cannot be had needs no broker to be refused
        async with self._lock:  # one after the other: a second change of a stream knows of the first
            if self._producer is None:
                self._producer = await make_producer(self._settings, give_up_after_s=GIVE_UP_S)
            await self._writing.send(self._producer, body)

    async def stop(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._producer.stop()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ConfigError when the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.socket(family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)
    except OSError as error:
        raise ConfigError(
            f"the console cannot listen on {host}:{port}: {error}. Choose another --console-port, or end what has it"
        ) from error
    return made


@asynccontextmanager
async def serving(settings: ConsoleSettings) -> AsyncIterator[tuple[str, Following]]:
    """A console at work in this loop; its address, and what it follows. Raises ConfigError."""
    sock = listening(settings.console_host, settings.console_port)
    host, port = sock.getsockname()[:2]
    reader, picture, hub = OverviewReader(settings, HISTORY_S), Picture(), Hub()
    following = Following(settings, reader, picture, hub)
    outlet = _Outlet(settings, Writing(settings, picture, reader, hub))
    console = Console(settings, following, hub, outlet.send)
    config = uvicorn.Config(
        console.app(), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=CLOSE_S,
        server_header=False, http="h11", ws="none",
    )  # fmt: skip
    server = _Server(config)
    tasks = [asyncio.create_task(following.run()), asyncio.create_task(server.serve(sockets=[sock]))]
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}", following
    finally:
        console.ending.set()
        server.should_exit = True
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await outlet.stop()
        await reader.stop()


def run(settings: ConsoleSettings) -> None:
    """Run the console as this process until it is asked to end."""
    stopping = Stop()

    async def work() -> None:
        async with serving(settings) as (address, _):
            changing = "it can change things" if settings.console_token else "it only shows"
            log.info("console ready", address=address, token=changing)
            await stopping.requested.wait()

    run_process(settings, "console", work, stopping)

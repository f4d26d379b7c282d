"""Workers and commands always end: whatever is away, at the start and in mid-work."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from streamer.contracts import ModelRecord, ModelRef, TrainingRequest
from streamer.host import tether
from streamer.host.embedded import EmbeddedStack
from streamer.host.fleet import WORKERS
from streamer.kafka.client import make_producer
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings
from testkit.ports import lasting_port, own_ports
from testkit.processes import Command, command, listening
from testkit.serving import publish, until

PASSWORD = "s3cret%2Fw0rd"


def check(what: str, worker: Command, seconds: float, status: int = 0) -> None:
    """The promise is 5 s; how long it took is printed (pytest -rP shows it)."""
    print(f"{what}: ended after {seconds:.1f} s")
    assert worker.process.returncode == status, worker.output
    assert "Traceback" not in worker.output


@pytest.mark.slow(10)  # up to five processes one after the other
@pytest.mark.parametrize("room", WORKERS)
async def test_a_worker_ends_while_it_waits_at_its_start(tmp_path: Path, room: str) -> None:
    stack = EmbeddedStack(tmp_path / "stack")
    await stack.start()
    async with AsyncExitStack() as leave:
        leave.push_async_callback(stack.stop)
        silent = await leave.enter_async_context(listening())
        well = {"bootstrap": stack.bootstrap, "redis_url": stack.redis_url}
        cases = {"kafka silent": {"bootstrap": f"127.0.0.1:{silent}"}}
        if room == "streamer":  # the one start of all workers finds these
            cases["redis silent"] = {"redis_url": f"redis://:{PASSWORD}@127.0.0.1:{silent}/0"}
            cases["redis away"] = {"redis_url": f"redis://127.0.0.1:{lasting_port()}/0"}
            cases["redis nowhere"] = {"redis_url": "redis://nowhere.invalid:6379/0"}
            cases["kafka away"] = {"bootstrap": f"127.0.0.1:{lasting_port()}"}
        else:
            cases["store silent"] = {"store": f"ftp://me:{PASSWORD}@127.0.0.1:{silent}/models"}
        for number, (what, given) in enumerate(cases.items()):
            settings = CommonSettings.model_validate(
                {**well, **given, "assignment": "all", "state_dir": tmp_path / "state"}
            )
            async with command(tmp_path / str(number), settings, room) as worker:
                await worker.wrote('"waiting"')
                seconds = await worker.end((signal.SIGTERM, signal.SIGINT)[number % 2])
                check(what, worker, seconds)
                assert "s3cret" not in worker.output


async def _at_work(stack: EmbeddedStack, tmp_path: Path, leave: AsyncExitStack, rooms: Sequence[str]) -> list[Command]:
    """Workers of these rooms, each in the middle of something that needs both servers."""
    settings = CommonSettings(
        bootstrap=stack.bootstrap, redis_url=stack.redis_url, assignment="all", state_dir=tmp_path / "state"
    )
    await provision(settings)
    workers = [await leave.enter_async_context(command(tmp_path / room, settings, room)) for room in rooms]
    await asyncio.gather(*(worker.wrote(f"{room} ready") for room, worker in zip(rooms, workers, strict=True)))
    producer = await make_producer(settings)
    leave.push_async_callback(producer.stop)

    async def load() -> None:
        slot = 0
        while True:
            for stream in ("a", "b", "c"):
                rows = [[1_790_000_000_000 + k * 1000, float(k % 7)] for k in range(slot, slot + 50)]
                await publish(producer, settings, {"stream": stream, "points": rows}, key=stream.encode())
                request = TrainingRequest(stream=stream, reason="manual", requested_at=datetime.now(UTC).isoformat())
                await producer.send_and_wait(
                    settings.topic("training"), request.model_dump_json().encode(), key=stream.encode()
                )
            slot += 50
            await asyncio.sleep(0.05)

    loading = asyncio.create_task(load())
    leave.callback(loading.cancel)
    if "trainer" in rooms:
        await workers[rooms.index("trainer")].wrote('"training"')
    return workers


@pytest.mark.slow(8)
@pytest.mark.parametrize("away", ["redis killed", "redis stopped", "broker killed", "broker stopped"])
async def test_all_workers_end_in_mid_work(tmp_path: Path, away: str) -> None:
    # All meet a server that is gone in one place; one that is silent, in any call of theirs.
    rooms = WORKERS if away.endswith("stopped") else WORKERS[:1]
    stack = EmbeddedStack(tmp_path / "stack")
    await stack.start()
    async with AsyncExitStack() as leave:
        leave.push_async_callback(stack.stop)
        workers = await _at_work(stack, tmp_path, leave, rooms)
        # The servers are children of this process, and so are those of the session: the port is this stack's alone.
        address = stack.bootstrap if away.startswith("broker") else stack.redis_url.removesuffix("/0")
        port = address.rpartition(":")[2]
        alive = [c for c in psutil.Process(os.getpid()).children() if c.status() != psutil.STATUS_ZOMBIE]
        [server] = [child for child in alive if port in " ".join(child.cmdline())]
        if away.endswith("stopped"):
            server.suspend()
            leave.callback(server.resume)
        else:
            server.kill()
        if away.startswith("redis"):
            # Each of them has noticed: this is in the middle of it.
            await asyncio.gather(*(worker.wrote("Redis") for worker in workers))
        seconds = await asyncio.gather(*(worker.end(signal.SIGTERM) for worker in workers))
        for room, worker, took in zip(rooms, workers, seconds, strict=True):
            check(f"{room}, {away}", worker, took)


@pytest.mark.slow(7)
@pytest.mark.parametrize("room", ["detector", "trainer"])
async def test_a_store_that_hangs_does_not_hold_a_worker(tmp_path: Path, room: str) -> None:
    """A named pipe as an artefact: whoever opens it waits for a writer, as with a network folder that is gone."""
    stack = EmbeddedStack(tmp_path / "stack")
    await stack.start()
    settings = CommonSettings(
        bootstrap=stack.bootstrap, redis_url=stack.redis_url, assignment="all", state_dir=tmp_path / "state"
    )
    pipe = Path(settings.store_uri()) / "hangs.safetensors"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    ref = ModelRef(
        version="v", uri=pipe.name, row=0, sha256="0" * 64, grid_version=1, trained_slots=(0, 99), points=100
    )
    record = ModelRecord(stream="a", promoted=ref, announced_at="2026-01-01T00:00:00Z")
    async with AsyncExitStack() as leave:
        leave.push_async_callback(stack.stop)
        await provision(settings)
        producer = await make_producer(settings)
        leave.push_async_callback(producer.stop)
        worker = await leave.enter_async_context(command(tmp_path, settings, room))
        await worker.wrote(f"{room} ready")
        if room == "trainer":
            streamer = await leave.enter_async_context(command(tmp_path, settings, "streamer"))
            rows = [[1_790_000_000_000 + k * 1000, float(k % 7)] for k in range(400)]
            await publish(producer, settings, {"stream": "a", "points": rows}, key=b"a")
            await streamer.wrote("streamer ready")
        await producer.send_and_wait(settings.topic("models"), record.model_dump_json().encode(), key=b"a")

        async def hangs() -> bool:
            if room == "trainer":
                wish = TrainingRequest(stream="a", reason="due", job="prototypes", requested_at="2026-01-01T00:00:00Z")
                await producer.send_and_wait(settings.topic("training"), wish.model_dump_json().encode(), key=b"a")
            try:  # a pipe that nobody reads cannot be opened for writing; now that it is, its reader waits for data
                leave.callback(os.close, os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                return False
            return True

        await until(hangs)
        check(f"{room}, store hangs", worker, await worker.end(signal.SIGTERM))
        assert "work left undone" in worker.output


@asynccontextmanager
async def _up_with_stopped_servers(tmp_path: Path) -> AsyncIterator[tuple[Command, list[psutil.Process]]]:
    """`up` with broker, Redis and console that do not react any more."""
    arguments = ("up", "--no-workers", "--state-dir", str(tmp_path))
    async with command(tmp_path, CommonSettings(), *arguments, env=own_ports()) as up:
        await up.wrote("AnomalyLLM is up")

        def servers() -> list[psutil.Process]:
            found: list[psutil.Process] = psutil.Process(up.process.pid).children(recursive=True)
            return found

        async def begun() -> bool:
            # A child stopped before it is tied to its parent would be left behind.
            return len(servers()) == 3 and not any(tether.__file__ in server.cmdline() for server in servers())

        await until(begun)
        stopped = servers()
        for server in stopped:
            server.suspend()
        yield up, stopped


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    # The first signal alone would take its time.
    async with _up_with_stopped_servers(tmp_path) as (up, _):
        seconds = await up.end(signal.SIGINT, signal.SIGTERM)
        check("second signal", up, seconds, status=128 + signal.SIGTERM)


async def test_up_ends_when_its_servers_do_not_react(tmp_path: Path) -> None:
    async with _up_with_stopped_servers(tmp_path) as (up, servers):
        print(f"up: ended after {await up.end(signal.SIGINT):.1f} s")
        await asyncio.to_thread(psutil.wait_procs, servers, timeout=20)
        assert not [s for s in servers if s.is_running() and s.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    "arguments",
    [
        ("publish",),
        ("alerts",),
        ("streams", "list"),
        ("topics", "describe"),
        ("train", "--all"),
        ("models", "list"),
        ("feedback", "a", "0f-1", "true"),
    ],
)
async def test_a_command_ends_on_ctrl_c_while_kafka_is_silent(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async with (
        listening() as silent,
        command(tmp_path, CommonSettings(bootstrap=f"127.0.0.1:{silent}"), *arguments) as process,
    ):
        connected = psutil.Process(process.process.pid)

        async def waits() -> bool:
            return any(c.raddr and c.raddr.port == silent for c in connected.net_connections("tcp"))

        await until(waits)
        seconds = await process.end(signal.SIGINT)
        print(f"{' '.join(arguments)}: ended after {seconds:.1f} s")
        assert "Traceback" not in process.output

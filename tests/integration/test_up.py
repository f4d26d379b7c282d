"""`anomalyllm up` as a user runs it: a process, its servers, and the streamer taking what is published."""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import orjson
import psutil
import pytest
import redis.asyncio

from streamer.contracts import ModelRecord, ModelRef
from streamer.host.fleet import worker_env
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers
from testkit.ports import lasting_port, own_ports
from testkit.processes import command
from testkit.serving import PATIENCE_S, producing, read_all, until

COMMAND = (sys.executable, "-m", "streamer.cli")


@asynccontextmanager
async def _process(*arguments: str, env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, env={**os.environ, **env}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.communicate()


async def _addresses(up: asyncio.subprocess.Process) -> dict[str, str]:
    assert up.stdout is not None
    found: dict[str, str] = {}
    while "ANOMALYLLM_REDIS_URL" not in found:
        line = await up.stdout.readline()
        assert line, "it ended before it was up"
        found.update(re.findall(r"export (\w+)=(\S+)", line.decode()))
        found.update((f"{name}_address", where) for name, where in re.findall(r"^(console) (http\S+)", line.decode()))
    return found


async def _knows(address: str, stream: str) -> bool:
    """Whether the console that `up` serves lists the stream."""
    async with httpx.AsyncClient() as client:
        try:
            answer = await client.get(f"{address}/api/streams", params={"q": stream})
        except httpx.TransportError:
            return False
    return bool(answer.json()["total"])


async def test_published_points_end_in_redis_and_a_signal_ends_everything(tmp_path: Path) -> None:
    start = time.time() - 100
    (tmp_path / "m.csv").write_text("ts,value\n" + "".join(f"{start + i / 10},{i % 7}\n" for i in range(500)))
    async with _process(
        "up", "--no-workers", "--console-port", "0", "--state-dir", str(tmp_path / "state"), env=own_ports()
    ) as up:
        env = await _addresses(up)
        settings = CommonSettings(
            bootstrap=env["ANOMALYLLM_BOOTSTRAP"],
            redis_url=env["ANOMALYLLM_REDIS_URL"],
            assignment="all",
            state_dir=tmp_path / "state",
        )
        async with (
            _process("streamer", env=worker_env(settings)) as streamer,
            _process("publish", str(tmp_path / "m.csv"), "--stream", "my.metric", env=env) as publish,
        ):
            assert await publish.wait() == 0
            client = redis.asyncio.Redis.from_url(settings.redis_url)
            async with asyncio.timeout(PATIENCE_S):
                while (headers := await read_headers(client, Keys(settings.namespace), ["my.metric"])) == {} or (
                    headers["my.metric"].points < 500
                ):
                    await asyncio.sleep(0.05)
            await client.aclose()
            await until(partial(_knows, env["console_address"], "my.metric"))
            streamer.send_signal(signal.SIGTERM)
            assert await streamer.wait() == 0
        servers = psutil.Process(up.pid).children(recursive=True)
        assert len(servers) == 3  # broker, Valkey, console
        up.send_signal(signal.SIGINT)
        assert await up.wait() == 0
        assert not any(server.is_running() and server.status() != psutil.STATUS_ZOMBIE for server in servers)
    assert {entry.name for entry in tmp_path.iterdir()} == {"m.csv", "state"}


async def test_settings_and_models_outlive_the_broker(tmp_path: Path) -> None:
    ref = ModelRef(
        version="v", uri="v.safetensors", row=0, sha256="0" * 64, grid_version=1, trained_slots=(0, 9), points=9
    )
    model = ModelRecord(stream="a", promoted=ref, announced_at="2026-01-31T12:00:00Z").model_dump_json().encode()
    kept = {("streams", b"a", b'{"interval_s": 5.0}'), ("models", b"a", model)}

    async def there(settings: CommonSettings) -> bool:
        found = {(t, r.key, r.value) for t in ("streams", "models") for r in await read_all(settings, t)}
        return found == kept

    async def start(up: asyncio.subprocess.Process) -> CommonSettings:
        env = await _addresses(up)
        return CommonSettings(bootstrap=env["ANOMALYLLM_BOOTSTRAP"], redis_url=env["ANOMALYLLM_REDIS_URL"])

    arguments = ("up", "--no-workers", "--state-dir", str(tmp_path / "state"))
    async with _process(*arguments, env=own_ports()) as up:
        settings = await start(up)
        async with producing(settings) as producer:
            for topic, key, value in (*kept, ("streams", b"gone", b"{}"), ("streams", b"gone", None)):
                await producer.send_and_wait(settings.topic(topic), value, key=key)
        file = tmp_path / "state" / "up" / "tables.json"

        async def written() -> bool:
            return file.exists() and [len(rows) for rows in orjson.loads(file.read_bytes()).values()] == [1, 1]

        await until(written)
        [broker] = [p for p in psutil.Process(up.pid).children(recursive=True) if "tansu" in p.name()]
        broker.kill()
        await until(lambda: there(settings))
        up.send_signal(signal.SIGINT)
        assert await up.wait() == 0
    async with _process(*arguments, env=own_ports()) as up:
        settings = await start(up)
        assert await there(settings)


@pytest.mark.parametrize("variable", ["ANOMALYLLM_BOOTSTRAP", "ANOMALYLLM_REDIS_URL"])
async def test_an_address_that_up_cannot_serve_is_refused(tmp_path: Path, variable: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        scheme = "redis://" if "REDIS" in variable else ""
        for address, said in (("10.0.0.1:7000", "is another"), (f"127.0.0.1:{other.getsockname()[1]}", "is taken")):
            folder = tmp_path / said
            settings = CommonSettings(state_dir=folder / "state")
            async with command(folder, settings, "up", env={variable: scheme + address}) as up:
                assert await up.process.wait() != 0
            assert said in up.output.replace("\n", " ")
            assert "Traceback" not in up.output


async def test_up_serves_the_ports_it_is_told_and_says_so_when_usual_ones_are_taken(tmp_path: Path) -> None:
    port = lasting_port()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", 6379))
            other.listen()
        except OSError:
            pass  # somebody has it already, who is none of our tests: they leave the usual ports free
        settings = CommonSettings(state_dir=tmp_path / "state")
        env = {"ANOMALYLLM_BOOTSTRAP": f"127.0.0.1:{port}"}
        async with command(tmp_path / "run", settings, "up", "--no-workers", env=env) as up:
            await up.wrote(
                f"ANOMALYLLM_BOOTSTRAP=127.0.0.1:{port}", "port 6379 is taken: Redis is at redis://127.0.0.1:"
            )
            await up.end(signal.SIGINT)

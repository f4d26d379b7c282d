"""`anomalyllm up` as a user runs it: a process, its servers, and the streamer taking what is published."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import psutil
import redis.asyncio

from streamer.host.fleet import worker_env
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers
from testkit.serving import PATIENCE_S, until

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
        "up", "--no-workers", "--console-port", "0", "--state-dir", str(tmp_path / "state"), env={}
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

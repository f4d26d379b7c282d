"""Kafka and Redis away: the streamer waits, says so once, and goes on where it was."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import redis.asyncio

from streamer.host.embedded import EmbeddedStack
from streamer.host.fleet import worker_env
from streamer.kafka.client import make_producer
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_windows
from testkit.serving import publish, until

T0_MS = 1_790_000_000_000


async def test_the_streamer_waits_for_servers_and_says_so_once(tmp_path: Path) -> None:
    stack = EmbeddedStack(tmp_path / "stack")
    await stack.start()
    settings = CommonSettings(
        bootstrap=stack.bootstrap, redis_url=stack.redis_url, assignment="all", state_dir=tmp_path, log_format="json"
    )
    stack.kill_broker()
    stack.kill_redis()
    log = tmp_path / "log"
    with log.open("wb") as out:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "streamer.cli", "streamer", env={**os.environ, **worker_env(settings)}, stderr=out
        )
    try:
        await until(lambda: _said(log, '"on": "Redis'))
        await _turn_away(settings.redis_url, 3)
        await stack.start_redis()
        await until(lambda: _said(log, '"on": "Kafka'))
        await stack.start_broker()
        await until(lambda: _said(log, "streamer ready"))
        await _send(settings, 0, 40)
        await until(lambda: _slots(settings, 40))
        stack.kill_redis()  # appendonly: what was written more than a second ago is still there afterwards
        await _send(settings, 40, 10)
        await until(lambda: _said(log, '"on": "Redis', times=2))
        await stack.start_redis()
        await until(lambda: _slots(settings, 50))
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0
    finally:
        if worker.returncode is None:
            worker.kill()
        await stack.stop()
    lines = log.read_text().splitlines()
    # Redis, Kafka, Redis again (once for the batch in hand, once for the offsets): four outages, four lines
    assert sum('"waiting"' in line for line in lines) <= 4
    assert not [line for line in lines if "Traceback" in line]


async def _said(log: Path, text: str, times: int = 1) -> bool:
    return log.read_text().count(text) >= times


async def _turn_away(url: str, count: int) -> None:
    """Stand in the server's place until so many connections have been refused their answer."""
    refused = 0

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal refused
        refused += 1
        writer.close()

    async def enough() -> bool:
        return refused >= count

    address = urlsplit(url)
    async with await asyncio.start_server(refuse, address.hostname, address.port):
        await until(enough)


async def _send(settings: CommonSettings, first: int, count: int) -> None:
    await provision(settings)
    producer = await make_producer(settings)
    rows = [[T0_MS + k * 1000, float(k % 7)] for k in range(first, first + count)]
    await publish(producer, settings, {"stream": "a", "points": rows}, key=b"a")
    await producer.stop()


async def _slots(settings: CommonSettings, count: int) -> bool:
    async with redis.asyncio.Redis.from_url(settings.redis_url) as client:
        window = (await read_windows(client, Keys(settings.namespace), ["a"])).get("a")
        return window is not None and len(window.values_SC) == count

"""Clients that are given up while they start."""

import asyncio
from asyncio import StreamReader, StreamWriter

import pytest

from streamer.kafka.client import make_admin
from streamer.settings import CommonSettings


async def test_a_start_that_is_cancelled_twice_leaves_nothing_running() -> None:
    """The second Ctrl-C, or the end of a task group that is cancelled: the connection was left to nobody."""
    asked = asyncio.Event()

    async def silent(reader: StreamReader, writer: StreamWriter) -> None:
        asked.set()
        await reader.read()  # until the client has gone
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    [port] = [socket.getsockname()[1] for socket in server.sockets]
    before = asyncio.all_tasks()
    starting = asyncio.create_task(make_admin(CommonSettings(bootstrap=f"127.0.0.1:{port}"), 60_000))
    await asked.wait()
    for _ in range(2):
        starting.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await starting
    server.close()
    await server.wait_closed()
    assert asyncio.all_tasks() - before == set()

"""Clients that are given up while they start."""

import asyncio
import gc
import struct
from asyncio import StreamReader, StreamWriter

import pytest

from streamer.kafka.client import make_admin
from streamer.settings import CommonSettings

NO_ERROR_AND_METADATA_0 = struct.pack(">hihhh", 0, 1, 3, 0, 1)  # an answer to ApiVersions: of Metadata versions 0 and 1


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


async def test_a_start_that_is_cancelled_before_the_brokers_are_named_closes_its_connection() -> None:
    """aiokafka leaves it to the collector, which warned of it in whatever test came later."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def slow(reader: StreamReader, writer: StreamWriter) -> None:
        request = await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])
        answer = request[4:8] + NO_ERROR_AND_METADATA_0  # behind the request's number
        writer.write(struct.pack(">i", len(answer)) + answer)
        await reader.read(1)  # the question for metadata, which is not answered
        asked.set()
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    [port] = [socket.getsockname()[1] for socket in server.sockets]
    starting = asyncio.create_task(make_admin(CommonSettings(bootstrap=f"127.0.0.1:{port}"), 60_000))
    await asked.wait()
    gc.disable()  # it is the client that closes, no collector
    try:
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await gone.wait()
    finally:
        gc.enable()
    server.close()
    await server.wait_closed()

"""What a worker leaves behind when it has ended: nothing."""

import asyncio

import pytest
from redis.asyncio.connection import ConnectionPool

from streamer.host import worker
from streamer.host.worker import Servers, run_worker
from streamer.settings import CommonSettings
from streamer.stopping import Stop

pytestmark = pytest.mark.kafka


async def test_what_asks_redis_while_it_closes_leaves_no_connection(settings: CommonSettings) -> None:
    """So does a consumer that is still being given partitions; a connection that nobody closes is an error of this suite."""
    stop, pools = Stop(), list[ConnectionPool]()

    async def boot(servers: Servers) -> None:
        async def leave() -> None:
            for _ in range(1_000):  # whatever else is closed at the same time has long been
                await asyncio.sleep(0)
            await servers.redis.ping()
            pools.append(servers.redis.connection_pool)

        servers.closes(leave)
        stop.request()

    async def turn() -> None:
        await asyncio.Event().wait()

    await run_worker(settings, "streamer", stop, boot, turn)
    assert _open(*pools) == []


async def test_an_end_that_is_cut_off_while_it_closes_leaves_no_connection(
    settings: CommonSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "DRAIN_S", 0.01)
    stop, pools = Stop(), list[ConnectionPool]()

    async def boot(servers: Servers) -> None:
        async def leave() -> None:
            await asyncio.sleep(20 * worker.DRAIN_S)  # it is cut off meanwhile

        servers.closes(leave)
        pools.append(servers.redis.connection_pool)

    async def turn() -> None:
        stop.request()

    await run_worker(settings, "streamer", stop, boot, turn)
    assert _open(*pools) == []


def _open(pool: ConnectionPool) -> list[object]:
    return [c for c in (*pool._available_connections, *pool._in_use_connections) if c.is_connected]

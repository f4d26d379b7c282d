"""Broker and Redis of a chaos run, each behind a proxy: the embedded ones, or three Apache Kafka brokers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from streamer.host.embedded import LOOPBACK, TansuBroker, ValkeyServer, broker_binary, wait_for_kafka
from testkit.chaos.proxy import Proxy
from testkit.ports import lasting_port, lasting_ports
from testkit.real_cluster import RealCluster


@dataclass
class Servers:
    """What a run needs: where workers find their servers, and what breaks them."""

    bootstrap: str  # through the proxies
    valkey: ValkeyServer
    redis_proxy: Proxy
    kafka_proxies: list[Proxy]
    cluster: RealCluster | None = None

    @property
    def redis_url(self) -> str:
        """Through the proxy."""
        return f"redis://{self.redis_proxy.address}/0"

    async def kill_redis(self, seconds: float) -> None:
        """kill -9; the append-only file brings everything back after so long."""
        self.valkey.kill()
        await asyncio.sleep(seconds)
        await self.valkey.start()

    async def kill_broker(self, number: int, seconds: float) -> None:
        """kill -9 one of three brokers; it is started again after so long, and in the cluster when this returns."""
        assert self.cluster is not None, "the embedded broker keeps nothing over a kill"
        self.cluster.kill(number)
        await asyncio.sleep(seconds)
        await self.cluster.start_again(number)


class _ProxiedTansu(TansuBroker):
    """The embedded broker, which names its proxy to whoever asks where it is."""

    def __init__(self, state_dir: Path, port: int, proxy: Proxy) -> None:
        super().__init__(state_dir, port)
        self._proxy = proxy

    async def start(self) -> None:
        binary = broker_binary(self._state_dir)

        def command(port: int) -> list[str]:
            listener, named = f"tcp://{LOOPBACK}:{port}", f"tcp://{self._proxy.address}"
            return [
                *(binary, "broker", "--listener-url", listener, "--advertised-listener-url", named),
                *("--storage-engine", "memory://tansu/", "--cluster-id", "chaos", "--silent"),
            ]

        await self._start(
            "the embedded broker", "broker.log", command, lambda child: wait_for_kafka(self._proxy.address, child)
        )


@asynccontextmanager
async def _valkey(folder: Path) -> AsyncIterator[tuple[ValkeyServer, Proxy]]:
    valkey = ValkeyServer(folder, lasting_port())
    await valkey.start()
    try:
        target = urlsplit(valkey.url).port
        assert target is not None
        async with Proxy(lasting_port(), target).serving() as proxy:
            yield valkey, proxy
    finally:
        await valkey.stop()


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Servers]:
    """The embedded broker and Valkey."""
    async with AsyncExitStack() as stack:
        valkey, redis_proxy = await stack.enter_async_context(_valkey(folder))
        port = lasting_port()
        proxy = await stack.enter_async_context(Proxy(lasting_port(), port).serving())
        broker = _ProxiedTansu(folder, port, proxy)
        await broker.start()
        stack.push_async_callback(broker.stop)
        assert broker.bootstrap == f"{LOOPBACK}:{port}", "somebody else took the port"
        yield Servers(proxy.address, valkey, redis_proxy, [proxy])


@asynccontextmanager
async def three_brokers(folder: Path) -> AsyncIterator[Servers]:
    """Three Apache Kafka brokers, each a third of the controllers' quorum, and Valkey."""
    async with AsyncExitStack() as stack:
        valkey, redis_proxy = await stack.enter_async_context(_valkey(folder))
        ports = lasting_ports(12)
        made = [Proxy(*ports[at : at + 2]) for at in (0, 2, 4)]
        proxies = [await stack.enter_async_context(proxy.serving()) for proxy in made]
        cluster = RealCluster(folder / "kafka", [(proxy.target, proxy.port) for proxy in proxies], ports[6:])
        stack.push_async_callback(cluster.stop)
        await cluster.start()
        yield Servers(cluster.bootstrap, valkey, redis_proxy, proxies, cluster)

"""Three Valkey nodes that are one cluster, without replicas: a third of the hash slots each."""

import asyncio
from functools import partial
from pathlib import Path

import redis.asyncio

from streamer.host.embedded import LOOPBACK, redis_binary, wait_for_redis
from streamer.host.processes import Child
from testkit.ports import lasting_ports
from testkit.serving import until

SLOTS = 16_384


class ValkeyCluster:
    """`start`, `stop`; a node can be killed and started again with its data."""

    def __init__(self, folder: Path, nodes: int = 3) -> None:
        self.ports, self._bus = lasting_ports(nodes), lasting_ports(nodes)
        self.nodes = []
        for port, bus in zip(self.ports, self._bus, strict=True):
            home = folder / f"node-{port}"
            home.mkdir(parents=True, exist_ok=True)
            line = [
                *(redis_binary(), "--port", str(port), "--bind", LOOPBACK, "--dir", str(home), "--save", ""),
                *("--appendonly", "yes", "--appendfsync", "always", "--cluster-enabled", "yes"),
                *("--cluster-node-timeout", "2000", "--cluster-port", str(bus)),
            ]
            self.nodes.append(Child(f"Valkey node {port}", line, home / "valkey.log"))

    @property
    def url(self) -> str:
        """Of the first node; the client finds the others."""
        return f"redis://{LOOPBACK}:{self.ports[0]}"

    async def start(self) -> None:
        """Return once every node knows that the cluster is whole."""
        for index in range(len(self.nodes)):
            await self.start_node(index)
        clients = [redis.asyncio.Redis(host=LOOPBACK, port=port) for port in self.ports]
        share = -(-SLOTS // len(clients))
        for index, client in enumerate(clients):
            last = min(SLOTS, (index + 1) * share) - 1
            await client.execute_command("CLUSTER ADDSLOTSRANGE", index * share, last)  # type: ignore[no-untyped-call]
            await client.execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)  # type: ignore[no-untyped-call]
        for port, bus in zip(self.ports[1:], self._bus[1:], strict=True):
            await clients[0].execute_command("CLUSTER MEET", LOOPBACK, port, bus)  # type: ignore[no-untyped-call]
        for client in clients:
            await client.aclose()
        await self.whole()

    async def whole(self) -> None:
        """Return once every node knows that the cluster is whole."""
        for port in self.ports:
            async with redis.asyncio.Redis(host=LOOPBACK, port=port) as client:
                await until(partial(_whole, client, len(self.ports)))

    async def start_node(self, index: int) -> None:
        """The first time, or after `kill`."""
        self.nodes[index].start()
        await wait_for_redis(f"redis://{LOOPBACK}:{self.ports[index]}", self.nodes[index])

    def kill(self, index: int) -> None:
        """kill -9 of a node."""
        self.nodes[index].kill()

    async def stop(self) -> None:
        """Stop all nodes."""
        await asyncio.gather(*(node.stop() for node in self.nodes))


async def _whole(client: redis.asyncio.Redis, nodes: int) -> bool:
    raw = await client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
    text = raw.decode() if isinstance(raw, bytes) else "".join(f"{k}:{v}\n" for k, v in raw.items())
    return "cluster_state:ok" in text and f"cluster_known_nodes:{nodes}" in text

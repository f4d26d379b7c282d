"""Where a sink's deliveries survive: a Redis key an incident, written in one compare-and-set with the Kafka offset.

The ledger of the data plane does the work, under a namespace of the sink's own: two processes of one sink cannot
both believe that a partition is theirs, and what was read is stored or is read again.
"""

import redis.asyncio

from streamer.placement import Partitioner, shard_of, shards_of_partition
from streamer.sinks.deliveries import Delivery
from streamer.windows.keys import Keys
from streamer.windows.ledger import Ops


class SinkKeys(Keys):
    """Redis keys of one sink."""

    def __init__(self, namespace: str, sink: str) -> None:
        super().__init__(f"{namespace}:sink:{sink}")

    def delivery(self, shard: int, incident_id: str) -> str:
        """JSON of one `Delivery`."""
        return f"{self.namespace}:{{{shard}}}:delivery:{incident_id}"

    @property
    def began(self) -> str:
        """Wall clock of the sink's first start."""
        return f"{self.namespace}:began"


class StoredDeliveries:
    """Reads and writes deliveries of one sink; `names` of the keys is the set of its incidents in a shard."""

    def __init__(self, client: redis.asyncio.Redis, keys: SinkKeys, partitioner: Partitioner, partitions: int) -> None:
        self._client = client
        self._keys = keys
        self._partitioner = partitioner
        self._partitions = partitions

    async def began(self, now: float) -> float:
        """Moment of the first start; it is `now` where none is known."""
        await self._client.set(self._keys.began, repr(now), nx=True)
        stored = await self._client.get(self._keys.began)
        return now if stored is None else float(stored)

    async def load(self, partition: int) -> dict[str, Delivery]:
        """All deliveries of a partition, by incident."""
        shards = list(shards_of_partition(partition, self._partitions))
        pipe = self._client.pipeline(transaction=False)
        for shard in shards:
            pipe.smembers(self._keys.names(shard))
        members = await pipe.execute()
        pipe = self._client.pipeline(transaction=False)
        for shard, names in zip(shards, members, strict=True):
            for name in names:
                pipe.get(self._keys.delivery(shard, name.decode()))
        found = [Delivery.loads(raw) for raw in await pipe.execute() if raw is not None]
        return {delivery.incident.incident_id: delivery for delivery in found}

    def put(self, ops: Ops, delivery: Delivery) -> None:
        """To be written."""
        shard, name = self._at(delivery)
        ops.shard(shard).set(self._keys.delivery(shard, name), delivery.dumps())
        ops.shard(shard).sadd(self._keys.names(shard), name)

    def drop(self, ops: Ops, delivery: Delivery) -> None:
        """To be forgotten."""
        shard, name = self._at(delivery)
        ops.shard(shard).delete(self._keys.delivery(shard, name))
        ops.shard(shard).srem(self._keys.names(shard), name)

    def _at(self, delivery: Delivery) -> tuple[int, str]:
        shard = shard_of(delivery.incident.stream, self._partitioner)
        if shard % self._partitions != delivery.partition:  # somebody else wrote it, with another hash
            shard = delivery.partition
        return shard, delivery.incident.incident_id

"""The streamer between Kafka and Redis without Kafka: records in, windows in a real Redis out.

Shapes: S slots of a window, C channels
"""

import uuid
from collections.abc import Sequence

import orjson
import redis.asyncio
from aiokafka import ConsumerRecord

from streamer.contracts import StreamSettings
from streamer.placement import shard_of
from streamer.settings import StreamerSettings
from streamer.windows.decode import Decoder
from streamer.windows.grid import grid_version_of
from streamer.windows.header import StreamHeader
from streamer.windows.ingest import Ingest
from streamer.windows.keys import Keys
from streamer.windows.ledger import Ledger
from streamer.windows.ring import StreamWindow, read_windows

T0_MS = 1_790_000_000_000
LATENESS = 8
CAPACITY = 64


def record(offset: int, body: object, history: bool = False) -> ConsumerRecord:
    """A record of `metrics` in partition 0."""
    headers = [("mode", b"history")] if history else []
    return ConsumerRecord(
        "metrics", 0, offset, T0_MS + 10_000_000, 0, None, orjson.dumps(body), None, 0, 0, tuple(headers)
    )


class Rig:
    """The streamer between Kafka and Redis: decoder, ingest, ledger, on one partition of a real Valkey."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        of: dict[str, StreamSettings],
        lateness: int = LATENESS,
        capacity: int = CAPACITY,
    ) -> None:
        self.client = client
        self.keys = Keys(f"p{uuid.uuid4().hex[:10]}")
        self.of = of
        self.own = StreamerSettings(partitions=1, lateness_slots=lateness, capacity=capacity)
        self.ledger = Ledger(self.client, self.keys, "metrics", "cluster", 1)
        self.ingest = Ingest(self.own, self.client, self.keys, of)
        self.decoder = Decoder(of, 1, "murmur2", 1e9)

    async def feed(self, records: Sequence[ConsumerRecord], restart: bool = False) -> list[str]:
        """Apply a batch as the worker does; returns the reasons of dead letters. `restart`: by a new process."""
        if restart:
            self.ingest = Ingest(self.own, self.client, self.keys, self.of)
        batch = self.decoder.decode(records)
        plan = await self.ingest.plan(batch, records, lambda shard: self.ledger.applied(0, shard))
        await self.ledger.apply(0, records[-1].offset, plan.ops)
        await self.ingest.reread(plan)
        assert all(len(message) < 1_000_000 for message in plan.notices.messages())
        return [reason for _, reason, _ in batch.dead] + ["late"] * len(plan.late)

    async def state(self) -> dict[str, tuple[object, bytes]]:
        """What all streams' windows are: grid, bounds and bytes."""
        windows: dict[str, StreamWindow] = await read_windows(self.client, self.keys, sorted(self.of))
        out: dict[str, tuple[object, bytes]] = {}
        for stream, window in windows.items():
            header = window.header
            seen = (header.grid_version, header.interval_ns, header.phase_ns, header.channels, header.lo, header.hi)
            raw = await self.client.get(self.keys.ring(shard_of(stream), stream))
            assert raw is not None
            assert len(raw) <= 4 * header.capacity * len(header.channels)
            out[stream] = (seen, window.values_SC.tobytes())
        return out


async def windows_of(
    url: str, of: dict[str, StreamSettings], batches: Sequence[Sequence[ConsumerRecord]], **own: int
) -> dict[str, StreamWindow]:
    """The windows that come of these batches, with the production's lateness."""
    async with redis.asyncio.Redis.from_url(url) as client:
        rig = Rig(client, of, **{"lateness": 64, "capacity": 8192, **own})
        await rig.ledger.claim(0)
        for batch in batches:
            await rig.feed(batch)
        return await read_windows(client, rig.keys, sorted(of))


def numbered(header: StreamHeader) -> int:
    """The number that a grid version with this content has."""
    return grid_version_of(header.interval_ns, header.channels, header.counters, header.state == "grid", header.scale)

"""Reading streams' windows back from Redis, in bulk.

Shapes: S slots of a window, C channels
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import redis.asyncio

from streamer.placement import SHARDS, Partitioner, shard_of
from streamer.redis_client import read_together
from streamer.windows.coarse import CoarseWindow
from streamer.windows.coarse import read as read_coarse
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys
from streamer.windows.scale import data_of, scale_from


class StreamWindow(NamedTuple):
    """A stream's window: values_SC float32 (slots, channels) for slots header.lo..header.hi, NaN = gap; and its blocks.

    Numbers are relative to the header's `scale`; `data_SC` has them in the unit of the data.
    """

    header: StreamHeader
    values_SC: np.ndarray
    coarse: CoarseWindow | None = None

    @property
    def data_SC(self) -> np.ndarray:
        """Values in the unit of the data, float64 (S, C)."""
        return data_of(self.values_SC, self.header.scale).astype(np.float64)


async def read_headers(
    client: redis.asyncio.Redis, keys: Keys, streams: Sequence[str], partitioner: Partitioner = "murmur2"
) -> dict[str, StreamHeader]:
    """Headers of the streams that exist, one round trip."""
    pipe = client.pipeline(transaction=False)
    for stream in streams:
        pipe.get(keys.header(shard_of(stream, partitioner), stream))
    rows = await pipe.execute() if streams else []
    return {stream: StreamHeader.from_json(raw) for stream, raw in zip(streams, rows, strict=True) if raw is not None}


def unroll(header: StreamHeader, raw: bytes, last: int | None = None) -> StreamWindow:
    """Ring bytes → window in time order; `last` keeps the newest slots only (and moves `lo` of the header returned)."""
    channels = len(header.channels)
    lo = header.lo if last is None else max(header.lo, header.hi - last + 1)
    count = header.hi - lo + 1
    if count <= 0:
        return StreamWindow(header, np.empty((0, channels), np.float32))
    ring = np.frombuffer(raw, "<f4")
    rows = np.arange(lo, header.hi + 1) % header.capacity
    need = (int(rows.max()) + 1) * channels
    if len(ring) < need:  # the ring is newer or older than the header: what is missing is a gap
        ring = np.concatenate([ring, np.full(need - len(ring), np.nan, np.float32)])
    values_SC = ring[: len(ring) // channels * channels].reshape(-1, channels)[rows]
    return StreamWindow(replace(header, lo=lo), np.ascontiguousarray(values_SC, np.float32))


async def read_windows(
    client: redis.asyncio.Redis,
    keys: Keys,
    streams: Sequence[str],
    partitioner: Partitioner = "murmur2",
    last: int | None = None,
    last_blocks: int | None = None,
    as_stored: bool = False,
) -> dict[str, StreamWindow]:
    """Windows of the streams that have a grid. Header and rings of a stream come from one MGET: they belong together.

    `last` and `last_blocks`: the newest slots and blocks only; None: all of them. Both rings' numbers are relative to the
    header's `scale`; `as_stored`: blocks are in the unit of the data, as the coarse ring has them.
    """
    pipe = client.pipeline(transaction=False)
    for stream in streams:
        shard = shard_of(stream, partitioner)
        read_together(pipe, keys.header(shard, stream), keys.ring(shard, stream), keys.coarse(shard, stream))
    rows = await pipe.execute() if streams else []
    windows: dict[str, StreamWindow] = {}
    for stream, (head, ring, coarse) in zip(streams, rows, strict=True):
        if head is not None:
            parsed = StreamHeader.from_json(head)
            if parsed.hi >= 0:
                window = unroll(parsed, ring or b"", last)
                blocks, scale = read_coarse(parsed.coarse, coarse or b"", last_blocks), scale_from(parsed.scale)
                if blocks is not None and scale is not None and not as_stored:
                    blocks = blocks.scaled(*scale)
                windows[stream] = window._replace(coarse=blocks)
    return windows


async def all_streams(client: redis.asyncio.Redis, keys: Keys) -> list[str]:
    """Names of all streams that have a header, sorted."""
    pipe = client.pipeline(transaction=False)
    for shard in range(SHARDS):
        pipe.smembers(keys.names(shard))
    return sorted(name.decode() for names in await pipe.execute() for name in names)

"""Values of streams for charts: tails of many for sparklines, one stream's window, its blocks, its band and season.

Shapes: S slots, C channels, K judged slots, B blocks, W phases of a week
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import redis.asyncio

from streamer.placement import Partitioner, shard_of
from streamer.windows.header import StreamHeader
from streamer.windows.judged import Judged, read_judged
from streamer.windows.keys import Keys
from streamer.windows.ring import read_headers, read_windows
from streamer.windows.scale import data_of

SPARK_SLOTS = 120
SPARK_NUMBERS = 4_096  # read of one stream at most, whatever its channels
MOST_POINTS = 4_000  # of a chart: more than any screen is wide


async def read_tails(
    client: redis.asyncio.Redis, keys: Keys, headers: dict[str, StreamHeader], partitioner: Partitioner, slots: int
) -> dict[str, tuple[int, np.ndarray]]:
    """First slot and values (S, C) of the newest slots, one round trip; only those bytes of the rings are read."""
    pipe, wanted = client.pipeline(transaction=False), []
    for stream, header in headers.items():
        channels = len(header.channels)
        if header.hi < header.lo or not channels:
            continue
        first = max(header.lo, header.hi - min(slots, max(2, SPARK_NUMBERS // channels)) + 1)
        begin, end = first % header.capacity, header.hi % header.capacity
        ring, row = keys.ring(shard_of(stream, partitioner), stream), 4 * channels
        parts = [(begin, end)] if begin <= end else [(begin, header.capacity - 1), (0, end)]
        for low, high in parts:
            pipe.getrange(ring, low * row, (high + 1) * row - 1)
        wanted.append((stream, first, channels, parts))
    answers: list[bytes] = await pipe.execute() if wanted else []
    found, at = {}, 0
    for stream, first, channels, parts in wanted:
        pieces = []
        for low, high in parts:
            values = np.frombuffer(answers[at], "<f4", len(answers[at]) // 4)
            need = (high - low + 1) * channels
            pieces.append(np.concatenate([values, np.full(need - len(values), np.nan, np.float32)]))
            at += 1
        found[stream] = first, data_of(np.concatenate(pieces).reshape(-1, channels), headers[stream].scale)
    return found


async def sparks(
    client: redis.asyncio.Redis, keys: Keys, streams: Sequence[str], partitioner: Partitioner
) -> dict[str, list[float | None]]:
    """Newest values of each stream's first channel."""
    headers = await read_headers(client, keys, streams, partitioner)
    tails = await read_tails(client, keys, headers, partitioner, SPARK_SLOTS)
    return {stream: numbers(values_SC[:, 0]) for stream, (_, values_SC) in tails.items()}


async def window(
    client: redis.asyncio.Redis, keys: Keys, stream: str, channel: int, last: int, partitioner: Partitioner
) -> dict[str, Any]:
    """One channel of a stream: its newest slots, thinned to what a screen shows, and what judges them."""
    windows = await read_windows(client, keys, [stream], partitioner, last)
    found = windows.get(stream)
    if found is None:
        return {"times": [], "values": []}
    header, values_SC = found.header, data_of(found.values_SC, found.header.scale)
    values_S = values_SC[:, min(channel, values_SC.shape[1] - 1)] if len(values_SC) else values_SC[:, :0].ravel()
    slots, low_S, high_S = thinned(header.lo, values_S)
    return {
        "grid_version": header.grid_version,
        "interval_s": header.interval_ns / 1e9,
        "hi": header.hi,
        "channels": header.channels,
        "times": [header.slot_ns(int(slot)) / 1e9 for slot in slots],
        "values": numbers(high_S),
        "lows": numbers(low_S) if len(slots) < len(values_S) else None,
        "judged": await judged(client, keys, stream, channel, header, partitioner),
    }


async def judged(
    client: redis.asyncio.Redis, keys: Keys, stream: str, channel: int, header: StreamHeader, partitioner: Partitioner
) -> dict[str, Any] | None:
    """Score and band of the newest slots; None until the detector has come to it."""
    found, usual = await read_judged(client, keys, shard_of(stream, partitioner), stream)
    if found is None or found.grid_version != header.grid_version or found.low_KC.shape[1] <= channel:
        return None
    return {**band(found, channel, header), "season": usual is not None}


def band(found: Judged, channel: int, header: StreamHeader) -> dict[str, Any]:
    """As a chart draws it."""
    slots = range(found.first, found.first + len(found.students_K))
    low_KC, expected_KC, high_KC = (
        data_of(table_KC, header.scale) for table_KC in (found.low_KC, found.expected_KC, found.high_KC)
    )
    return {
        "times": [header.slot_ns(slot) / 1e9 for slot in slots],
        "low": numbers(low_KC[:, channel]),
        "expected": numbers(expected_KC[:, channel]),
        "high": numbers(high_KC[:, channel]),
        "score": numbers(found.score_K),
        "threshold": found.threshold,
        "model": found.model,
        "warming": found.warming,
        "usual": found.usual,
    }


async def season(
    client: redis.asyncio.Redis, keys: Keys, stream: str, channel: int, partitioner: Partitioner
) -> dict[str, Any] | None:
    """The week as the stream's season has it; None without a season, or before the detector has come to it."""
    _, usual = await read_judged(client, keys, shard_of(stream, partitioner), stream)
    header = (await read_headers(client, keys, [stream], partitioner)).get(stream)
    if (
        usual is None
        or header is None
        or usual.low_WC.shape[1] != len(header.channels)
        or channel >= len(header.channels)
    ):
        return None
    tables = {"low": usual.low_WC, "expected": usual.expected_WC, "high": usual.high_WC}
    return {
        "zone": usual.zone or "UTC",
        **{name: numbers(data_of(table_WC, header.scale)[:, channel]) for name, table_WC in tables.items()},
    }


async def weeks(
    client: redis.asyncio.Redis, keys: Keys, stream: str, channel: int, partitioner: Partitioner
) -> dict[str, Any]:
    """Eight weeks in blocks of minutes; empty where a stream has no coarse ring."""
    found = (await read_windows(client, keys, [stream], partitioner, 1, as_stored=True)).get(stream)
    if found is None or found.coarse is None:
        return {"times": [], "values": []}
    mean_B = found.coarse.mean_BC[:, min(channel, found.coarse.mean_BC.shape[1] - 1)]
    blocks, low_B, high_B = thinned(found.coarse.first, mean_B)
    return {
        "interval_s": found.coarse.block_ns / 1e9,
        "channels": found.header.channels,
        "times": [int(block) * found.coarse.block_ns / 1e9 for block in blocks],
        "values": numbers(high_B),
        "lows": numbers(low_B) if len(blocks) < len(mean_B) else None,
    }


def thinned(first: int, values_S: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of slots, lowest and highest value of each stretch: at most `MOST_POINTS`, and no extreme is lost.

    >>> slots, low, high = thinned(10, np.arange(3.0))
    >>> slots.tolist(), high.tolist()
    ([10, 11, 12], [0.0, 1.0, 2.0])
    """
    step = -(-len(values_S) // MOST_POINTS) or 1
    if step == 1:
        return np.arange(first, first + len(values_S)), values_S, values_S
    pad = -len(values_S) % step
    rows = np.concatenate([values_S, np.full(pad, np.nan, values_S.dtype)]).reshape(-1, step)
    there = np.isfinite(rows).any(1)
    low, high = np.where(np.isfinite(rows), rows, np.inf).min(1), np.where(np.isfinite(rows), rows, -np.inf).max(1)
    return first + np.arange(len(rows)) * step, np.where(there, low, np.nan), np.where(there, high, np.nan)


def numbers(values: np.ndarray) -> list[float | None]:
    """JSON numbers of seven digits, which is all that float32 has, or of twelve; None for NaN and infinities."""
    digits = 7 if values.dtype == np.float32 else 12
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in values.tolist()]

"""How streams stand, read in bulk out of Redis and the followed topics."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import orjson
import redis.asyncio

from streamer.contracts import READY_SLOTS, ModelRecord, StreamSettings
from streamer.overview.rows import State, StreamRow, dial_of
from streamer.placement import home_partition, shard_of
from streamer.redis_client import read_together
from streamer.settings import CommonSettings
from streamer.timestamps import NS
from streamer.unjudged import why_not
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys
from streamer.windows.ring import all_streams
from streamer.windows.standing import Standing

# Streams asked for in one round trip: 2 to 4 KB each.
CHUNK = 4_000


async def read_names(client: redis.asyncio.Redis, keys: Keys, known: Iterable[str] = ()) -> list[str]:
    """All streams that have points, and those of `known` (streams with settings), sorted. Raises redis.RedisError."""
    return sorted({*await all_streams(client, keys), *known})


async def read_rows(
    settings: CommonSettings,
    client: redis.asyncio.Redis,
    keys: Keys,
    names: Iterable[str],
    known: Mapping[str, StreamSettings],
    models: Mapping[str, ModelRecord],
) -> list[StreamRow]:
    """How these streams stand, in the order of `names`. Raises redis.RedisError.

    Args:
        known: settings of streams that have any.
        models: newest model records.
    """
    raw: Any = await client.hgetall(keys.students_missing())
    missing = {name.decode(): why.decode() for name, why in raw.items()}
    rows: list[StreamRow] = []
    todo = iter(names)
    while chunk := list(islice(todo, CHUNK)):
        pipe = client.pipeline(transaction=False)
        for name in chunk:
            shard = shard_of(name, settings.partitioner)
            read_together(pipe, keys.header(shard, name), keys.stream_state(shard, name))
        for name, (header, state) in zip(chunk, await pipe.execute(), strict=True):
            partition = home_partition(name, settings.partitions, settings.partitioner)
            rows.append(_row(name, partition, header, state, known.get(name), models.get(name), missing.get(name)))
    return rows


def _row(
    name: str, partition: int, raw: bytes | None, raw_state: bytes | None, own: StreamSettings | None, record: ModelRecord | None,
    student_missing: str | None,
) -> StreamRow:  # fmt: skip
    own = own or StreamSettings()
    facts: dict[str, Any] = {
        "dial": dial_of(own),
        "paused": own.paused,
        "labels": dict(own.labels),
        "student_missing": student_missing,
    }
    if raw is None:
        return StreamRow(name, partition, "unseen", **facts)
    header = StreamHeader.from_json(raw)
    body: dict[str, Any] = orjson.loads(raw_state) if raw_state else {}
    current = bool(body) and body["grid_version"] == header.grid_version
    standing = Standing.of(body.get("standing")) if current else Standing()
    state, why = _state(header, body if current else {}, record)
    promoted, shadow = (record.promoted, record.shadow) if record else (None, None)
    return StreamRow(
        name,
        partition,
        state,
        why,
        interval_s=header.interval_ns / NS if header.interval_ns else None,
        season=standing.season,
        channels=header.channels,
        slots=max(0, header.hi - header.lo + 1) if header.hi >= 0 else 0,
        points=header.points,
        last_point=header.slot_ns(header.hi) / NS if header.hi >= 0 else None,
        last_seen=header.last_seen_ms / 1000 if header.last_seen_ms else None,
        score=standing.score,
        passed_over=standing.passed_over_ms / 1000 if standing.passed_over_ms else None,
        model=promoted.version if promoted else None,
        model_slots=promoted.points if promoted else 0,
        shadow=shadow.version if shadow else None,
        refused=shadow.refused if shadow else None,
        open=standing.open,
        **facts,
    )


def _state(header: StreamHeader, body: Mapping[str, Any], record: ModelRecord | None) -> tuple[State, str | None]:
    if header.state == "waiting":
        return "waiting", f"{header.points} points so far; 33 distinct times tell its interval, or interval_s does"
    if header.state == "irregular":
        return "irregular", why_not("irregular")
    refs = (record.promoted, record.shadow) if record else ()
    promoted, shadow = (
        ref if ref and ref.grid_version == header.grid_version else None for ref in refs or (None, None)
    )
    unjudged = body.get("unjudged")
    if unjudged:  # what the detector says of it, a word; see docs/operations.md
        return "unjudged", why_not(unjudged["why"])
    if not body or not (body.get("model") or body.get("warming")):
        if header.hi <= header.history_hi:
            return "unjudged", "only history so far: nothing live has come"
        if body and promoted is None:
            return "unjudged", why_not("no_model")
        return "unjudged", "no detector has seen it on this grid"
    if body.get("model") and promoted is not None:
        return ("ready", None) if promoted.points >= READY_SLOTS else ("warming", f"student of {promoted.points} slots")
    if shadow is not None:
        return "shadow", shadow.refused or "the gate refused its student"
    return "warming", "no student yet: the generic prior judges"

"""Streams as they stand: grid, judgement, model, dial and what is open, out of Redis and the followed topics.

States of a stream:

| state | meaning |
| --- | --- |
| `unseen` | settings, but no point yet |
| `waiting` | points, but its interval is not known yet |
| `irregular` | its points follow no interval: kept, not judged |
| `unjudged` | on its grid, and the detector has not judged it; `why` says for what reason |
| `warming` | judged by the generic prior, or by a student that has seen few slots |
| `shadow` | judged by the generic prior, since the gate refused its student; `why` is the gate's reason |
| `ready` | judged by a student that has seen enough |
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import orjson
import redis.asyncio

from streamer.contracts import READY_SLOTS, ModelRecord, Severity, StreamSettings
from streamer.placement import home_partition, shard_of
from streamer.settings import CommonSettings
from streamer.timestamps import NS
from streamer.windows.header import StreamHeader
from streamer.windows.keys import Keys
from streamer.windows.ring import all_streams
from streamer.windows.standing import OpenIncident, Standing

State = Literal["unseen", "waiting", "irregular", "unjudged", "warming", "shadow", "ready"]
STATES: tuple[State, ...] = ("ready", "warming", "shadow", "unjudged", "irregular", "waiting", "unseen")
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
WORST: dict[str, int] = {name: place for place, name in enumerate(reversed(SEVERITIES), 1)}
# Streams asked for in one round trip: 2 to 4 KB each.
CHUNK = 4_000
_DEFAULT_DIAL = "0.1/week"


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One stream."""

    name: str
    partition: int
    state: State
    why: str | None = None
    interval_s: float | None = None
    season: str | None = None  # in words; None: none yet
    channels: list[str] = field(default_factory=list)
    slots: int = 0  # of its window
    points: int = 0  # ever
    last_point: float | None = None  # event time of its newest slot, Unix seconds
    last_seen: float | None = None  # when the newest point was recorded, Unix seconds
    score: float | None = None  # surprise of the newest judged slot
    model: str | None = None  # version in force
    model_slots: int = 0  # that it has seen
    shadow: str | None = None  # version that the gate has refused
    refused: str | None = None  # … and why
    dial: str = _DEFAULT_DIAL
    paused: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    open: list[OpenIncident] = field(default_factory=list)

    @property
    def worst(self) -> Severity | None:
        """Severity of the worst incident that is open."""
        return max((incident.severity for incident in self.open), key=WORST.__getitem__, default=None)


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
    rows: list[StreamRow] = []
    todo = iter(names)
    while chunk := list(islice(todo, CHUNK)):
        pipe = client.pipeline(transaction=False)
        for name in chunk:
            shard = shard_of(name, settings.partitioner)
            pipe.mget(keys.header(shard, name), keys.stream_state(shard, name))
        for name, (header, state) in zip(chunk, await pipe.execute(), strict=True):
            partition = home_partition(name, settings.partitions, settings.partitioner)
            rows.append(_row(name, partition, header, state, known.get(name), models.get(name)))
    return rows


def _row(
    name: str, partition: int, raw: bytes | None, raw_state: bytes | None, own: StreamSettings | None, record: ModelRecord | None
) -> StreamRow:  # fmt: skip
    own = own or StreamSettings()
    facts: dict[str, Any] = {"dial": dial_of(own), "paused": own.paused, "labels": dict(own.labels)}
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
        return "irregular", "its points follow no interval: set interval_s"
    refs = (record.promoted, record.shadow) if record else ()
    promoted, shadow = (
        ref if ref and ref.grid_version == header.grid_version else None for ref in refs or (None, None)
    )
    if not body or not (body.get("model") or body.get("warming")):
        if header.hi <= header.history_hi:
            return "unjudged", "only history so far: nothing live has come"
        if body and promoted is None:
            return "unjudged", "no student yet, and the detector runs with --no-warming"
        return "unjudged", "no detector has seen it on this grid"
    if body.get("model") and promoted is not None:
        return ("ready", None) if promoted.points >= READY_SLOTS else ("warming", f"student of {promoted.points} slots")
    if shadow is not None:
        return "shadow", shadow.refused or "the gate refused its student"
    return "warming", "no student yet: the generic prior judges"


def dial_of(own: StreamSettings) -> str:
    """The expected false alerts that a stream's settings ask for.

    >>> dial_of(StreamSettings(alert_budget=2)), dial_of(StreamSettings(alerts_per_week=1)), dial_of(StreamSettings())
    ('2/10k slots', '1/week', '0.1/week')
    """
    if own.alert_budget is not None:
        return f"{own.alert_budget:g}/10k slots"
    return _DEFAULT_DIAL if own.alerts_per_week is None else f"{own.alerts_per_week:g}/week"


@dataclass(frozen=True, slots=True)
class Tally:
    """Streams counted."""

    total: int
    by_state: dict[str, int]
    why: dict[str, dict[str, int]]  # state → reason → streams
    paused: int
    open_by_severity: dict[str, int]  # incidents


def tally(rows: Sequence[StreamRow]) -> Tally:
    """Streams by state and open incidents by severity.

    >>> tally([StreamRow("a", 0, "ready"), StreamRow("b", 1, "unseen")]).by_state
    {'ready': 1, 'unseen': 1}
    """
    states = Counter(row.state for row in rows)
    why: dict[str, Counter[str]] = {}
    for row in rows:
        if row.why and row.state in ("unjudged", "shadow", "irregular"):
            why.setdefault(row.state, Counter())[row.why] += 1
    severities = Counter(incident.severity for row in rows for incident in row.open)
    return Tally(
        len(rows),
        {state: states[state] for state in STATES if states[state]},
        {state: dict(found.most_common()) for state, found in why.items()},
        sum(row.paused for row in rows),
        {name: severities[name] for name in SEVERITIES if severities[name]},
    )

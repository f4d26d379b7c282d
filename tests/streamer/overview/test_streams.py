"""A stream's state, by what Redis and `models` say of it, as the detector writes it."""

import io

import orjson
import pytest
import redis.asyncio
from rich.console import Console

from detector.incidents.episode import Episode
from detector.incidents.identity import incident_id
from detector.incidents.record import NoData, StreamState
from streamer.cli.streams import table
from streamer.contracts import ModelRecord, ModelRef, StreamSettings
from streamer.overview.query import StreamQuery
from streamer.overview.rows import StreamRow, tally
from streamer.overview.streams import read_names, read_rows
from streamer.placement import shard_of
from streamer.settings import CommonSettings
from streamer.windows.header import GridState, StreamHeader
from streamer.windows.keys import Keys

SECOND_NS = 10**9


def ref(version: str, points: int, grid_version: int = 1, refused: str | None = None) -> ModelRef:
    """A model as it is announced."""
    return ModelRef(
        version=version, uri="u", row=0, sha256="0" * 64, grid_version=grid_version, trained_slots=(0, 1),
        points=points, refused=refused,
    )  # fmt: skip


def record(promoted: ModelRef | None = None, shadow: ModelRef | None = None) -> ModelRecord:
    """What `models` says."""
    return ModelRecord(stream="s", promoted=promoted, shadow=shadow, announced_at="2026-01-31T12:00:00Z")


def header(state: GridState = "grid", history_hi: int = -1) -> StreamHeader:
    """Ten slots of a second."""
    return StreamHeader(
        state, 1, SECOND_NS, 0, 64, ["value"], [False], lo=0, hi=9, history_hi=history_hi, points=10, last_seen_ms=9_000
    )


def judged(model: str | None = None, grid_version: int = 1) -> StreamState:
    """A state of a stream that the prior or a student judges."""
    return StreamState(grid_version, SECOND_NS, 0, 9, model=model, warming=model is None)


REFUSED = "held-back false alarms are 40 times the promise, 10 are allowed"


@pytest.mark.parametrize(
    ("head", "state", "models", "expected", "why"),
    [
        (None, None, None, "unseen", None),
        (header("waiting"), None, None, "waiting", "interval_s"),
        (header("irregular"), None, None, "irregular", "interval_s"),
        (header(), None, None, "unjudged", "no detector has seen it"),
        (header(history_hi=9), None, None, "unjudged", "only history"),
        (header(), StreamState(1, SECOND_NS, 0, 9), None, "unjudged", "--no-warming"),
        (header(), judged(grid_version=2), None, "unjudged", "no detector has seen it on this grid"),
        (header(), judged(), None, "warming", "generic prior"),
        (header(), judged("v"), record(ref("v", 600)), "warming", "600 slots"),
        (header(), judged("v"), record(ref("v", 2000)), "ready", None),
        (header(), judged("v"), record(ref("v", 2000), ref("w", 2000, refused=REFUSED)), "ready", None),
        (header(), judged(), record(None, ref("w", 2000, refused=REFUSED)), "shadow", REFUSED),
        (header(), judged(), record(ref("v", 2000, grid_version=2)), "warming", "generic prior"),
    ],
)
async def test_a_state_and_why(
    head: StreamHeader | None, state: StreamState | None, models: ModelRecord | None, expected: str, why: str | None,
    settings: CommonSettings, redis_client: redis.asyncio.Redis,
) -> None:  # fmt: skip
    keys, shard = Keys(settings.namespace), shard_of("s")
    if head is not None:
        await redis_client.set(keys.header(shard, "s"), head.to_json())
        await redis_client.sadd(keys.names(shard), "s")
    if state is not None:
        await redis_client.set(keys.stream_state(shard, "s"), state.to_json())
    names = await read_names(redis_client, keys, ["s"])
    [row] = await read_rows(settings, redis_client, keys, names, {}, {"s": models} if models else {})
    assert row.state == expected
    assert (row.why is None) if why is None else (row.why is not None and why in row.why)
    assert row.last_point == (None if head is None else 9.0)


async def test_what_is_open_is_told_by_the_state(settings: CommonSettings, redis_client: redis.asyncio.Redis) -> None:
    state = judged("v")
    state.tracker.incident = Episode(5, 4, 4.0, 8.5, 6, 9, reach=4.0, revision=2)
    state.no_data = NoData(10, 9_000)
    state.stand("s")
    keys, shard = Keys(settings.namespace), shard_of("s")
    await redis_client.set(keys.header(shard, "s"), header().to_json())
    await redis_client.set(keys.stream_state(shard, "s"), state.to_json())
    own = StreamSettings(paused=True, labels={"room": "lab"}, alert_budget=2)
    [row] = await read_rows(settings, redis_client, keys, ["s"], {"s": own}, {})
    anomaly, silence = row.open
    assert anomaly.incident_id == incident_id("s", 1, 5)
    assert (anomaly.since_ms, anomaly.score, anomaly.revision) == (4_000, 8.5, 2)
    assert (silence.kind, silence.since_ms, silence.severity) == ("no_data", 10_000, "warning")
    assert (row.worst, row.paused, row.dial) == (state.tracker.incident.severity, True, "2/10k slots")
    counted = tally([row, StreamRow("t", 0, "irregular", "its points follow no interval: set interval_s")])
    assert (counted.total, counted.paused, sum(counted.open_by_severity.values())) == (2, 1, 2)
    assert counted.why == {"irregular": {"its points follow no interval: set interval_s": 1}}
    state.tracker.incident, state.no_data = None, None
    state.stand("s")
    assert state.standing.open == []


def test_pages_follow_one_order_and_miss_nothing() -> None:
    rows = [StreamRow(f"s{number}", 0, "ready", score=number % 3 or None, points=number) for number in range(10)]
    for sort in ("name", "score", "points", "state", "last", "incident", "interval", "model"):
        seen: list[str] = []
        for offset in range(0, 10, 4):
            page, total = StreamQuery(sort=sort, limit=4, offset=offset).page(rows)
            assert total == 10
            seen += [row.name for row in page]
        assert sorted(seen) == sorted(row.name for row in rows)
    assert [row.name for row in StreamQuery(sort="score", limit=3).page(rows)[0]] == ["s2", "s5", "s8"]


async def test_what_the_detector_says_of_a_stream_that_it_does_not_judge_is_told(
    settings: CommonSettings, redis_client: redis.asyncio.Redis
) -> None:
    keys, shard = Keys(settings.namespace), shard_of("s")
    state = orjson.dumps(
        {**orjson.loads(judged().to_json()), "unjudged": {"why": "sparse", "anchor": 9, "revision": 0}}
    )
    await redis_client.set(keys.header(shard, "s"), header().to_json())
    await redis_client.set(keys.stream_state(shard, "s"), state)
    [row] = await read_rows(settings, redis_client, keys, ["s"], {}, {})
    assert (row.state, row.why) == ("unjudged", "sparse")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table([row, StreamRow("t", 0, "ready")]))
    lines = console.export_text().splitlines()
    assert lines[0].split()[-1] == "why"
    assert lines[1].split()[-1] == "sparse"
    assert lines[2].split()[-1] == "0.1/week"

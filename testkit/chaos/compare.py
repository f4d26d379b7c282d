"""What has come out of a run, and how it differs from what has come out of another one.

Shapes: S slots of a window, C channels
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import redis.asyncio
from aiokafka import TopicPartition

from streamer.contracts import AnomalyEvent
from streamer.kafka.client import make_consumer
from streamer.placement import shard_of
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ring import read_windows
from testkit.chaos.watch import Watch
from testkit.detecting import events


class Reported(NamedTuple):
    """One incident: its revisions in the order they were first told, each with its state and slot; and how it stands."""

    stream: str
    kind: str
    revisions: tuple[tuple[int, str, int], ...]
    severity: str
    started: str
    ended: str | None
    end_reason: str | None


class Outcome(NamedTuple):
    """`windows`: of each stream grid, bounds and the hash of the ring's bytes; `wrong`: what no run may do."""

    incidents: dict[str, Reported]
    windows: dict[str, tuple[object, ...]]
    wrong: list[str]
    repeated: int  # events told more than once, byte for byte


async def outcome(settings: CommonSettings, client: redis.asyncio.Redis, streams: Sequence[str]) -> Outcome:
    """Read everything that has come out."""
    published = await events(settings)
    first: dict[str, AnomalyEvent] = {}
    wrong = [f"{e.id} was told in two versions" for e in published if first.setdefault(e.id, e) != e]
    by_incident: dict[str, list[AnomalyEvent]] = {}
    for event in first.values():
        by_incident.setdefault(event.data.incident_id, []).append(event)
    incidents = {}
    for name, told in by_incident.items():
        numbers = [event.data.revision for event in told]
        if numbers != list(range(len(numbers))):
            wrong.append(f"{name} of {told[0].subject} has the revisions {numbers}")
        last = told[-1].data
        revisions = tuple((event.data.revision, event.data.state, event.data.slot) for event in told)
        incidents[name] = Reported(
            last.stream, last.kind, revisions, last.severity, last.started_at, last.ended_at, last.end_reason
        )
    return Outcome(incidents, await windows_of(settings, client, streams), wrong, len(published) - len(first))


async def windows_of(
    settings: CommonSettings, client: redis.asyncio.Redis, streams: Sequence[str]
) -> dict[str, tuple[object, ...]]:
    """Grid, bounds and hashes of the bytes of all windows: as they are read, and as they lie in Redis."""
    keys = Keys(settings.namespace)
    found = {}
    for stream, window in (await read_windows(client, keys, list(streams))).items():
        header = window.header
        raw = await client.get(keys.ring(shard_of(stream), stream))
        assert isinstance(raw, bytes)
        hashes = [hashlib.sha256(part).hexdigest()[:16] for part in (window.values_SC.tobytes(), raw)]
        found[stream] = (header.grid_version, header.phase_ns, header.lo, header.hi, tuple(header.channels), *hashes)
    return found


def differences(undisturbed: Outcome, disturbed: Outcome) -> list[str]:
    """One line each; none when both are the same.

    >>> told = Reported("a", "anomaly", ((0, "open", 5),), "warning", "then", None, None)
    >>> differences(Outcome({"x": told}, {"a": (1,)}, [], 0), Outcome({}, {"a": (2,)}, [], 0))
    ['window of a: undisturbed (1,), disturbed (2,)', "incident x: undisturbed Reported(stream='a', kind='anomaly', \
revisions=((0, 'open', 5),), severity='warning', started='then', ended=None, end_reason=None), disturbed None"]
    """
    lines = [*undisturbed.wrong, *disturbed.wrong]
    for what, one, other in (
        ("window of", undisturbed.windows, disturbed.windows),
        ("incident", undisturbed.incidents, disturbed.incidents),
    ):
        lines += [
            f"{what} {name}: undisturbed {one.get(name)}, disturbed {other.get(name)}"
            for name in sorted({*one, *other})
            if one.get(name) != other.get(name)
        ]
    return lines


async def offsets_wrong(settings: CommonSettings, watch: Watch) -> list[str]:
    """Offsets that are behind or ahead of the end, in Redis and as committed; no worker runs."""
    await watch.load()
    wrong = [*watch.behind("metrics"), *watch.behind("windows")]
    for group, topic in (("streamer", "metrics"), ("detector", "windows")):
        consumer = await make_consumer(settings, settings.topic_prefix + group)
        try:
            for partition in range(settings.partitions):
                at, end = TopicPartition(settings.topic(topic), partition), watch.ends.get((topic, partition))
                committed = await consumer.committed(at)
                if committed != end:
                    wrong.append(f"{topic}/{partition} ends at {end}, committed by {group}: {committed}")
        finally:
            await consumer.stop()
    return wrong

"""Redis has lost data (emptied, or restored from an older state): said once by every means that people look at.

A warning in the log and a count in the stats by every worker that notices; and one event of kind `system` on
`anomalies`, by whoever notices first. The event is an incident that has begun and ended, so that whatever delivers
incidents delivers it.
"""

import time
import uuid

import redis.asyncio
import structlog
from aiokafka import AIOKafkaProducer

from streamer.contracts import AnomalyEvent, Incident
from streamer.host.stats import Stats
from streamer.kafka.sending import Outgoing, send_patiently
from streamer.patience import patiently
from streamer.placement import home_partition
from streamer.redis_client import redis_name
from streamer.refusals import REDIS_ERRORS
from streamer.settings import CommonSettings
from streamer.timestamps import NS, format_ns
from streamer.windows.keys import Keys

log = structlog.get_logger(__name__)

SYSTEM_STREAM = "anomalyllm.system"  # what a system event has in place of a stream: the key of its record
# The mark that somebody has told it lies in Redis, and goes with what is lost: another loss is told again.
REPORTED_S = 600
REASON = (
    "Redis has lost data: it was emptied, or restored from an older state. Windows are rebuilt from Kafka as far as its "
    "retention reaches; what was received before is learnt from and not judged again, and incidents that were open are "
    "closed. Look at the persistence and memory limit of Redis (docs/operations.md)"
)


class Losses:
    """Losses that a worker has noticed; `tell` says them."""

    def __init__(
        self,
        settings: CommonSettings,
        client: redis.asyncio.Redis,
        producer: AIOKafkaProducer,
        keys: Keys,
        stats: Stats,
    ) -> None:
        self._settings = settings
        self._client = client
        self._producer = producer
        self._keys = keys
        self._stats = stats
        self._untold = False

    def note(self, topic: str, partition: int, known: int) -> None:
        """Redis is behind `known`, the next offset of a partition."""
        log.warning("Redis has lost data", topic=topic, partition=partition, known=known)
        self._stats.counts["redis_losses"] += 1
        self._untold = True

    async def report(self) -> None:
        """Publish the event, unless another worker has. Waits for servers; raises RefusedError."""
        if not self._untold:
            return
        self._untold = False
        key = self._keys.loss_reported()

        async def first() -> bool:
            return bool(await self._client.set(key, b"1", nx=True, ex=REPORTED_S))

        if await patiently(redis_name(self._settings), first, REDIS_ERRORS):
            await send_patiently(self._settings, self._producer, [self._event()])

    def _event(self) -> Outgoing:
        settings = self._settings
        partition = home_partition(SYSTEM_STREAM, settings.partitions, settings.partitioner)
        event = system_event(f"anomalyllm/{settings.namespace}", REASON, partition)
        value = event.model_dump_json().encode()
        return Outgoing(settings.topic("anomalies"), value, SYSTEM_STREAM.encode(), partition)


def system_event(source: str, reason: str, partition: int) -> AnomalyEvent:
    """An event of kind `system`: the detector's own trouble, in one sentence; begun and ended at this moment.

    >>> event = system_event("anomalyllm/al", "Redis has lost data", partition=0)
    >>> event.subject, event.data.kind, event.data.state
    ('anomalyllm.system', 'system', 'resolved')
    """
    now = format_ns(int(time.time() * NS))
    incident = Incident(
        incident_id=str(uuid.uuid4()), revision=0, state="resolved", kind="system", stream=SYSTEM_STREAM,
        severity="warning", started_at=now, updated_at=now, ended_at=now, grid_version=0, anchor_slot=0, slot=0, slots=0,
        score=0.0, tail_probability=1.0, threshold=0.0, channels=[], view="system", scale=0, depth=0,
        source_partition=partition, reason=reason,
    )  # fmt: skip
    return AnomalyEvent(
        id=f"{incident.incident_id}:0", source=source, type="anomalyllm.system", subject=SYSTEM_STREAM, time=now,
        data=incident,
    )  # fmt: skip

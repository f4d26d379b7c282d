"""From decisions to the world: state, input offset and outbox in one compare-and-set, then the messages, then Kafka's offset.

The order is what makes at least once look like exactly once (decisions 001 and 005): nothing is sent that is not
stored, and what is stored with its offset is never decided again.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from detector.live.decisions import Decisions, PartitionDecisions
from detector.live.outbox import Outbox, read_outbox
from detector.live.settings import WorkerSettings
from detector.live.streams import OwnedStreams
from streamer.errors import FencedError, OffsetConflictError
from streamer.host.worker import Servers
from streamer.kafka.ownership import Ownership
from streamer.redis_client import redis_name
from streamer.refusals import REDIS_ERRORS, raise_if_refused

log = structlog.get_logger(__name__)

# Offsets in Redis decide where to resume; those in Kafka tell operators the lag, so once in a while is enough.
COMMIT_S = 0.5


class Finishing:
    """Writes and sends decisions, and knows which outbox of each partition has been sent."""

    def __init__(
        self,
        settings: WorkerSettings,
        servers: Servers,
        streams: OwnedStreams,
        owner: Ownership,
        on_fenced: Callable[[int], None],
    ) -> None:
        self.gained: set[int] = set()  # partitions whose stored outbox is still to be sent
        self._settings = settings
        self._servers = servers
        self._streams = streams
        self._owner = owner
        self._on_fenced = on_fenced
        self._sent: dict[int, Outbox] = {}  # the stored outbox of each partition, which has been sent
        self._uncommitted: dict[int, int] = {}
        self._next_commit = 0.0

    async def resend(self, partition: int) -> None:
        """Send what the partition's last owner stored and perhaps did not send. Raises redis.RedisError."""
        outbox = await read_outbox(self._servers.redis, self._servers.keys, partition, self._settings.partitions)
        sent = self._sent.get(partition)
        if sent is None or sent.messages != outbox.messages:
            await outbox.send(self._settings, self._servers.producer)
        self._sent[partition] = outbox

    def lose(self, partition: int) -> None:
        """Another worker has the partition now."""
        self._sent.pop(partition, None)
        self._uncommitted.pop(partition, None)
        self.gained.discard(partition)

    async def restart(self, partition: int) -> None:
        """Drop what memory holds of a partition; Redis is right, and its outbox may not have been sent."""
        self._streams.drop_partition(partition)
        self._uncommitted.pop(partition, None)
        await self._owner.recover(partition)
        self.gained.add(partition)

    async def adopt(self, partition: int) -> None:
        """The stored outbox of a partition is not to be sent: Redis has lost data, and it may be an old one."""
        self._sent[partition] = await read_outbox(
            self._servers.redis, self._servers.keys, partition, self._settings.partitions
        )
        self._uncommitted.pop(partition, None)
        self.gained.discard(partition)

    async def settle(self, partition: int) -> bool:
        """What Redis had lost of a partition is mended; False when it is not, and has to be begun again."""
        try:
            await self._owner.settle(partition)
        except FencedError as error:
            log.warning("partition taken over by another worker", partition=partition, error=str(error))
            self._on_fenced(partition)
        except OffsetConflictError:
            await self.restart(partition)
            return False
        return True

    async def finish(self, decisions: Decisions, offsets: Mapping[int, int] | None = None) -> bool:
        """Store and send; `offsets` are those of the last judged record of each partition of a batch.

        Returns whether all of it is done; a part that is not is decided again, or is another worker's now.
        """
        offsets = offsets or {}
        for partition in offsets:
            decisions.parts.setdefault(partition, PartitionDecisions())
        done = await asyncio.gather(
            *(self._finish(decisions, p, part, offsets.get(p)) for p, part in decisions.parts.items())
        )
        if all(done):
            self._servers.stats.counts["alerts"] += decisions.alerts
        return all(done)

    async def _finish(self, decisions: Decisions, partition: int, part: PartitionDecisions, offset: int | None) -> bool:
        ledger = self._owner.ledger
        if partition not in self._owner.owned:
            return False
        before = self._sent.get(partition)
        ops = decisions.ops(part, self._servers.keys, set(before.messages) if before else set())
        try:
            # -1: the offset stays where it is
            await ledger.apply(partition, -1 if offset is None else offset, ops)
        except FencedError as error:
            log.warning("partition taken over by another worker", partition=partition, error=str(error))
            self._on_fenced(partition)
            return False
        except (OffsetConflictError, *REDIS_ERRORS) as error:
            raise_if_refused(redis_name(self._settings), error)
            log.warning("batch not stored, reading it again", partition=partition, error=str(error))
            await self.restart(partition)
            return False
        await part.outbox.send(self._settings, self._servers.producer)
        self._sent[partition] = part.outbox
        if offset is not None:
            self._uncommitted[partition] = offset + 1
        return True

    async def clear_outboxes(self) -> None:
        """Nothing else to do: forget what has been sent, so that the next owner does not repeat it."""
        decisions = Decisions(self._settings, self._streams)
        decisions.parts = {
            partition: PartitionDecisions()
            for partition, outbox in self._sent.items()
            if outbox.messages and partition in self._owner.owned
        }
        await self.finish(decisions)

    async def commit(self, at_once: bool = False) -> None:
        """Commit to Kafka what has been finished, once in `COMMIT_S`."""
        if not at_once and time.monotonic() < self._next_commit:
            return
        self._next_commit = time.monotonic() + COMMIT_S
        offsets = {p: offset for p, offset in self._uncommitted.items() if p in self._owner.owned}
        self._uncommitted.clear()
        if offsets:
            await self._owner.commit(offsets)

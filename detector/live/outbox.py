"""Messages that go out exactly as decided: stored with the state they report, then sent, then forgotten.

The state, the input offset and the outbox move in one compare-and-set; only then the messages are sent. After a
crash the next owner finds the outbox and sends it again, byte for byte: whatever has changed meanwhile (a model, late
data, the clock), a subscriber sees a revision once or twice, never two versions of it and never a gap. A worker
that lost the partition fails at the compare-and-set and has sent nothing.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson
import redis.asyncio
import structlog
from aiokafka import AIOKafkaProducer

from streamer.errors import UnsendableError
from streamer.kafka.dead_letters import CUT_BYTES
from streamer.kafka.sending import Outgoing, send_patiently
from streamer.metrics import DEAD_LETTERS
from streamer.placement import shards_of_partition
from streamer.record_headers import DeadLetterHeaders
from streamer.settings import CommonSettings
from streamer.windows.keys import Keys
from streamer.windows.ledger import Ops

log = structlog.get_logger(__name__)
UNSENDABLE = "unsendable"  # class of the dead letters of messages that the broker never takes


class Message(NamedTuple):
    """One record to be sent; the partition is explicit where the topic has home partitions."""

    topic: str
    partition: int | None
    key: str
    value: str | None  # JSON; None is a tombstone
    headers: tuple[tuple[str, str], ...] = ()  # trace context, where traces are on

    def stored(self) -> list[object]:
        """As stored; without headers as versions stored it that knew none."""
        return [self.topic, self.partition, self.key, self.value, *([self.headers] if self.headers else [])]

    @classmethod
    def read(cls, topic: str, partition: int | None, key: str, value: str | None, headers: Any = ()) -> "Message":
        """A stored message."""
        return cls(topic, partition, key, value, tuple((name, text) for name, text in headers))

    def outgoing(self) -> Outgoing:
        """As it is sent."""
        value = None if self.value is None else self.value.encode()
        headers = [(name, text.encode()) for name, text in self.headers]
        return Outgoing(self.topic, value, self.key.encode(), self.partition, headers)

    def dead_letter(self, settings: CommonSettings, why: str) -> Outgoing:
        """The same for `dead-letters`, cut where it is very large."""
        value = (self.value or "").encode()
        cut = " (value truncated)" if len(value) > CUT_BYTES else ""
        headers = DeadLetterHeaders(
            topic=self.topic, partition=str(self.partition), offset="-1", timestamp="-1", error=UNSENDABLE,
            message=f"{why}{cut}",
        )  # fmt: skip
        named = [(name, text.encode()) for name, text in headers.model_dump().items()]
        return Outgoing(settings.topic("dead-letters"), value[:CUT_BYTES], self.key.encode(), headers=named)


class Outbox:
    """Messages of one partition's batch."""

    def __init__(self) -> None:
        self.messages: dict[int, list[Message]] = {}

    def append(self, shard: int, message: Message) -> None:
        """One more to be sent; the order within a shard is kept."""
        self.messages.setdefault(shard, []).append(message)

    def store(self, ops: Ops, keys: Keys, before: Iterable[int]) -> None:
        """Write the outbox; the shards in `before` had one, which has been sent."""
        for shard, messages in self.messages.items():
            ops.shard(shard).set(keys.outbox(shard), orjson.dumps([message.stored() for message in messages]))
        for shard in before:
            if shard not in self.messages:
                ops.shard(shard).delete(keys.outbox(shard))

    async def send(self, settings: CommonSettings, producer: AIOKafkaProducer) -> None:
        """Send everything and wait until all of it is acknowledged, however long the broker is away.

        One that the broker will never take goes to `dead-letters`: kept here, it would end every owner of the partition
        at its start. Raises RefusedError, and UnsendableError when `dead-letters` cannot be written either.
        """
        messages = [message for each in self.messages.values() for message in each]
        try:
            await send_patiently(settings, producer, [message.outgoing() for message in messages])
        except UnsendableError:
            # One by one, in order. Some are written twice now, byte for byte, as after a crash.
            for message in messages:
                try:
                    await send_patiently(settings, producer, [message.outgoing()])
                except UnsendableError as error:
                    log.error("message never to be sent", topic=message.topic, key=message.key, error=str(error))
                    await send_patiently(settings, producer, [message.dead_letter(settings, str(error))])
                    DEAD_LETTERS.labels(message.topic, UNSENDABLE).inc()


async def read_outbox(client: redis.asyncio.Redis, keys: Keys, partition: int, partitions: int) -> Outbox:
    """What the last owner of a partition stored and perhaps did not send."""
    shards = list(shards_of_partition(partition, partitions))
    pipe = client.pipeline(transaction=False)
    for shard in shards:
        pipe.get(keys.outbox(shard))
    outbox = Outbox()
    for shard, raw in zip(shards, await pipe.execute(), strict=True):
        for fields in orjson.loads(raw) if raw else ():
            outbox.append(shard, Message.read(*fields))
    return outbox

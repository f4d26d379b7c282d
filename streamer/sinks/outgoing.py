"""A round of deliveries: plan, send, remember what was told; what cannot be delivered is dead-lettered and said."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiokafka import AIOKafkaProducer, ConsumerRecord

from streamer.kafka.dead_letters import DeadLetter, bury
from streamer.settings import CommonSettings
from streamer.sinks.config import SinkTable
from streamer.sinks.deliveries import Action, Delivery, Sent
from streamer.sinks.errors import (
    DeliveryError,
    MessageFailedError,
    MessageRefusedError,
    SinkAwayError,
    SinkLockedOutError,
)
from streamer.sinks.planning import Item, Message, Planner
from streamer.sinks.transport import Answer, Transport

log = structlog.get_logger(__name__)
# Then it is planned again: what has changed meanwhile is told as it is.
MESSAGES_A_ROUND = 512
MESSAGES_A_NOTE = 32  # are noted in Redis together; so many may be sent again after a crash
LOOK_AGAIN_S = 60.0  # clocks are set, machines sleep
Save = Callable[[Sequence[Delivery]], Awaitable[None]]


class Outgoing:
    """The sending half of one sink."""

    def __init__(
        self,
        settings: CommonSettings,
        table: SinkTable,
        sink: str,
        transport: Transport,
        producer: AIOKafkaProducer,
        save: Save,
        clock: Callable[[], float],
    ) -> None:
        """`save` makes deliveries survive a crash, as they are when it is called."""
        self.counts: defaultdict[str, float] = defaultdict(float)
        self._settings = settings
        self._table = table
        self._sink = sink
        self._transport = transport
        self._producer = producer
        self._save = save
        self._clock = clock
        self._planner = Planner(
            table,
            stateful=transport.stateful,
            batch=transport.batch,
            acknowledges=transport.acknowledges,
            repost_s=transport.repost_s,
        )

    async def round(self, deliveries: Sequence[Delivery]) -> float:
        """Send what is due; returns the moment to look again at the latest.

        Raises:
            SinkAwayError, SinkLockedOutError: nothing more can be sent now.
        """
        now = self._clock()
        plan = self._planner.plan(deliveries, now)
        for delivery in plan.silent:
            delivery.settle(delivery.incident.revision, now)
        if plan.silent:
            await self._save(plan.silent)
        away: list[DeliveryError] = []
        limit = asyncio.Semaphore(self._transport.parallel)
        # People do not drop what they have had: their messages are noted one by one.
        together = 1 if self._transport.parallel == 1 else MESSAGES_A_NOTE
        for at in range(0, min(len(plan.messages), MESSAGES_A_ROUND), together):
            part = plan.messages[at : at + together]
            await self._claim(part)
            changed: list[Delivery] = []
            await asyncio.gather(*(self._one(message, limit, away, changed) for message in part))
            if changed:
                await self._save(changed)
            if away:
                await self._give_up_old(deliveries, away[0])
                raise away[0]
        return now if plan.messages else min(plan.wake_at, now + LOOK_AGAIN_S)

    async def _one(
        self, message: Message, limit: asyncio.Semaphore, away: list[DeliveryError], changed: list[Delivery]
    ) -> None:
        async with limit:
            if away:
                return
            try:
                answer = await self._transport.send(message)
            except (SinkAwayError, SinkLockedOutError) as error:
                away.append(error)
                return
            except MessageFailedError as error:
                await self._failed(message, error)
            except MessageRefusedError as error:
                await self._refused_or_split(message, error, away, changed)
            except Exception as error:  # what nobody thought of, in an incident that nobody thought of
                log.exception("message cannot be made", sink=self._sink, key=message.key)
                refused = MessageRefusedError(f"it cannot be made: {type(error).__name__}: {error}")
                await self._refused_or_split(message, refused, away, changed)
            else:
                changed += self._note_sent(message, answer)
            if message.costs and self._planner.bucket is not None:
                self._planner.bucket.take(1)

    async def _refused_or_split(
        self, message: Message, error: MessageRefusedError, away: list[DeliveryError], changed: list[Delivery]
    ) -> None:
        if self._transport.batch == 1 or len(message.items) == 1:
            await self._refused(message.items, error, "refused")
            return
        # One of them is refused, and the answer does not say which.
        for item in message.items:
            await self._one(Message((item,), message.key), asyncio.Semaphore(1), away, changed)

    async def _claim(self, messages: Sequence[Message]) -> None:
        """Before anything is sent it is stored that it was tried, and in which summary.

        Whoever comes after a crash then tells the end of what the server may have heard of.
        """
        new = []
        for message, item in [(each, item) for each in messages for item in each.items]:
            key = message.key if self._transport.stateful and message.summary else None
            delivery = item.delivery
            if item.action is Action.OPEN and delivery.sent is not None:  # once more: as if it had never been told
                delivery.sent, delivery.tried = None, False
            if (delivery.sent is None and not delivery.tried) or (key is not None and delivery.key != key):
                delivery.tried, delivery.key = True, key or delivery.key
                new.append(delivery)
        if new:
            await self._save(new)

    def _note_sent(self, message: Message, answer: Answer) -> list[Delivery]:
        now = self._clock()
        changed = []
        for item in message.items:
            delivery, before = item.delivery, item.delivery.sent
            delivery.sent = Sent(
                revision=item.revision,
                severity=item.incident.severity,
                open=item.opens,
                acknowledged=item.action is Action.ACKNOWLEDGE or (before is not None and before.acknowledged),
                memo=answer.memos.get(item.incident.incident_id, {}),
            )
            delivery.posted_at = now
            if not item.opens:
                delivery.key = item.incident.incident_id
            was = delivery.pending
            delivery.settle(item.sent_up_to, now)
            if was or delivery.sent != before:
                changed.append(delivery)
                self.counts["delivered"] += 1
        self.counts["messages"] += 1
        self.counts["summaries"] += message.summary
        return changed

    async def _failed(self, message: Message, error: MessageFailedError) -> None:
        now = self._clock()
        self.counts["failed"] += 1
        tired = [item for item in message.items if now - item.delivery.since > self._table.give_up_after]
        for item in message.items:
            item.delivery.failed(now)
        first = message.items[0].delivery
        log.warning(
            "message failed, trying again", sink=self._sink, error=str(error), attempt=first.attempts,
            incidents=[item.incident.incident_id for item in message.items[:5]],
        )  # fmt: skip
        if tired:
            await self._refused(tired, error, "undelivered")

    async def _give_up_old(self, deliveries: Sequence[Delivery], error: DeliveryError) -> None:
        """What has waited for longer than `give_up_after` will not be waited for any longer."""
        oldest = self._clock() - self._table.give_up_after
        items = [Item.of(d, Action.UPDATE) for d in deliveries if d.pending and d.since < oldest]
        if items:
            await self._refused(items, error, "undelivered")

    async def _refused(self, items: Sequence[Item], error: DeliveryError, reason: str) -> None:
        now = self._clock()
        cure = (
            "the incident's next revision is tried again"
            if reason == "refused"
            else f"nothing got through for {self._table.give_up_after:g} s (give_up_after)"
        )
        for item in items:
            delivery = item.delivery
            message = f"sink {self._sink}: {error}; {cure}"
            if item.closed and delivery.live:
                message += "; the server still believes it open"
            await self._dead(item, reason, message)
            log.error(f"incident {reason}", sink=self._sink, incident=item.incident.incident_id, error=str(error))
            if item.closed and delivery.sent is not None:
                delivery.sent.open = False
            delivery.settle(item.revision, now)
            self.counts[reason] += 1
        await self._save([item.delivery for item in items])

    async def _dead(self, item: Item, reason: str, message: str) -> None:
        record: ConsumerRecord = ConsumerRecord(
            topic=self._settings.topic("anomalies"), partition=item.delivery.partition, offset=item.offset,
            timestamp=item.timestamp_ms, timestamp_type=0, key=item.incident.stream.encode(),
            value=item.raw.encode(), checksum=None, serialized_key_size=0, serialized_value_size=0, headers=[],
        )  # fmt: skip
        await bury(self._settings, self._producer, [DeadLetter(record, reason, message)])

"""Which messages go out now: quiet hours, groups, rate limits. Pure: deliveries and a clock in, messages out."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from streamer.contracts import Incident
from streamer.sinks.config import RANK, Grouped, Limited, SinkTable
from streamer.sinks.deliveries import Action, Delivery, over

NAMESPACE = uuid.UUID("0d0e5e1c-93f4-5d0b-8a52-5a1f0f6d9c11")  # any fixed value: of summaries' keys
LABELS_OF_EVENT = ("stream", "tenant", "kind", "severity")
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Item:
    """One incident in a message, as it was when the message was planned.

    Its delivery goes on taking in revisions until the message has gone, and says what is told afterwards.
    """

    delivery: Delivery
    action: Action
    incident: Incident
    raw: str  # the event as it was read …
    offset: int  # … from there …
    timestamp_ms: int  # … and written then

    @classmethod
    def of(cls, delivery: Delivery, action: Action) -> "Item":
        """The delivery as it is now."""
        return cls(delivery, action, delivery.incident, delivery.raw, delivery.offset, delivery.timestamp_ms)

    @property
    def revision(self) -> int:
        """Which one is told."""
        return self.incident.revision

    @property
    def closed(self) -> bool:
        """Whether this revision says that it is over."""
        return over(self.incident)

    @property
    def opens(self) -> bool:
        """Whether the server believes it open afterwards."""
        return self.action is Action.OPEN or not self.closed

    @property
    def sent_up_to(self) -> int:
        """Newest revision of which nothing is left to tell afterwards."""
        return self.revision - (self.action is Action.OPEN and self.closed)


@dataclass(frozen=True, slots=True)
class Message:
    """One call of the server. `key` is the identity of what it is about towards the server."""

    items: tuple[Item, ...]
    key: str
    summary: bool = False  # more incidents than the rate limit lets through one by one
    costs: bool = False  # it counts for the rate limit
    group: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The same for the same revisions, whenever it is sent: receivers drop what they have had."""
        parts = sorted(f"{i.incident.incident_id}:{i.revision}:{i.action}" for i in self.items)
        return parts[0] if len(parts) == 1 else str(uuid.uuid5(NAMESPACE, "\n".join(parts)))


@dataclass(slots=True)
class Bucket:
    """Token bucket: `messages` at once, refilled over `per` seconds."""

    messages: int
    per: float
    level: float = -1.0
    at: float = 0.0

    def tokens(self, now: float) -> int:
        """Messages that may go now."""
        if self.level < 0:
            self.level = float(self.messages)
        else:
            self.level = min(self.messages, self.level + max(0.0, now - self.at) * self.messages / self.per)
        self.at = now
        return int(self.level + 1e-9)

    def take(self, count: int) -> None:
        """Use them up."""
        self.level -= count

    def next_at(self) -> float:
        """Moment at which the next token is there."""
        return self.at + max(0.0, 1.0 - self.level) * self.per / self.messages


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send now, what to leave untold, and when to look again at the latest."""

    messages: list[Message]
    silent: list[Delivery]  # their newest revision has nothing to tell
    wake_at: float


class Planner:
    """Rules of one sink."""

    def __init__(
        self, table: SinkTable, *, stateful: bool, batch: int, acknowledges: bool, repost_s: float | None
    ) -> None:
        """Args:
        stateful: the server keeps an incident's life itself, so that the end of one calls nobody.
        batch: incidents in one message where grouping is the server's business; 1 where it is not.
        acknowledges: the server can be told that somebody is at it.
        repost_s: an open incident is to be posted again after so many seconds.
        """
        self.table = table
        self.stateful = stateful
        self.batch = batch
        self.acknowledges = acknowledges
        self.repost_s = repost_s
        limit = table.rate_limit if isinstance(table, Limited) else None
        self.bucket = None if limit is None else Bucket(limit.messages, limit.per)

    def plan(self, deliveries: Iterable[Delivery], now: float) -> Plan:
        """Messages due now."""
        quiet_end = None if self.table.quiet_hours is None else self.table.quiet_hours.until(now)
        due: list[Item] = []
        silent: list[Delivery] = []
        wake = NEVER
        living: dict[str, int] = {}  # by the key of a summary: incidents that keep it open
        for delivery in deliveries:
            action = self._action(delivery)
            if delivery.begun and delivery.key != delivery.incident.incident_id:
                living[delivery.key] = living.get(delivery.key, 0) + 1
            if action is None and self.repost_s is not None and delivery.live:
                again = delivery.posted_at + self.repost_s
                if again <= now:
                    action = Action.UPDATE
                else:
                    wake = min(wake, again)
            if action is None:
                if delivery.pending:
                    silent.append(delivery)
                continue
            if delivery.retry_at > now:
                wake = min(wake, delivery.retry_at)
            elif quiet_end is not None and not self._passes(delivery, action):
                wake = min(wake, quiet_end)
            else:
                due.append(Item.of(delivery, action))
        messages, ready_at = self._messages(due, living, now)
        messages, refill_at = self._limited(messages, now)
        return Plan(messages, silent, min(wake, ready_at, refill_at))

    def _action(self, delivery: Delivery) -> Action | None:
        action = delivery.action(self.table.updates == "all", self.stateful)
        if action is Action.ACKNOWLEDGE and not self.acknowledges:
            return None
        sent = delivery.sent
        if self.stateful and sent is not None and sent.open and delivery.key != delivery.incident.incident_id:
            # In a summary: nothing is said of it alone but that it has become worse.
            worse = RANK[delivery.incident.severity] > RANK[sent.severity]
            return action if action is Action.CLOSE or (action is Action.UPDATE and worse) else None
        return action

    def _passes(self, delivery: Delivery, action: Action) -> bool:
        """Whether it may be told in quiet hours: critical, or something that wakes nobody."""
        return delivery.severity == "critical" or (self.stateful and (action in _SOFT or delivery.live))

    def _messages(self, due: list[Item], living: dict[str, int], now: float) -> tuple[list[Message], float]:
        if self.batch > 1:
            parts = [due[at : at + self.batch] for at in range(0, len(due), self.batch)]
            return [Message(tuple(part), "") for part in parts], NEVER
        grouping = self.table.group_by if isinstance(self.table, Grouped) else None
        if grouping is None:
            return self._singles(due, living), NEVER
        assert isinstance(self.table, Grouped)
        groups: dict[tuple[str, ...], list[Item]] = {}
        for item in due:
            groups.setdefault(tuple(_label(item.delivery, name) for name in grouping), []).append(item)
        messages, ready_at = [], NEVER
        for values, items in groups.items():
            ready = min(item.delivery.since for item in items) + self.table.group_wait
            if ready > now:
                ready_at = min(ready_at, ready)
                continue
            key = items[0].delivery.key if len(items) == 1 else _key_of(items)
            messages.append(Message(_sorted(items), key, group=dict(zip(grouping, values, strict=True))))
        return messages, ready_at

    def _singles(self, due: list[Item], living: dict[str, int]) -> list[Message]:
        """One message an incident. A summary that was begun before a crash stays together, and ends when all in it have."""
        messages, begun, ending = [], dict[str, list[Item]](), dict[str, list[Item]]()
        for item in due:
            key = item.delivery.key
            if key == item.incident.incident_id:
                messages.append(Message((item,), key))
            elif item.action is Action.CLOSE:
                ending.setdefault(key, []).append(item)
            elif item.delivery.sent is None:
                begun.setdefault(key, []).append(item)
            else:
                messages.append(Message((item,), key, summary=True))
        messages += [Message(_sorted(items), key, summary=True) for key, items in begun.items()]
        whole = {key: items for key, items in ending.items() if len(items) == living.get(key)}
        return messages + [Message(_sorted(items), key, summary=True) for key, items in whole.items()]

    def _limited(self, messages: list[Message], now: float) -> tuple[list[Message], float]:
        if self.bucket is None:
            return messages, NEVER
        free = [m for m in messages if self.stateful and all(i.action not in _LOUD for i in m.items)]
        counted = sorted((m for m in messages if m not in free), key=_urgency)
        tokens = self.bucket.tokens(now)
        if len(counted) > tokens:
            if tokens == 0:
                return free, self.bucket.next_at()
            head, tail = counted[: tokens - 1], counted[tokens - 1 :]
            loose = [item for message in tail if not self._bound(message) for item in message.items]
            counted = [*head, self._summary(loose) if loose else tail[0]]
        return free + [replace(message, costs=True) for message in counted], NEVER

    def _bound(self, message: Message) -> bool:
        """Whether a server that keeps incidents' lives may know it under its key already: it keeps that key."""
        return self.stateful and any(item.delivery.tried and item.delivery.sent is None for item in message.items)

    def _summary(self, items: list[Item]) -> Message:
        """Many incidents in one message, the last one that the rate limit lets through for now.

        A server that keeps their life gets one a partition, those of the most urgent partition first: partitions have
        owners, a summary ends when all in it have, and only one owner can know.
        """
        if self.stateful:
            first = _sorted(items)[0].delivery.partition
            items = [item for item in items if item.delivery.partition == first]
            fresh = [item for item in items if item.delivery.sent is None]
            items = fresh or items[:1]
        if len(items) == 1:
            return Message((items[0],), items[0].delivery.key)
        return Message(_sorted(items), _key_of(items), summary=True)


_SOFT = (Action.CLOSE, Action.ACKNOWLEDGE, Action.UPDATE, Action.CORRECT)
_LOUD = (Action.OPEN, Action.PASSED)


def _sorted(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda i: (-RANK[i.delivery.severity], i.delivery.since, i.delivery.offset)))


def _urgency(message: Message) -> tuple[int, int, float]:
    first = message.items[0].delivery
    opens = any(item.action is Action.OPEN for item in message.items)
    return -max(RANK[item.delivery.severity] for item in message.items), not opens, first.since


def _key_of(items: Iterable[Item]) -> str:
    return str(uuid.uuid5(NAMESPACE, "\n".join(sorted(item.incident.incident_id for item in items))))


def _label(delivery: Delivery, name: str) -> str:
    incident = delivery.incident
    if name in LABELS_OF_EVENT:
        return str(getattr(incident, name) or "")
    return incident.labels.get(name, "")

"""One incident at one sink: what is wanted (its newest revision), what the server was sent, and so what is to do."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from streamer.contracts import OVER, AnomalyEvent, Incident, Severity
from streamer.sinks.config import RANK

MAX_BACKOFF_S = 300.0


class Action(StrEnum):
    """What a message says of an incident."""

    OPEN = "open"
    UPDATE = "update"
    CLOSE = "close"
    PASSED = "passed"  # it began and ended before it could be told
    CORRECT = "correct"  # it had been closed, and is revised or retracted
    ACKNOWLEDGE = "acknowledge"


@dataclass(slots=True)
class Sent:
    """What the server knows."""

    revision: int
    severity: Severity
    open: bool
    acknowledged: bool = False
    memo: dict[str, Any] = field(default_factory=dict)  # the protocol's own (Alertmanager: labels)


@dataclass(slots=True)
class Delivery:
    """An incident's state at one sink. All but the last four fields survive a restart (Redis)."""

    event: AnomalyEvent  # the newest revision …
    raw: str  # … as it was read
    partition: int
    offset: int
    timestamp_ms: int  # the record's
    since: float  # wall clock when the oldest thing not told yet came
    key: str  # identity towards the server: the incident's id, or that of a summary it is in
    settled: int = -1  # newest revision of which nothing is left to tell
    sent: Sent | None = None
    tried: bool = False  # it may have been told: a crash can come between the server's answer and our note of it
    ended_at: float | None = None  # wall clock when it was settled for good
    retry_at: float = 0.0
    attempts: int = 0
    posted_at: float = 0.0
    acknowledged: bool = False  # a person has said that it is true

    @property
    def incident(self) -> Incident:
        """The newest revision's."""
        return self.event.data

    @property
    def closed(self) -> bool:
        """Whether the incident is over, as of the newest revision."""
        return over(self.incident)

    @property
    def pending(self) -> bool:
        """Whether there is a revision that nobody has dealt with."""
        return self.incident.revision > self.settled

    @property
    def live(self) -> bool:
        """Whether the server believes it open."""
        return self.sent is not None and self.sent.open

    @property
    def begun(self) -> bool:
        """Whether the server may believe it open."""
        return self.tried and self.pending if self.sent is None else self.sent.open

    @property
    def severity(self) -> Severity:
        """The worse of what is and what was told: it decides what passes in quiet hours."""
        now = self.incident.severity
        return now if self.sent is None or RANK[now] >= RANK[self.sent.severity] else self.sent.severity

    def action(self, every_update: bool, stateful: bool) -> Action | None:
        """What is to be told, None for nothing.

        Args:
            every_update: all updates are told, not only a higher severity and revisions by late data.
            stateful: the server keeps an incident's life itself; what has ended there cannot be corrected.
        """
        if not self.pending:
            wanted = self.acknowledged and self.live and self.sent is not None and not self.sent.acknowledged
            return Action.ACKNOWLEDGE if wanted else None
        state = self.incident.state
        if self.sent is None:
            if not self.closed:
                return Action.OPEN
            if state == "retracted":
                return Action.CLOSE if self.tried else None
            # A pager is told in two steps, so that a crash between them repeats neither.
            return Action.OPEN if stateful else Action.PASSED
        if self.sent.open:
            if self.closed:
                return Action.CLOSE
            changed = state == "revised" or self.incident.severity != self.sent.severity
            return Action.UPDATE if changed or every_update else None
        if not self.closed:
            return Action.OPEN
        return None if stateful else Action.CORRECT

    def failed(self, now: float) -> None:
        """Try again later: 2, 4, 8 … seconds, five minutes at most."""
        self.attempts += 1
        self.retry_at = now + min(2.0**self.attempts, MAX_BACKOFF_S)

    def settle(self, revision: int, now: float) -> None:
        """Nothing of revisions up to this one is left to tell."""
        self.settled = max(self.settled, revision)
        self.attempts, self.retry_at = 0, 0.0
        if not self.pending:
            self.since = now
            self.ended_at = now if self.closed and not self.live else None

    def dumps(self) -> bytes:
        """For Redis."""
        kept = {name: getattr(self, name) for name in _KEPT}
        return orjson.dumps({**kept, "sent": None if self.sent is None else asdict(self.sent)})

    @classmethod
    def loads(cls, raw: bytes) -> "Delivery":
        """From Redis."""
        kept = orjson.loads(raw)
        sent = kept.pop("sent" if "sent" in kept else "told")  # its name of before
        event = AnomalyEvent.model_validate_json(kept["raw"])
        return cls(event=event, sent=None if sent is None else Sent(**sent), **kept)


_KEPT = ("raw", "partition", "offset", "timestamp_ms", "since", "key", "settled", "tried", "ended_at")


def over(incident: Incident) -> bool:
    """Whether a revision says that the incident has ended (a revised one may be of either kind)."""
    return incident.state in OVER or (incident.state == "revised" and incident.ended_at is not None)

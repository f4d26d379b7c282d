"""Dead letters: the raw bytes untouched, and headers that say what was wrong and where it came from.

Headers of the record itself stand beside them, as `header.NAME`: `Letter` reads all of it back, and makes the record that
it was.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import AIOKafkaProducer, ConsumerRecord

from streamer.errors import ContractError, UnsendableError
from streamer.kafka.sending import Outgoing, send_patiently
from streamer.metrics import DEAD_LETTERS
from streamer.record_headers import HEADER_REHOMED, DeadLetterHeaders
from streamer.settings import CommonSettings

# A broker that once took the record under a larger limit than it has now still has to take this: half of Kafka's
# default of 1 MB.
CUT_BYTES = 500_000
_CUT = "(value truncated)"
OWN_HEADER = "header."  # before the names of the record's own headers
HEADER_RESENT = "resent-from"  # "partition/offset" of the dead letter that a record was
# The partition is part of what these say; of all others the key decides, by the topic as it is now.
_PARTITION_COUNTS = ("windows", "anomalies")


class DeadLetter(NamedTuple):
    """A record that cannot be processed: `reason` is a short class, `message` says what to do."""

    record: ConsumerRecord
    reason: str
    message: str

    def outgoing(self, settings: CommonSettings, cut: bool = False) -> Outgoing:
        """The record for `dead-letters`; `cut`: its value shortened to `CUT_BYTES`, which its message says."""
        record, value = self.record, self.record.value
        message = self.message
        if cut and value is not None and len(value) > CUT_BYTES:
            value, message = value[:CUT_BYTES], f"{message} {_CUT}"
        if value is None and record.key is None:
            value = b""  # aiokafka sends no record that has neither key nor value; other clients do
        headers = DeadLetterHeaders(
            topic=record.topic,
            partition=str(record.partition),
            offset=str(record.offset),
            timestamp=str(record.timestamp),
            error=self.reason,
            message=message,
        )
        named = [(name, text.encode()) for name, text in headers.model_dump().items()]
        named += [(OWN_HEADER + name, raw) for name, raw in record.headers or ()]
        return Outgoing(settings.topic("dead-letters"), value, record.key, headers=named)


@dataclass(frozen=True)
class Letter:
    """A dead letter as it was read back."""

    at: str  # partition/offset in `dead-letters`
    buried_ms: int
    facts: DeadLetterHeaders
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]  # of the record itself

    @classmethod
    def of(cls, record: ConsumerRecord) -> "Letter":
        """Raises ContractError: a record of `dead-letters` that is none."""
        own = [(name, raw) for name, raw in record.headers if name.startswith(OWN_HEADER)]
        given = {name: raw.decode(errors="replace") for name, raw in record.headers if not name.startswith(OWN_HEADER)}
        try:
            facts = DeadLetterHeaders.model_validate(
                {n: v for n, v in given.items() if n in DeadLetterHeaders.model_fields}
            )
            int(facts.partition), int(facts.offset), int(facts.timestamp)
        except ValueError:
            raise ContractError("contract", "no dead letter: its headers do not say where it comes from") from None
        headers = tuple((name.removeprefix(OWN_HEADER), raw or b"") for name, raw in own)
        at = f"{record.partition}/{record.offset}"
        return cls(at, record.timestamp, facts, record.key, record.value, headers)

    @property
    def cut(self) -> bool:
        """Whether a part of the value is lost: it was too large for the broker."""
        return self.facts.message.endswith(_CUT)

    @property
    def resent(self) -> bool:
        """Whether it has been sent again before, and has come back."""
        return any(name == HEADER_RESENT for name, _ in self.headers)

    def again(self, settings: CommonSettings, value: bytes | None) -> Outgoing:
        """The record as it was, with this value: its topic, key, headers and time stamp."""
        ours = (HEADER_RESENT, HEADER_REHOMED)  # it is looked at anew, also at where it belongs
        headers = [(name, raw) for name, raw in self.headers if name not in ours]
        fixed = self.facts.topic in {settings.topic(topic) for topic in _PARTITION_COUNTS}
        return Outgoing(
            self.facts.topic,
            value,
            self.key,
            int(self.facts.partition) if fixed else None,
            [*headers, (HEADER_RESENT, self.at.encode())],
            max(0, int(self.facts.timestamp)),
        )


Sending = Callable[[CommonSettings, AIOKafkaProducer, Sequence[Outgoing]], Awaitable[None]]


async def bury(
    settings: CommonSettings,
    producer: AIOKafkaProducer,
    letters: Sequence[DeadLetter],
    sending: Sending = send_patiently,
) -> None:
    """Write dead letters, as patiently as `sending` is; one too large for the broker is cut.

    Raises RefusedError, and what else `sending` raises.
    """
    await _bury(settings, producer, letters, sending)
    for letter in letters:
        DEAD_LETTERS.labels(letter.record.topic, letter.reason).inc()


async def _bury(
    settings: CommonSettings, producer: AIOKafkaProducer, letters: Sequence[DeadLetter], sending: Sending
) -> None:
    try:
        await sending(settings, producer, [letter.outgoing(settings) for letter in letters])
    except UnsendableError:
        # One by one: those that fit stay untouched. Some are written twice now, which loses nothing.
        for letter in letters:
            try:
                await sending(settings, producer, [letter.outgoing(settings)])
            except UnsendableError:
                await sending(settings, producer, [letter.outgoing(settings, cut=True)])

"""Dead letters: the raw bytes untouched, and headers that say what was wrong and where it came from."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer, ConsumerRecord

from streamer.contracts import DeadLetterHeaders
from streamer.errors import UnsendableError
from streamer.kafka.sending import Outgoing, send_patiently
from streamer.metrics import DEAD_LETTERS
from streamer.settings import CommonSettings

# A broker that once took the record under a larger limit than it has now still has to take this: half of Kafka's
# default of 1 MB.
CUT_BYTES = 500_000


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
            value, message = value[:CUT_BYTES], f"{message} (value truncated)"
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
        return Outgoing(settings.topic("dead-letters"), value, record.key, headers=named)


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

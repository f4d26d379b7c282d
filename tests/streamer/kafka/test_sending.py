"""What a broker will never take ends in an error that says so; all other errors are waited out."""

import asyncio

import pytest
from aiokafka import errors as kafka

from streamer.errors import RefusedError, UnsendableError
from streamer.kafka.client import fetch
from streamer.kafka.sending import Outgoing, send_patiently
from streamer.settings import CommonSettings
from streamer.sources.announcing import Announcer
from streamer.sources.points import Series


class Broker:
    """Fails with each of the errors once, then takes and gives."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.taken: list[str] = []
        self._client = self
        self.cluster = self
        self.unauthorized_topics: set[str] = set()

    async def send(self, topic: str, **record: object) -> "asyncio.Future[None]":
        """As a producer."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.errors:
            done.set_exception(self.errors.pop(0))
        else:
            self.taken.append(topic)
            done.set_result(None)
        return done

    async def getmany(self, **how: object) -> dict[object, list[object]]:
        """As a consumer."""
        if self.errors:
            raise self.errors.pop(0)
        return {"partition": ["record"]}

    def assignment(self) -> set[object]:
        """As a consumer."""
        return set()


@pytest.mark.parametrize(
    "error", [kafka.InvalidTimestampError(), kafka.PolicyViolationError(), kafka.MessageSizeTooLargeError()]
)
async def test_what_the_broker_never_takes_is_not_tried_again(error: kafka.KafkaError) -> None:
    broker = Broker(error)
    with pytest.raises(UnsendableError, match="metrics"):
        await send_patiently(CommonSettings(), broker, [Outgoing("metrics", b"x")])
    assert broker.taken == []


@pytest.mark.parametrize("error", [kafka.NotLeaderForPartitionError(), kafka.UnknownError(), OSError("reset")])
async def test_what_may_pass_is_tried_again(error: Exception) -> None:
    broker = Broker(error)
    await send_patiently(CommonSettings(), broker, [Outgoing("metrics", b"x")])
    assert broker.taken == ["metrics"]


async def test_reading_that_fails_is_waited_out_and_a_refusal_is_not() -> None:
    broker = Broker(kafka.UnknownError(), kafka.CorruptRecordException())
    assert await fetch(CommonSettings(), broker) == {"partition": ["record"]}
    with pytest.raises(RefusedError, match="kafka-acls"):
        await fetch(CommonSettings(), Broker(kafka.TopicAuthorizationFailedError("metrics")))


def test_labels_of_a_source_always_fit_into_settings() -> None:
    labels = {f"{k}" * 200: "v" * 5000 for k in range(100)}
    [(_, made)] = Announcer({}).new([Series("s", "m", labels)])
    assert len(made.labels) <= 64

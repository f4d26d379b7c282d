"""A dead letter can always be sent."""

import pytest
from aiokafka import ConsumerRecord

from streamer.kafka.dead_letters import DeadLetter
from streamer.settings import CommonSettings


@pytest.mark.parametrize(
    ("key", "value", "sent"), [(None, None, b""), (b"k", None, None), (None, b"x", b"x"), (b"k", b"x", b"x")]
)
def test_a_record_with_neither_key_nor_value_gets_an_empty_one(
    key: bytes | None, value: bytes | None, sent: bytes | None
) -> None:
    record = ConsumerRecord("metrics", 0, 7, 0, 0, key, value, None, 0, 0, ())
    outgoing = DeadLetter(record, "empty", "the record has no value").outgoing(CommonSettings())
    assert (outgoing.key, outgoing.value) == (key, sent)

"""A dead letter can always be sent."""

import pytest
from aiokafka import ConsumerRecord

from streamer.errors import ContractError
from streamer.kafka.dead_letters import CUT_BYTES, DeadLetter, Letter
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


def test_what_was_buried_can_be_made_again_as_it_was() -> None:
    settings = CommonSettings(topic_prefix="p.")
    headers = (("mode", b"history"), ("topic", b"theirs"), ("rehomed-from", b"1/2"))
    record = ConsumerRecord("p.metrics", 3, 7, 1234, 0, b"k", b"x", None, 0, 0, headers)
    buried = DeadLetter(record, "json", "not JSON").outgoing(settings)
    read = ConsumerRecord("p.dead-letters", 0, 9, 5000, 0, buried.key, buried.value, None, 0, 0, tuple(buried.headers))
    letter = Letter.of(read)
    assert (letter.at, letter.facts.offset, letter.cut, letter.resent) == ("0/9", "7", False, False)
    again = letter.again(settings, b"mended")
    assert (again.topic, again.key, again.value, again.partition) == ("p.metrics", b"k", b"mended", None)
    assert again.timestamp_ms == 1234
    assert dict(again.headers) == {"mode": b"history", "topic": b"theirs", "resent-from": b"0/9"}


def test_a_cut_value_says_so_and_a_stranger_is_no_letter() -> None:
    settings = CommonSettings()
    record = ConsumerRecord("metrics", 0, 7, 1234, 0, None, b"x" * (CUT_BYTES + 1), None, 0, 0, ())
    cut = DeadLetter(record, "json", "not JSON").outgoing(settings, cut=True)
    read = ConsumerRecord("dead-letters", 0, 9, 0, 0, None, cut.value, None, 0, 0, tuple(cut.headers))
    assert Letter.of(read).cut
    for headers in ((), (("topic", b"metrics"),), (*cut.headers[:1], ("partition", b"x"), *cut.headers[2:])):
        with pytest.raises(ContractError, match="no dead letter"):
            Letter.of(ConsumerRecord("dead-letters", 0, 9, 0, 0, None, b"", None, 0, 0, tuple(headers)))

"""Messages as they are stored: what an earlier version stored is read, and without traces nothing is stored otherwise."""

import orjson

from detector.live.outbox import Message


def test_a_message_without_headers_is_stored_as_before() -> None:
    message = Message("anomalies", 2, "s", "{}")
    assert message.stored() == ["anomalies", 2, "s", "{}"]
    assert Message.read(*orjson.loads(orjson.dumps(message.stored()))) == message
    assert message.outgoing().headers == []


def test_headers_come_back_as_they_were() -> None:
    message = Message("models", None, "s", None, (("traceparent", "00-1-2-01"),))
    again = Message.read(*orjson.loads(orjson.dumps(message.stored())))
    assert again == message
    assert again.outgoing().headers == [("traceparent", b"00-1-2-01")]
    assert again.outgoing().value is None

"""Messages that the broker will never take are told and dead-lettered; what they stood beside is sent."""

import pytest

from detector.live.outbox import Message, Outbox
from streamer.kafka.client import MAX_MESSAGE_BYTES, header
from streamer.settings import CommonSettings
from testkit.serving import producing, read_all

pytestmark = pytest.mark.kafka


async def test_an_event_too_large_to_be_sent_ends_no_owner_of_its_partition(settings: CommonSettings) -> None:
    topic = settings.topic("anomalies")
    outbox = Outbox()
    for value in ("first", "x" * (MAX_MESSAGE_BYTES + 1), "last"):
        outbox.append(0, Message(topic, 0, "a", value))
    async with producing(settings) as producer:
        await outbox.send(settings, producer)
    sent = [record.value for record in await read_all(settings, "anomalies")]
    assert list(dict.fromkeys(sent)) == [b"first", b"last"]
    [dead] = await read_all(settings, "dead-letters")
    assert (header(dead, "topic"), header(dead, "error")) == (topic, "unsendable")
    assert "truncated" in str(header(dead, "message"))
    assert dead.key == b"a"

"""What was refused is listed, explained, mended and sent again, as the record that it was."""

import asyncio

import orjson
import pytest

from streamer.kafka.client import make_producer
from streamer.settings import CommonSettings
from testkit.processes import run_command
from testkit.serving import NOW_MS, read_all, running, until

pytestmark = pytest.mark.kafka
BAD = b'{"stream": "a", "ts": %d, "value": "7 bar"}'


async def _buried(settings: CommonSettings, *values: bytes) -> None:
    """Streams' points that a streamer refuses, and one record of a table that it refuses, too."""
    producer = await make_producer(settings)
    for value in values:
        await producer.send_and_wait(
            settings.topic("metrics"), value, key=b"a", headers=[("mode", b"history")], timestamp_ms=NOW_MS
        )
    await producer.send_and_wait(settings.topic("streams"), b"{", key=b"b")
    await producer.stop()

    async def there() -> bool:
        return len(await read_all(settings, "dead-letters")) == len(values) + 1

    await until(there)


async def test_letters_are_explained_mended_and_sent_again(settings: CommonSettings) -> None:
    async with running(settings):
        await _buried(settings, BAD % NOW_MS, b"\xff")
        listed, explained, unsaid, kept = await asyncio.gather(
            run_command(settings, "dead-letters", "list"),
            run_command(settings, "dead-letters", "explain"),
            run_command(settings, "dead-letters", "resend"),
            run_command(settings, "dead-letters", "resend", "--since", "1h", "--through", "sed 's/\"7 bar\"/7/'"),
        )
        assert listed[0] == 0, listed[2]
        assert f"{settings.topic('metrics')} " in listed[1]
        assert "to mend it: " in explained[1]
        assert f"1 of {settings.topic('streams')}" in explained[1]
        assert (unsaid[0], "say which" in unsaid[2]) == (1, True)
        # The record of a table is not sent unnamed; the bytes that nobody mended come back as a letter.
        assert (kept[0], "2 sent again, 1 not" in kept[1]) == (0, True), kept
        assert f"say --topic {settings.topic('streams')}" in kept[2]

        async def again() -> bool:
            return len(await read_all(settings, "dead-letters")) == 4

        await until(again)
    sent = (await read_all(settings, "metrics"))[2:]
    mended = next(record for record in sent if record.value != b"\xff")
    assert orjson.loads(mended.value) == {"stream": "a", "ts": NOW_MS, "value": 7}
    assert (mended.key, mended.timestamp) == (b"a", NOW_MS)
    assert dict(mended.headers)["mode"] == b"history"
    code, out, _ = await run_command(settings, "dead-letters", "list", "--limit", "1")
    assert (code, "(again)" in out) == (0, True)

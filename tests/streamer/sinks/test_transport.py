"""What all transports share: Retry-After, waiting, and secrets that stay secret."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr
from tenacity import RetryCallState, Retrying

from streamer.sinks.errors import SinkAwayError, SinkLockedOutError
from streamer.sinks.transport import Http, retry_after
from streamer.sinks.worker import wait_for_server
from tests.streamer.sinks.servers import FakeServer, serving

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("17", 17.0),
        (" 0 ", 0.0),
        ("999999", 3_600.0),
        ("Sat, 31 Jan 2026 12:01:30 GMT", 90.0),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


def state(error: Exception, attempt: int = 1) -> RetryCallState:
    made = RetryCallState(Retrying(), None, (), {})
    made.attempt_number = attempt
    made.set_exception((type(error), error, None))
    return made


def test_what_the_server_asks_for_is_waited() -> None:
    assert wait_for_server(state(SinkAwayError("x", 17.0), 9)) == 17.0


@pytest.mark.parametrize("error", [SinkAwayError("x"), SinkLockedOutError("x")])
def test_else_the_wait_grows_to_a_minute(error: Exception) -> None:
    waits = [wait_for_server(state(error, attempt)) for attempt in (1, 3, 20)]
    assert 1.0 <= waits[0] <= 2.0 < 4.0 <= waits[1] <= 5.0
    assert waits[2] == 60.0


async def test_secrets_in_answers_and_addresses_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with serving(FakeServer(down=503)) as server:
        url = server.url + "/away/sesame"  # the body that comes back is "away"
        http = Http(5.0, [SecretStr("sesame"), SecretStr("away")])
        with pytest.raises(SinkAwayError) as caught:
            await http.post(url, json={})
        await http.aclose()
    assert str(caught.value) == "HTTP 503 ***"
    assert "sesame" not in caplog.text


async def test_a_server_that_takes_too_long_is_away() -> None:
    gone = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        await reader.read()  # until the client has had enough
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    http = Http(0.2)
    with pytest.raises(SinkAwayError, match=r"no answer within 0\.2 s"):
        await http.post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", json={})
    await http.aclose()
    await gone.wait()
    server.close()
    await server.wait_closed()

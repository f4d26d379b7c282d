"""Slack: bodies by its schema; what users wrote is not read as markup."""

from collections.abc import AsyncIterator

import pytest

from streamer.sinks.config import SlackTable
from streamer.sinks.deliveries import Action
from streamer.sinks.errors import SinkAwayError, SinkLockedOutError
from streamer.sinks.slack import Slack
from tests.streamer.sinks.samples import delivery, event, message, sent
from tests.streamer.sinks.servers import SlackServer, serving


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with serving(SlackServer()) as running:
        yield running


@pytest.fixture
async def sink(server: SlackServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Slack]:
    monkeypatch.setenv("SLACK_URL", server.url + "/services/T0/B0/sesame")
    table = SlackTable.model_validate({"type": "slack", "url": {"env": "SLACK_URL"}})
    made = Slack(table, "https://dash.example/{stream}")
    yield made
    await made.aclose()


def text_of(server: SlackServer) -> str:
    return str(server.requests[-1].json["blocks"][0]["text"]["text"])


async def test_one_incident(server: SlackServer, sink: Slack) -> None:
    assert (await sink.send(message(delivery(event(stream="a<b>"))))).text == "HTTP 200 ok"
    assert server.requests[0].path == "/services/T0/B0/sesame"
    text = text_of(server)
    assert text.startswith(":large_orange_circle: *[warning] a&lt;b&gt;: anomaly*")
    assert "far above &lt;what&gt; it was &amp; stays there" in text
    assert "<https://dash.example/a%3Cb%3E|open>" in text
    ended = delivery(event(revision=1, state="resolved"), sent=sent())
    await sink.send(message(ended, action=Action.CLOSE))
    assert text_of(server).startswith(":large_green_circle: *resolved: [warning] web.cpu")
    assert server.errors == []


async def test_a_group_and_a_flood(server: SlackServer, sink: Slack) -> None:
    many = [delivery(event(f"i-{n}", stream=f"{n:03}" * 80, reason="r" * 500)) for n in range(40)]
    await sink.send(message(*many, group={"team": "web"}, summary=True))
    assert server.errors == []
    assert server.requests[0].json["text"] == "40 incidents: 40 warning · team=web"


async def test_retracted_is_said(server: SlackServer, sink: Slack) -> None:
    await sink.send(message(delivery(event(revision=1, state="retracted"), sent=sent()), action=Action.CLOSE))
    assert "*retracted: [warning] web.cpu: anomaly*" in text_of(server)


async def test_slack_asks_for_patience(server: SlackServer, sink: Slack) -> None:
    server.script.append((429, {"Retry-After": "30"}))
    with pytest.raises(SinkAwayError) as caught:
        await sink.send(message(delivery()))
    assert caught.value.retry_after == 30.0


async def test_an_archived_channel_locks_the_sink_out(server: SlackServer, sink: Slack) -> None:
    server.script.append((410, {}))
    with pytest.raises(SinkLockedOutError) as caught:
        await sink.send(message(delivery()))
    assert "sesame" not in str(caught.value)

"""PagerDuty: bodies by its schema; trigger, acknowledge, resolve on one dedup_key."""

from collections.abc import AsyncIterator

import pytest

from streamer.sinks.config import PagerDutyTable
from streamer.sinks.deliveries import Action
from streamer.sinks.errors import MessageFailedError, MessageRefusedError, SinkAwayError, SinkLockedOutError
from streamer.sinks.pagerduty import PagerDuty
from tests.streamer.sinks.samples import KEY, delivery, event, message, sent
from tests.streamer.sinks.servers import PagerDutyServer, serving


@pytest.fixture
async def server() -> AsyncIterator[PagerDutyServer]:
    async with serving(PagerDutyServer()) as running:
        yield running


def sink_of(url: str, monkeypatch: pytest.MonkeyPatch, key: str = KEY) -> PagerDuty:
    monkeypatch.setenv("PD_KEY", key)
    table = {"type": "pagerduty", "routing_key": {"env": "PD_KEY"}, "url": url + "/v2/enqueue"}
    return PagerDuty(PagerDutyTable.model_validate(table), "https://dash.example/?s={stream}&i={incident_id}")


@pytest.fixture
async def sink(server: PagerDutyServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PagerDuty]:
    made = sink_of(server.url, monkeypatch)
    yield made
    await made.aclose()


async def test_an_incidents_life(server: PagerDutyServer, sink: PagerDuty) -> None:
    assert "Event processed" in (await sink.send(message(delivery(event(tenant="t", labels={"team": "web"}))))).text
    assert server.states == {"i-1": "triggered"}
    trigger = server.triggers["i-1"]
    assert trigger["payload"]["severity"] == "warning"
    assert trigger["payload"]["summary"] == "[warning] web.cpu: anomaly"
    assert trigger["payload"]["source"] == "web.cpu"
    assert trigger["payload"]["custom_details"]["labels"] == {"team": "web"}
    assert trigger["client_url"] == "https://dash.example/?s=web.cpu&i=i-1"
    await sink.send(message(delivery(sent=sent()), action=Action.ACKNOWLEDGE))
    assert server.states == {"i-1": "acknowledged"}
    await sink.send(message(delivery(event(revision=1, state="resolved"), sent=sent()), action=Action.CLOSE))
    assert server.states == {"i-1": "resolved"}
    assert server.errors == []


async def test_a_summary_has_the_worst_severity_and_names_its_incidents(
    server: PagerDutyServer, sink: PagerDuty
) -> None:
    many = [delivery(event(f"i-{n}", stream=f"s{n}", severity="critical" if n == 3 else "info")) for n in range(30)]
    await sink.send(message(*many, key="all", summary=True))
    payload = server.triggers["all"]["payload"]
    assert payload["severity"] == "critical"
    assert payload["summary"] == "30 incidents: 1 critical, 29 info"
    assert "and 10 more" in payload["custom_details"]["text"]


async def test_long_names_are_cut(server: PagerDutyServer, sink: PagerDuty) -> None:
    await sink.send(message(delivery(event(stream="s" * 256, reason="r" * 20_000))))
    assert server.errors == []


async def test_a_wrong_key_is_refused_and_never_shown(server: PagerDutyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    short = sink_of(server.url, monkeypatch, "sesame-open")
    with pytest.raises(MessageRefusedError) as caught:
        await short.send(message(delivery()))
    await short.aclose()
    assert "'***' is too short" in str(caught.value)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, SinkAwayError),
        (503, SinkAwayError),
        (500, MessageFailedError),
        (408, MessageFailedError),
        (400, MessageRefusedError),
        (413, MessageRefusedError),
        (403, SinkLockedOutError),
        (404, SinkLockedOutError),
        (302, SinkLockedOutError),
    ],
)
async def test_answers(server: PagerDutyServer, sink: PagerDuty, status: int, error: type[Exception]) -> None:
    server.script.append((status, {"Retry-After": "17", "Location": "/elsewhere"}))
    with pytest.raises(error) as caught:
        await sink.send(message(delivery()))
    assert f"HTTP {status} scripted" in str(caught.value)
    if isinstance(caught.value, SinkAwayError):
        assert caught.value.retry_after == 17.0
    assert len(server.requests) == 1


async def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = sink_of("http://127.0.0.1:1", monkeypatch)
    with pytest.raises(SinkAwayError, match="no answer: ConnectError"):
        await sink.send(message(delivery()))
    await sink.aclose()

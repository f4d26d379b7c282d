"""Opsgenie: bodies by its schema; create by alias, notes and priority on the way, acknowledge, close."""

from collections.abc import AsyncIterator

import pytest

from streamer.sinks.config import OpsgenieTable
from streamer.sinks.deliveries import Action
from streamer.sinks.errors import SinkLockedOutError
from streamer.sinks.opsgenie import Opsgenie
from tests.streamer.sinks.samples import delivery, event, message, sent
from tests.streamer.sinks.servers import OpsgenieServer, serving


@pytest.fixture
async def server() -> AsyncIterator[OpsgenieServer]:
    async with serving(OpsgenieServer()) as running:
        yield running


def sink_of(url: str, monkeypatch: pytest.MonkeyPatch, key: str = "k" * 36) -> Opsgenie:
    monkeypatch.setenv("GENIE", key)
    table = {
        "type": "opsgenie",
        "api_key": {"env": "GENIE"},
        "url": url,
        "priorities": {"warning": "P2"},
        "responders": [{"type": "team", "name": "ops"}],
        "tags": ["anomalyllm"],
    }
    return Opsgenie(OpsgenieTable.model_validate(table), "https://dash.example/{stream}")


@pytest.fixture
async def sink(server: OpsgenieServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Opsgenie]:
    made = sink_of(server.url, monkeypatch)
    yield made
    await made.aclose()


async def test_an_incidents_life(server: OpsgenieServer, sink: Opsgenie) -> None:
    await sink.send(message(delivery(event(labels={"team": "web"}))))
    alert = server.alerts["i-1"]
    assert (alert["status"], alert["priority"], alert["entity"]) == ("open", "P2", "web.cpu")
    assert alert["tags"] == ["anomalyllm", "team:web"]
    assert alert["details"]["link"] == "https://dash.example/web.cpu"
    assert alert["responders"] == [{"type": "team", "name": "ops"}]
    worse = delivery(event(revision=1, state="update", severity="critical"), sent=sent())
    await sink.send(message(worse, action=Action.UPDATE))
    assert alert["priority"] == "P1"
    assert "now [critical] web.cpu" in alert["notes"][0]
    await sink.send(message(delivery(sent=sent()), action=Action.ACKNOWLEDGE))
    assert alert["acknowledged"] is True
    await sink.send(message(delivery(event(revision=2, state="resolved"), sent=sent()), action=Action.CLOSE))
    assert alert["status"] == "closed"
    assert server.errors == []


async def test_everything_is_cut_to_the_limits(server: OpsgenieServer, sink: Opsgenie) -> None:
    labels = {f"label{n}": "x" * 900 for n in range(30)}
    await sink.send(message(delivery(event(stream="s" * 256, labels=labels, reason="r" * 40_000))))
    assert server.errors == []
    details = server.alerts["i-1"]["details"]
    assert sum(len(name) + len(value) for name, value in details.items()) <= 8_000


async def test_a_wrong_key_is_no_fault_of_the_message(server: OpsgenieServer, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = sink_of(server.url, monkeypatch, "sesame")
    with pytest.raises(SinkLockedOutError, match="HTTP 401"):
        await wrong.send(message(delivery()))
    await wrong.aclose()

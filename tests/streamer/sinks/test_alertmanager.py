"""Alertmanager: bodies by its schema; an alert lives by posts, moves with its labels, ends by endsAt."""

from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from streamer.sinks.alertmanager import Alertmanager, labels_of
from streamer.sinks.config import AlertmanagerTable
from streamer.sinks.deliveries import Action
from streamer.sinks.errors import MessageRefusedError
from tests.streamer.sinks.samples import delivery, event, message, sent
from tests.streamer.sinks.servers import AlertmanagerServer, serving


@pytest.fixture
async def server() -> AsyncIterator[AlertmanagerServer]:
    async with serving(AlertmanagerServer()) as running:
        yield running


@pytest.fixture
async def sink(server: AlertmanagerServer) -> AsyncIterator[Alertmanager]:
    table = AlertmanagerTable.model_validate(
        {"type": "alertmanager", "url": server.url + "/", "resolve_timeout": "6m", "headers": {"X-Scope-OrgID": "t1"}}
    )
    made = Alertmanager(table, "https://dash.example/{stream}")
    yield made
    await made.aclose()


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def test_an_open_incident_ends_by_itself_unless_it_is_posted_again(
    server: AlertmanagerServer, sink: Alertmanager
) -> None:
    labels = {"team": "web", "a-b": "x", "severity": "mine", "9": "nine", "none": ""}
    answer = await sink.send(message(delivery(event(labels=labels, tenant="t"))))
    assert server.errors == []
    assert answer.text == "HTTP 200"
    [alert] = server.alerts.values()
    assert alert["labels"] == {
        "alertname": "AnomalyLLMAnomaly",
        "severity": "warning",
        "stream": "web.cpu",
        "kind": "anomaly",
        "incident_id": "i-1",
        "tenant": "t",
        "team": "web",
        "a_b": "x",
        "label_severity": "mine",
        "label_9": "nine",
    }
    assert alert["startsAt"] == "2026-01-31T12:00:00.000Z"
    assert alert["generatorURL"] == "https://dash.example/web.cpu"
    assert alert["annotations"]["description"].startswith("value is far above")
    assert server.requests[0].headers["x-scope-orgid"] == "t1"
    assert sink.repost_s == 120.0


async def test_a_post_moves_the_end_on_and_a_resolved_one_has_passed(
    server: AlertmanagerServer, sink: Alertmanager
) -> None:
    await sink.send(message(delivery()))
    [alert] = server.alerts.values()
    first = instant(alert["endsAt"])
    await sink.send(message(delivery(sent=sent(memo={"labels": labels_of(event().data)})), action=Action.UPDATE))
    [alert] = server.alerts.values()
    assert instant(alert["endsAt"]) >= first
    await sink.send(message(delivery(event(revision=1, state="resolved"), sent=sent()), action=Action.CLOSE))
    [alert] = server.alerts.values()
    assert instant(alert["startsAt"]) < instant(alert["endsAt"]) < first


async def test_a_new_severity_is_another_alert_and_the_old_one_ends(
    server: AlertmanagerServer, sink: Alertmanager
) -> None:
    answer = await sink.send(message(delivery()))
    before = sent(memo=answer.memos["i-1"])
    worse = delivery(event(revision=1, state="update", severity="critical"), sent=before)
    await sink.send(message(worse, action=Action.UPDATE))
    ends = {alert["labels"]["severity"]: instant(alert["endsAt"]) for alert in server.alerts.values()}
    assert ends["warning"] < ends["critical"]


async def test_many_incidents_are_one_request(server: AlertmanagerServer, sink: Alertmanager) -> None:
    await sink.send(message(*(delivery(event(f"i-{n}", stream=f"s{n}", kind="no_data")) for n in range(300))))
    assert len(server.requests) == 1
    assert {alert["labels"]["alertname"] for alert in server.alerts.values()} == {"AnomalyLLMNoData"}
    assert len(server.alerts) == 300


async def test_a_clock_ahead_of_ours_makes_no_end_before_the_start(
    server: AlertmanagerServer, sink: Alertmanager
) -> None:
    ahead = event(revision=1, state="resolved", started_at="2199-01-01T00:00:00Z", ended_at="2199-01-01T00:00:01Z")
    await sink.send(message(delivery(ahead), action=Action.PASSED))
    assert len(server.alerts) == 1


async def test_what_alertmanager_refuses_is_refused(server: AlertmanagerServer, sink: Alertmanager) -> None:
    server.script.append((400, {}))
    with pytest.raises(MessageRefusedError, match="HTTP 400 scripted"):
        await sink.send(message(delivery()))

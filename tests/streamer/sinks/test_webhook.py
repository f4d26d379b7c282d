"""Webhook: CloudEvents or a template, signed as Standard Webhooks says (checked with that project's library)."""

import base64
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook as Verifier

from streamer.errors import ConfigError
from streamer.sinks.config import WebhookTable
from streamer.sinks.deliveries import Action
from streamer.sinks.errors import MessageRefusedError
from streamer.sinks.webhook import Webhook, key_of
from tests.streamer.sinks.samples import delivery, event, message
from tests.streamer.sinks.servers import FakeServer, serving

Make = Callable[..., Webhook]


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with serving(FakeServer()) as running:
        yield running


@pytest.fixture
async def sink(server: FakeServer) -> AsyncIterator[Make]:
    made: list[Webhook] = []

    def make(**fields: Any) -> Webhook:
        table = WebhookTable.model_validate({"type": "webhook", "url": server.url + "/hook", **fields})
        made.append(Webhook(table, "https://dash.example/{stream}"))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


async def test_the_event_as_it_was_read(server: FakeServer, sink: Make) -> None:
    await sink().send(message(delivery()))
    got = server.requests[0]
    assert got.headers["content-type"] == "application/cloudevents+json"
    assert got.json == orjson.loads(event().model_dump_json())
    parsed = from_http_event(HTTPMessage(headers=got.headers, body=got.body))
    assert (parsed.get_id(), parsed.get_subject(), parsed.get_type()) == (
        "i-1:0",
        "web.cpu",
        "anomalyllm.incident.open",
    )


async def test_a_group_is_a_batch(server: FakeServer, sink: Make) -> None:
    await sink(group_by=["team"]).send(message(delivery()))
    got = server.requests[0]
    assert got.headers["content-type"] == "application/cloudevents-batch+json"
    assert [one["id"] for one in got.json] == ["i-1:0"]


async def test_the_signature_is_a_standard_webhooks_one(
    server: FakeServer, sink: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
    monkeypatch.setenv("HOOK_SECRET", secret)
    await sink(secret={"env": "HOOK_SECRET"}).send(message(delivery()))
    got = server.requests[0]
    assert Verifier(secret).verify(got.body.decode(), got.headers) == got.json
    stamp = datetime.fromtimestamp(int(got.headers["webhook-timestamp"]), UTC)
    assert (
        Verifier(secret).sign(got.headers["webhook-id"], stamp, got.body.decode() + " ")
        != got.headers["webhook-signature"]
    )


async def test_a_revision_that_comes_while_it_is_sent_does_not_change_it(server: FakeServer, sink: Make) -> None:
    made = delivery()
    planned = message(made)
    made.event = event(revision=1, state="resolved")
    made.raw = made.event.model_dump_json()
    await sink().send(planned)
    got = server.requests[0]
    assert (got.headers["webhook-id"], got.json["id"]) == ("i-1:0:open", "i-1:0")


async def test_the_same_message_has_the_same_id(server: FakeServer, sink: Make) -> None:
    hook = sink()
    await hook.send(message(delivery(since=1.0)))
    await hook.send(message(delivery(since=2.0)))
    await hook.send(message(delivery(event(revision=1, state="resolved")), action=Action.CLOSE))
    ids = [got.headers["webhook-id"] for got in server.requests]
    assert ids[0] == ids[1] != ids[2]


async def test_a_template(server: FakeServer, sink: Make, tmp_path: Path) -> None:
    file = tmp_path / "body.j2"
    file.write_text(
        '{"text": {{ title | tojson }}, "why": {{ incident.reason | tojson }}, "team": {{ incident.labels.team | tojson }},'
        ' "all": [{% for i in incidents %}{{ i.stream | tojson }}{{ "," if not loop.last }}{% endfor %}],'
        ' "url": {{ incident.link | tojson }}, "do": {{ incident.action | tojson }}}'
    )
    hook = sink(template_file=str(file), headers={"X-Token": "t"})
    await hook.send(message(delivery(event(labels={"team": 'a"b'})), delivery(event("i-2", stream="b"))))
    got = server.requests[0]
    assert got.json == {
        "text": "2 incidents: 2 warning",
        "why": "value is far above <what> it was & stays there",
        "team": 'a"b',
        "all": ["web.cpu", "b"],
        "url": "https://dash.example/web.cpu",
        "do": "open",
    }
    assert got.headers["x-token"] == "t"
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ incident.labels.team }}", "the template failed: UndefinedError"),
        ('{"a": "{{ incident.reason }}" ]', "the template made no JSON"),
        ("{{ incidents.clear() }}", "the template failed: SecurityError"),
        ("{{ 1 / 0 }}", "the template failed: ZeroDivisionError"),
    ],
)
async def test_a_template_that_fails_is_a_refusal(server: FakeServer, sink: Make, template: str, why: str) -> None:
    with pytest.raises(MessageRefusedError, match=why):
        await sink(template=template).send(message(delivery()))
    assert server.requests == []


async def test_bad_templates_and_secrets_are_said_at_the_start(
    sink: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="not Jinja2"):
        sink(template="{{ open")
    with pytest.raises(ConfigError, match="cannot read the template"):
        sink(template_file=str(tmp_path / "none"))
    monkeypatch.setenv("HOOK_SECRET", "whsec_!!!")
    table = {"type": "webhook", "url": "http://127.0.0.1:1", "secret": {"env": "HOOK_SECRET"}}
    secret = WebhookTable.model_validate(table).secret
    assert secret is not None
    with pytest.raises(ConfigError, match="no base64 follows"):
        key_of(secret)

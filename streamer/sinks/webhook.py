"""Any HTTP server: the CloudEvent as it was read, or what a Jinja2 template makes of the incidents.

With a secret every request is signed as Standard Webhooks 1.0.0 says: HMAC-SHA256 over `id.timestamp.body`.
"""

import base64
import binascii
import hashlib
import hmac
import time
from typing import Any

import orjson
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import SecretStr

from streamer.errors import ConfigError
from streamer.sinks.config import WebhookTable
from streamer.sinks.errors import MessageRefusedError
from streamer.sinks.planning import Message
from streamer.sinks.transport import Answer, Http, Transport, plain
from streamer.sinks.wording import lines, link_of, title

ONE, MANY = "application/cloudevents+json", "application/cloudevents-batch+json"


class Webhook(Transport):
    """One request a message; `webhook-id` is the same whenever the same message is sent."""

    def __init__(self, table: WebhookTable, link: str | None) -> None:
        self._table = table
        self._link = link
        self._http = Http(table.timeout, [table.url, *table.headers.values()])
        self._template = self._compiled(table)

    @staticmethod
    def _compiled(table: WebhookTable) -> Any:
        source = table.template
        try:
            if table.template_file is not None:
                source = table.template_file.read_text()
            if source is None:
                return None
            return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False).from_string(source)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the template {table.template_file}: {error}") from error
        except TemplateError as error:
            raise ConfigError(f"the webhook's template is not Jinja2: {error}") from error

    async def send(self, message: Message) -> Answer:
        """Post it. What the template cannot say of these incidents is refused."""
        body, kind = self._body(message)
        headers = {"Content-Type": kind, **plain(self._table.headers), "webhook-id": message.id}
        if self._table.secret is not None:
            headers |= signed(self._table.secret, message.id, int(time.time()), body)
        return Answer(await self._http.post(self._table.url.get_secret_value(), content=body, headers=headers))

    def _body(self, message: Message) -> tuple[bytes, str]:
        events = [orjson.loads(item.raw) for item in message.items]
        if self._template is None:
            if self._table.group_by is None and len(events) == 1:
                return orjson.dumps(events[0]), ONE
            return orjson.dumps(events), MANY
        incidents = [
            {
                **item.incident.model_dump(mode="json"),
                "action": str(item.action),
                "link": link_of(self._link, item.incident),
            }
            for item in message.items
        ]
        facts = {
            "incident": incidents[0],
            "incidents": incidents,
            "title": title(message),
            "text": "\n".join(lines(message, self._link)),
            "group": message.group,
            "message_id": message.id,
        }
        try:
            body = self._template.render(facts)
            if "json" in self._table.content_type:
                orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise MessageRefusedError(f"the template made no JSON ({error}): use the filter tojson") from None
        except Exception as error:  # a template is a program of somebody else's; it may raise anything
            raise MessageRefusedError(f"the template failed: {type(error).__name__}: {error}") from None
        return body.encode(), self._table.content_type

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()


def signed(secret: SecretStr, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Standard Webhooks' headers. The key is base64 after `whsec_`, or any text as it is."""
    digest = hmac.new(key_of(secret), f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def key_of(secret: SecretStr) -> bytes:
    """The bytes of the signature's key. Raises ConfigError where `whsec_` is not followed by base64."""
    text = secret.get_secret_value()
    if not text.startswith("whsec_"):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ConfigError("the webhook's secret begins with whsec_ but no base64 follows") from error

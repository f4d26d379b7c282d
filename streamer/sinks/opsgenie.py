"""Opsgenie, Alert API v2: create with `alias` = incident id, close and acknowledge by alias, notes and priority on the way."""

from typing import Any, ClassVar
from urllib.parse import quote

from streamer.sinks.config import RANK, OpsgenieTable
from streamer.sinks.deliveries import Action
from streamer.sinks.planning import Message
from streamer.sinks.transport import Answer, Http, Transport
from streamer.sinks.wording import cut, facts, lines, link_of, title

MAX_MESSAGE, MAX_DESCRIPTION, MAX_NOTE, MAX_ENTITY = 130, 15_000, 25_000, 512
MAX_DETAILS, MAX_TAGS, MAX_TAG = 8_000, 20, 50
SOURCE = "anomalyllm"


class Opsgenie(Transport):
    """One request an event; the server answers before it has worked (202)."""

    stateful: ClassVar[bool] = True
    acknowledges: ClassVar[bool] = True

    def __init__(self, table: OpsgenieTable, link: str | None) -> None:
        self._table = table
        self._link = link
        self._http = Http(table.timeout, [table.api_key])
        self._url = table.url.get_secret_value().rstrip("/") + "/v2/alerts"
        self._headers = {"Authorization": f"GenieKey {table.api_key.get_secret_value()}"}

    async def send(self, message: Message) -> Answer:
        """An update changes the priority and adds a note: an open alert's text stays as it was created."""
        action = message.items[0].action
        note = {"source": SOURCE, "note": cut("\n".join([title(message), *lines(message)]), MAX_NOTE)}
        if action is Action.ACKNOWLEDGE:
            return Answer(await self._on(message, "acknowledge", note))
        if action is Action.CLOSE:
            return Answer(await self._on(message, "close", note))
        if action is Action.UPDATE:
            await self._on(message, "priority", {"priority": self._priority(message)}, "PUT")
            return Answer(await self._on(message, "notes", note))
        return Answer(await self._http.post(self._url, json=self._create(message), headers=self._headers))

    async def _on(self, message: Message, what: str, body: dict[str, Any], method: str = "POST") -> str:
        url = f"{self._url}/{quote(message.key, safe='')}/{what}?identifierType=alias"
        return await self._http.post(url, json=body, headers=self._headers, method=method)

    def _priority(self, message: Message) -> str:
        worst = max((item.incident.severity for item in message.items), key=lambda s: RANK[s])
        return self._table.priorities[worst]

    def _create(self, message: Message) -> dict[str, Any]:
        first = message.items[0].incident
        tags = [*self._table.tags, *(f"{name}:{value}" for name, value in sorted(first.labels.items()))]
        details = {
            "severity": first.severity,
            "kind": first.kind,
            "started_at": first.started_at,
            "facts": cut(facts(first), 2_000),
            "model_version": first.model_version or "none",
        }
        link = link_of(self._link, first)
        if link is not None:
            details["link"] = cut(link, 2_000)
        for name, value in sorted(first.labels.items()):
            if sum(map(len, (*details, *details.values(), name, value))) <= MAX_DETAILS:
                details.setdefault(name, value)
        body: dict[str, Any] = {
            "message": cut(title(message), MAX_MESSAGE),
            "alias": message.key,
            "description": cut("\n".join(lines(message, self._link)), MAX_DESCRIPTION),
            "tags": [cut(tag, MAX_TAG) for tag in tags[:MAX_TAGS]],
            "details": details,
            "entity": cut(first.stream, MAX_ENTITY),
            "source": SOURCE,
            "priority": self._priority(message),
        }
        if self._table.responders:
            body["responders"] = self._table.responders
        return body

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()

"""PagerDuty, Events API v2 (POST /v2/enqueue): trigger, acknowledge, resolve; `dedup_key` is the incident's id."""

from typing import Any, ClassVar

from streamer.sinks.config import RANK, PagerDutyTable
from streamer.sinks.deliveries import Action
from streamer.sinks.planning import Message
from streamer.sinks.transport import Answer, Http, Transport
from streamer.sinks.wording import cut, facts, lines, link_of, title

MAX_SUMMARY = 1024
MAX_DETAIL = 8_000  # the whole event may have 512 KB


class PagerDuty(Transport):
    """One event a call."""

    stateful: ClassVar[bool] = True
    acknowledges: ClassVar[bool] = True

    def __init__(self, table: PagerDutyTable, link: str | None) -> None:
        self._link = link
        self._key = table.routing_key.get_secret_value()
        self._url = table.url.get_secret_value()
        self._http = Http(table.timeout, [table.routing_key])

    async def send(self, message: Message) -> Answer:
        """One event."""
        action = message.items[0].action
        if action is Action.ACKNOWLEDGE:
            return Answer(await self._event("acknowledge", message))
        if action is Action.CLOSE:
            return Answer(await self._event("resolve", message))
        return Answer(await self._event("trigger", message))

    async def _event(self, action: str, message: Message) -> str:
        event: dict[str, Any] = {"routing_key": self._key, "event_action": action, "dedup_key": message.key}
        if action == "trigger":
            event |= self._trigger(message)
        return await self._http.post(self._url, json=event)

    def _trigger(self, message: Message) -> dict[str, Any]:
        incidents = [item.incident for item in message.items]
        first = incidents[0]
        worst = max((i.severity for i in incidents), key=lambda severity: RANK[severity])
        details: dict[str, Any] = {"text": cut("\n".join(lines(message)), MAX_DETAIL)}
        if len(incidents) == 1:
            details |= {
                "facts": facts(first),
                "labels": first.labels,
                "tenant": first.tenant,
                "tail_probability": first.tail_probability,
                "model_version": first.model_version,
            }
        payload = {
            "summary": cut(title(message), MAX_SUMMARY),
            "source": first.stream if len(incidents) == 1 else "anomalyllm",
            "severity": worst,
            "timestamp": first.started_at,
            "class": first.kind,
            "group": first.tenant or "anomalyllm",
            "component": first.channels[0].channel if first.channels else first.stream,
            "custom_details": details,
        }
        event: dict[str, Any] = {"payload": payload, "client": "AnomalyLLM"}
        link = link_of(self._link, first)
        if link is not None:
            event |= {"client_url": link, "links": [{"href": link, "text": first.stream}]}
        return event

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()

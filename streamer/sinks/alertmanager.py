"""Prometheus Alertmanager, API v2 (POST /api/v2/alerts, openapi.yaml of prometheus/alertmanager).

An alert is its labels; it lives until `endsAt`, which every post moves on, and is resolved by one that lies in the past.
Grouping, silences and deduplication are Alertmanager's own.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from streamer.contracts import Incident
from streamer.sinks.config import AlertmanagerTable
from streamer.sinks.planning import Item, Message
from streamer.sinks.transport import Answer, Http, Transport, plain
from streamer.sinks.wording import facts, headline, link_of

_OWN = frozenset({"alertname", "severity", "stream", "kind", "tenant", "incident_id"})
_NOT_IN_NAME = re.compile(r"[^a-zA-Z0-9_]")
POSTS_IN_TIMEOUT = 3  # two of them may be lost


class Alertmanager(Transport):
    """Alerts in batches, posted again while they last."""

    stateful: ClassVar[bool] = True
    batch: ClassVar[int] = 500

    def __init__(self, table: AlertmanagerTable, link: str | None) -> None:
        self._table = table
        self._link = link
        self._http = Http(table.timeout, [table.url, *table.headers.values()])
        self._url = table.url.get_secret_value().rstrip("/") + "/api/v2/alerts"
        self.repost_s = table.resolve_timeout / POSTS_IN_TIMEOUT

    async def send(self, message: Message) -> Answer:
        """Post all alerts; one whose labels have changed since ends, and begins with the new ones."""
        now = datetime.now(UTC)
        alerts, memos = [], {}
        for item in message.items:
            incident = item.incident
            labels = labels_of(incident)
            sent = item.delivery.sent
            before = None if sent is None or not sent.open else sent.memo.get("labels")
            if before is not None and before != labels:
                alerts.append({**self._alert(item, before, now), "endsAt": _rfc3339(now)})
            alerts.append(self._alert(item, labels, now))
            memos[incident.incident_id] = {"labels": labels}
        return Answer(await self._http.post(self._url, json=alerts, headers=plain(self._table.headers)), memos)

    def _alert(self, item: Item, labels: dict[str, str], now: datetime) -> dict[str, Any]:
        incident = item.incident
        # Alertmanager refuses an end before the start; clocks of sensors run ahead.
        end = now if item.closed else now + timedelta(seconds=self._table.resolve_timeout)
        start = min(datetime.fromisoformat(incident.started_at), now)
        alert: dict[str, Any] = {
            "labels": labels,
            "annotations": {
                "summary": headline(item),
                "description": incident.reason,
                "facts": facts(incident),
            },
            "startsAt": _rfc3339(start),
            "endsAt": _rfc3339(end),
        }
        link = link_of(self._link, incident)
        if link is not None:
            alert["generatorURL"] = link
        return alert

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()


def labels_of(incident: Incident) -> dict[str, str]:
    """The alert's identity. A label of the stream whose name is taken, or is no label's name, gets another one."""
    labels = {
        "alertname": "AnomalyLLM" + "".join(part.capitalize() for part in incident.kind.split("_")),
        "severity": incident.severity,
        "stream": incident.stream,
        "kind": incident.kind,
        "incident_id": incident.incident_id,
        "tenant": incident.tenant or "",
    }
    for name, value in sorted(incident.labels.items()):
        valid = _NOT_IN_NAME.sub("_", name)
        if not valid or valid[0].isdigit() or valid in _OWN:
            valid = f"label_{valid}"
        labels.setdefault(valid, value)
    return {name: value for name, value in labels.items() if value}  # an empty label is one that is not there


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

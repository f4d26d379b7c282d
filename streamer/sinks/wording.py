"""An incident in words, for people: one line, and what stands under it."""

from urllib.parse import quote

from streamer.contracts import Incident
from streamer.sinks.deliveries import Action
from streamer.sinks.planning import Item, Message

LISTED = 20  # incidents that a summary names; the others are counted
_SEVERITIES = ("critical", "warning", "info")
_VERBS = {
    Action.OPEN: "",
    Action.UPDATE: "now ",
    Action.CLOSE: "resolved: ",
    Action.PASSED: "was and is over: ",
    Action.CORRECT: "corrected: ",
    Action.ACKNOWLEDGE: "acknowledged: ",
}


def cut(text: str, most: int) -> str:
    """At most so many characters, the last of them saying that there were more."""
    return text if len(text) <= most else text[: most - 1] + "…"


def link_of(template: str | None, incident: Incident) -> str | None:
    """Where a person looks; the values are quoted for an address."""
    if template is None:
        return None
    values = {
        "stream": incident.stream,
        "incident_id": incident.incident_id,
        "started_at": incident.started_at,
        "tenant": incident.tenant or "",
    }
    return template.format(**{name: quote(value, safe="") for name, value in values.items()})


def headline(item: Item) -> str:
    """One line: what happened to which stream."""
    incident = item.incident
    verb = "retracted: " if incident.state == "retracted" else _VERBS[item.action]
    what = "no data" if incident.kind == "no_data" else incident.kind.replace("_", " ")
    return f"{verb}[{incident.severity}] {incident.stream}: {what}"


def title(message: Message) -> str:
    """One line for the whole message."""
    if len(message.items) == 1:
        return headline(message.items[0])
    counts = {name: sum(i.incident.severity == name for i in message.items) for name in _SEVERITIES}
    worst = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    shared = ", ".join(f"{name}={value}" for name, value in message.group.items() if value)
    ended = sum(item.closed for item in message.items)
    over = "" if not ended else " (all over)" if ended == len(message.items) else f" ({ended} over)"
    return f"{len(message.items)} incidents{over}: {worst}" + (f" · {shared}" if shared else "")


def facts(incident: Incident) -> str:
    """Since when, how far from expectation, which channels."""
    parts = [f"since {incident.started_at}" + (f" until {incident.ended_at}" if incident.ended_at else "")]
    if incident.kind == "anomaly":
        parts.append(f"score {incident.score:.1f} of {incident.threshold:.1f}")
    for share in incident.channels[:3]:
        text = f"{share.channel} {share.share:.0%}"
        if share.value is not None:
            text += f" at {share.value:.4g}"
        if share.low is not None and share.high is not None:
            text += f" (expected {share.low:.4g} to {share.high:.4g})"
        parts.append(text)
    return "; ".join(parts)


def lines(message: Message, link: str | None = None) -> list[str]:
    """What stands under the title: the reason of one incident, or a line an incident."""
    if len(message.items) == 1:
        incident = message.items[0].incident
        address = link_of(link, incident)
        return [incident.reason, facts(incident), *([address] if address else []), f"incident {incident.incident_id}"]
    listed = [f"{headline(item)}: {item.incident.reason}" for item in message.items[:LISTED]]
    more = len(message.items) - LISTED
    return listed if more <= 0 else [*listed, f"and {more} more"]

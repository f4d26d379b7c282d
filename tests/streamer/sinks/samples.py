"""Incidents for the sinks' tests."""

from typing import Any

from streamer.contracts import AnomalyEvent, ChannelShare, Incident
from streamer.sinks.deliveries import Action, Delivery, Sent
from streamer.sinks.planning import Item, Message

KEY = "0123456789abcdef0123456789abcdef"


def event(incident_id: str = "i-1", revision: int = 0, state: str = "open", **fields: Any) -> AnomalyEvent:
    """One revision; the end is filled in where the state says that it is over."""
    facts: dict[str, Any] = {
        "incident_id": incident_id,
        "revision": revision,
        "state": state,
        "stream": "web.cpu",
        "severity": "warning",
        "started_at": "2026-01-31T12:00:00.000Z",
        "updated_at": "2026-01-31T12:00:01.000Z",
        "ended_at": "2026-01-31T12:05:00.000Z" if state in ("resolved", "retracted") else None,
        "grid_version": 1,
        "anchor_slot": 1,
        "slot": 2,
        "slots": 1,
        "score": 7.5,
        "tail_probability": 3e-8,
        "threshold": 4.0,
        "channels": [ChannelShare(channel="value", share=1.0, value=9.0, expected=1.5, low=1.0, high=2.0)],
        "view": "prototype",
        "scale": 16,
        "depth": 0,
        "reason": "value is far above <what> it was & stays there",
        **fields,
    }
    incident = Incident(**facts)
    return AnomalyEvent(
        id=f"{incident_id}:{revision}",
        source="anomalyllm/al",
        type=f"anomalyllm.incident.{state}",
        subject=incident.stream,
        time=incident.updated_at,
        data=incident,
    )


def delivery(made: AnomalyEvent | None = None, *, since: float = 0.0, partition: int = 0, **fields: Any) -> Delivery:
    """A delivery of an event, nothing told yet."""
    made = made or event()
    return Delivery(
        event=made, raw=made.model_dump_json(), partition=partition, offset=7, timestamp_ms=1_000, since=since,
        key=made.data.incident_id, **fields,
    )  # fmt: skip


def sent(revision: int = 0, severity: Any = "warning", **fields: Any) -> Sent:
    """What a server believes: open."""
    return Sent(**{"revision": revision, "severity": severity, "open": True, **fields})


def message(*made: Delivery, action: Action = Action.OPEN, **fields: Any) -> Message:
    """One message about these deliveries."""
    return Message(tuple(Item.of(d, action) for d in made), fields.pop("key", made[0].key), **fields)

"""A harmless test alert to one sink, and what its server answers."""

import time
import uuid

from streamer.contracts import AnomalyEvent, ChannelShare, Incident, IncidentState
from streamer.sinks.building import build
from streamer.sinks.config import SinksFile
from streamer.sinks.deliveries import Action, Delivery, Sent
from streamer.sinks.planning import NAMESPACE, Item, Message
from streamer.timestamps import format_ns

STREAM = "anomalyllm.test"


def sample(state: IncidentState, revision: int, sink: str, now_ns: int, started_ns: int) -> AnomalyEvent:
    """An event of an incident that never was: severity info, and its reason says that it is a test."""
    started = format_ns(started_ns)
    incident = Incident(
        incident_id=str(uuid.uuid5(NAMESPACE, f"{sink}\n{started}")),
        revision=revision,
        state=state,
        stream=STREAM,
        labels={"test": "true"},
        severity="info",
        started_at=started,
        updated_at=format_ns(now_ns),
        ended_at=format_ns(now_ns) if state == "resolved" else None,
        grid_version=1,
        anchor_slot=0,
        slot=revision,
        slots=revision + 1,
        score=4.0,
        tail_probability=1e-4,
        threshold=4.0,
        channels=[ChannelShare(channel="value", share=1.0, value=2.0, expected=1.0, low=0.5, high=1.5)],
        view="test",
        scale=1,
        depth=0,
        reason="This is a test of the sink; nothing is wrong.",
    )
    return AnomalyEvent(
        id=f"{incident.incident_id}:{revision}",
        source="anomalyllm/test",
        type=f"anomalyllm.incident.{state}",
        subject=STREAM,
        time=incident.updated_at,
        data=incident,
    )


async def try_sink(file: SinksFile, sink: str) -> list[str]:
    """Send a test alert, and its end where the server keeps incidents; returns the server's answers.

    Filters, quiet hours and limits do not count. Raises DeliveryError: not delivered, and why.
    """
    transport = build(file, sink)
    started_ns = time.time_ns()
    try:
        opened = _delivery(sample("open", 0, sink, started_ns, started_ns))
        answer = await transport.send(_message(opened, Action.OPEN))
        answers = [f"alert: {answer.text}"]
        if transport.stateful:
            ended = _delivery(sample("resolved", 1, sink, time.time_ns(), started_ns))
            memo = answer.memos.get(opened.incident.incident_id, {})
            ended.sent = Sent(revision=0, severity="info", open=True, memo=memo)
            answers.append(f"its end: {(await transport.send(_message(ended, Action.CLOSE))).text}")
        return answers
    finally:
        await transport.aclose()


def _delivery(event: AnomalyEvent) -> Delivery:
    return Delivery(
        event=event, raw=event.model_dump_json(), partition=0, offset=0, timestamp_ms=0, since=0.0,
        key=event.data.incident_id,
    )  # fmt: skip


def _message(delivery: Delivery, action: Action) -> Message:
    return Message((Item.of(delivery, action),), delivery.key)

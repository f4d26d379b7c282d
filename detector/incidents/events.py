"""Incidents as CloudEvents on `anomalies`."""

from dataclasses import dataclass
from typing import Any

from detector.incidents import wording
from detector.incidents.episode import NO_COLUMN, EndReason
from detector.incidents.identity import incident_id
from detector.incidents.machine import Transition
from detector.incidents.record import NoData, StreamState, Unjudged
from detector.persistence import STATISTICS, slots_of
from streamer.contracts import AnomalyEvent, ChannelShare, Departure, Incident, IncidentState, StreamSettings
from streamer.timestamps import NS, format_ns

# An incident so much older than the moment of writing lies in the past: nobody is to be woken for it.
HISTORIC_S = 3600.0


DELETED = -1  # in place of the slot at which a silence is over: the stream is

# Of incidents that are no score's.
_UNSCORED: dict[str, float] = {"score": 0.0, "tail_probability": 1.0, "threshold": 0.0, "scale": 0, "depth": 0}


@dataclass(frozen=True, slots=True)
class Context:
    """What an event needs beside the incident itself.

    >>> Context("anomalyllm/prod", partition=3, settings=StreamSettings(), now_ns=1_790_000_000 * NS).partition
    3
    """

    source: str  # CloudEvents source: which deployment
    partition: int
    settings: StreamSettings
    now_ns: int


def anomaly_event(stream: str, stream_state: StreamState, transition: Transition, context: Context) -> AnomalyEvent:
    """An anomaly's event out of a transition; its episode has evidence."""
    episode, slot = transition.episode, transition.slot
    evidence: dict[str, Any] = episode.evidence
    revision = episode.revision - (stream_state.same(episode).announced_from or 0)
    interval_s = stream_state.interval_ns / NS
    season, seasonal = evidence.get("season") or {}, episode.column != NO_COLUMN
    incident = _incident(
        stream, stream_state, context, episode.anchor, revision, transition.state, slot,
        kind="anomaly",
        severity=episode.severity,
        started_at=format_ns(stream_state.slot_ns(episode.onset)),
        ended_at=None if episode.ended is None else format_ns(stream_state.slot_ns(episode.ended)),
        slots=episode.last() - episode.onset + 1,
        score=round(episode.peak, 3),
        tail_probability=10.0**-episode.peak,
        threshold=round(episode.threshold + episode.stricter, 3),
        channels=[ChannelShare(**channel) for channel in evidence["channels"]],
        onset=_departure(stream_state, evidence.get("onset")),
        extreme=_departure(stream_state, evidence.get("extreme")),
        usual=season.get("word"),
        statistic=season.get("statistic") if seasonal else None,
        unit_name=context.settings.unit_name,
        end_reason=None if episode.ended is None or episode.retracted else wording.end_reason(episode, context.settings),
        **_view(evidence, seasonal, interval_s),
        teacher_used=evidence["teacher"],
        model_version=evidence["model"],
        warming=evidence["warming"],
        source_offsets=evidence["offsets"],
        reason=wording.anomaly(stream, transition, interval_s, context.settings),
    )  # fmt: skip
    return _event(incident, context)


def _view(evidence: dict[str, Any], seasonal: bool, interval_s: float) -> dict[str, Any]:
    """What has found it: the season, or the students' view with the largest surprise."""
    if not seasonal:
        return {
            "view": evidence["view"],
            "scale": evidence["scale"],
            "depth": evidence["depth"],
            "nearest_prototype": evidence["nearest"],
        }
    seconds = {s.name: s.seconds for s in STATISTICS}.get(evidence.get("season", {}).get("statistic"), 0)
    return {"view": "season", "scale": slots_of(seconds, interval_s), "depth": 0, "nearest_prototype": None}


def _departure(stream_state: StreamState, noted: dict[str, Any] | None) -> Departure | None:
    if noted is None:
        return None
    return Departure(
        at=format_ns(stream_state.slot_ns(noted["slot"])), **{k: v for k, v in noted.items() if k != "slot"}
    )


def no_data_event(
    stream: str, stream_state: StreamState, silence: NoData, state: IncidentState, slot: int, context: Context
) -> AnomalyEvent:
    """A no-data incident's event; `slot` is the newest one without data, or the first with data again."""
    deleted = state == "resolved" and slot == DELETED
    if deleted:  # by the wall clock: no slot of it will ever come
        slot = max(silence.anchor, (context.now_ns - stream_state.phase_ns) // stream_state.interval_ns)
    slots = max(slot - silence.anchor + (state == "open"), 0)
    seconds = slots * stream_state.interval_ns / NS
    incident = _incident(
        stream, stream_state, context, silence.anchor, silence.revision, state, slot,
        kind="no_data",
        severity="warning",
        started_at=format_ns(stream_state.slot_ns(silence.anchor)),
        ended_at=format_ns(stream_state.slot_ns(slot)) if state == "resolved" else None,
        slots=slots,
        channels=[ChannelShare(channel=name, share=1 / len(silence.channels)) for name in silence.channels],
        view="no_data",
        **_UNSCORED,
        end_reason="deleted" if deleted else "returned" if state == "resolved" else None,
        reason=wording.silence(stream, seconds, slots, state == "resolved", silence.channels, silence.nulls, deleted),
    )  # fmt: skip
    return _event(incident, context)


def unjudged_event(
    stream: str,
    stream_state: StreamState,
    unjudged: Unjudged,
    slot: int,
    context: Context,
    over: EndReason | None = None,
) -> AnomalyEvent:
    """The event of a stream that is not judged, or of which that is over, and why; `slot` is its newest one."""
    state: IncidentState = "open" if over is None else "resolved"
    incident = _incident(
        stream, stream_state, context, unjudged.anchor, unjudged.revision, state, slot,
        kind="unjudged",
        severity="info",
        started_at=format_ns(stream_state.slot_ns(unjudged.anchor)),
        ended_at=format_ns(stream_state.slot_ns(slot)) if state == "resolved" else None,
        slots=max(slot - unjudged.anchor, 0),
        channels=[],
        view="unjudged",
        **_UNSCORED,
        end_reason=over,
        reason=wording.unjudged(stream, unjudged.why, over),
    )  # fmt: skip
    return _event(incident, context)


def _incident(
    stream: str, stream_state: StreamState, context: Context, anchor: int, revision: int, state: IncidentState, slot: int,
    **fields: Any,
) -> Incident:  # fmt: skip
    updated_ns = stream_state.slot_ns(slot)
    return Incident(
        incident_id=incident_id(stream, stream_state.grid_version, anchor, fields["kind"]),
        revision=revision,
        state=state,
        stream=stream,
        tenant=context.settings.tenant,
        labels=context.settings.labels,
        historic=context.now_ns - updated_ns > HISTORIC_S * NS,
        updated_at=format_ns(updated_ns),
        grid_version=stream_state.grid_version,
        anchor_slot=anchor,
        slot=slot,
        source_partition=context.partition,
        **fields,
    )


def _event(incident: Incident, context: Context) -> AnomalyEvent:
    return AnomalyEvent(
        id=f"{incident.incident_id}:{incident.revision}",
        source=context.source,
        type=f"anomalyllm.incident.{incident.state}",
        subject=incident.stream,
        time=incident.updated_at,
        data=incident,
    )

"""The topic contracts: pydantic models that parse what stands on each topic (on `metrics`: `streamer.metric_records`).

docs/topics holds the JSON Schema generated from them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from streamer.local_time import known_zone

MAX_STREAM_BYTES = 256  # a Kafka key and a Redis key; longer names are a mistake in the publisher
MAX_CHANNELS = 256  # 256 channels x 8192 slots are 8 MB of window: more is several streams
# Numbers in a stream's ring, capacity x channels: 8 MB. A jump in time rewrites all of it in one call of Redis, which
# takes 512 MB at most and five times as much of the streamer's memory meanwhile.
MAX_RING = MAX_CHANNELS * 8192
TOPICS = ("metrics", "streams", "windows", "anomalies", "training", "models", "feedback", "dead-letters")
COMPACTED = frozenset({"streams", "models"})
# Shared out among workers, with the same number of partitions each. A message of windows or anomalies goes to the
# partition that its stream has in metrics; a training request goes where the hash of its key sends it.
PARTITIONED = frozenset({"metrics", "windows", "anomalies", "training"})
TS_NAMES = ("ts", "timestamp", "time", "@timestamp")  # metrics: a point's time, the first that is there

StreamName = Annotated[str, Field(min_length=1, max_length=MAX_STREAM_BYTES, pattern=r"^[^\x00-\x1f\x7f]+$")]
ChannelName = Annotated[str, Field(min_length=1, max_length=128)]
# Labels stand in every event of the stream, which has to fit into a message: 74 KB of them.
MAX_LABELS, MAX_LABEL_KEY, MAX_LABEL_VALUE = 64, 128, 1024
LabelKey = Annotated[str, Field(max_length=MAX_LABEL_KEY)]
LabelValue = Annotated[str, Field(max_length=MAX_LABEL_VALUE)]
Number = Annotated[float, Field(allow_inf_nan=False)]


def _without_example(schema: dict[str, Any]) -> None:
    """A schema is read by users of other languages: the example in the docstring stays out of it."""
    if "description" in schema:
        schema["description"] = schema["description"].split("\n\n>>>")[0]


class Contract(BaseModel):
    """Base. Unknown fields are refused, so that a misspelt setting is noticed; metric points ignore them.

    >>> try:
    ...     StreamSettings.model_validate({"interval": 10})
    ... except ValueError as error:
    ...     print(error.errors()[0]["msg"])
    Extra inputs are not permitted
    """

    model_config = ConfigDict(extra="forbid", strict=False, frozen=True, json_schema_extra=_without_example)


def channels_of(capacity: int) -> int:
    """How many channels a stream of that capacity may have.

    >>> channels_of(8192), channels_of(1 << 20)
    (256, 2)
    """
    return max(1, min(MAX_CHANNELS, MAX_RING // capacity))


class StreamSettings(Contract):
    """`streams` (key = stream's name, compacted): how a stream is to be read and judged. All optional.

    >>> StreamSettings(interval_s=10, direction="up", alerts_per_week=1).model_dump(exclude_unset=True)
    {'interval_s': 10.0, 'direction': 'up', 'alerts_per_week': 1.0}
    """

    tenant: str | None = Field(None, max_length=256)
    labels: dict[LabelKey, LabelValue] = Field({}, max_length=MAX_LABELS, description="team=core,env=prod")
    unit: Literal["s", "ms", "us", "ns"] | None = Field(None, description="unit of numeric time stamps; none: by size")
    unit_name: str | None = Field(
        None,
        min_length=1,
        max_length=16,
        description="unit of the values, for sentences: 'ms', 'req/s', '%'",
    )
    kind: Literal["gauge", "counter", "auto"] = "auto"
    interval_s: float | None = Field(
        None, gt=0, le=86_400 * 31, description="seconds per slot; none: inferred from 33 points"
    )
    same_slot: Literal["last", "mean"] = Field("last", description="two points in one slot: newest wins, or their mean")
    timezone: str | None = Field(
        None,
        description="where its people live, e.g. 'Europe/Berlin'; default UTC",
    )
    channels: list[ChannelName] | None = Field(
        None, min_length=1, max_length=MAX_CHANNELS, description="fixes the order"
    )
    direction: Literal["both", "up", "down"] = "both"
    floor_abs: float = Field(
        0.0, ge=0, description="smaller deviations from the expected band never alert (unit of the data)"
    )
    floor_rel: float = Field(0.0, ge=0, description="the same, as a share of the expected value")
    alert_budget: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="expected false alerts in 10 000 slots, in place of alerts_per_week",
    )
    alerts_per_week: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="expected false alerts of the stream per week; default 0.1",
    )
    capacity: int | None = Field(
        None, ge=64, le=1 << 20, description="slots of window and training history; default 8192"
    )
    no_data_after: float | None = Field(
        None, gt=1, le=1e9, description="a stop alerts after this many intervals; default 30"
    )
    ttl_s: float | None = Field(
        None, gt=0, le=1e11, description="forget the stream after this long without a point; default: 30 days"
    )
    paused: bool = Field(False, description="keep the window, do not alert (maintenance)")

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        if value is not None and not known_zone(value):
            raise ValueError("no such time zone; names are those of the IANA database, e.g. 'Europe/Berlin'")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "StreamSettings":
        channels = len(self.channels or [])
        if self.capacity is not None and channels > channels_of(self.capacity):
            raise ValueError(
                f"capacity {self.capacity} x {channels} channels is more than the {MAX_RING} numbers of a window: "
                f"lower capacity to {MAX_RING // channels}, or split the stream into several"
            )
        return self

    def with_fields(self, fields: Mapping[str, Any]) -> "StreamSettings":
        """With these set; of one dial's two scales the newer word counts. Raises pydantic.ValidationError.

        >>> StreamSettings(alert_budget=2).with_fields({"alerts_per_week": 1.0}).model_fields_set
        {'alerts_per_week'}
        """
        before = self.model_dump(exclude_unset=True)
        for dial, other in (("alert_budget", "alerts_per_week"), ("alerts_per_week", "alert_budget")):
            if fields.get(dial) is not None and other not in fields:
                before.pop(other, None)
        return type(self).model_validate({**before, **fields})

    @model_validator(mode="after")
    def _one_budget(self) -> "StreamSettings":
        if self.alerts_per_week is not None and self.alert_budget is not None:
            raise ValueError(
                "alert_budget and alerts_per_week set the same thing: drop alert_budget, or alerts_per_week"
            )
        return self


class WindowsHeader(Contract):
    """`windows`: the JSON header inside the binary value (layout: streamer/windows/wire.py).

    >>> WindowsHeader(streams=["web.cpu"]).model_dump_json()
    '{"v":1,"streams":["web.cpu"],"received_ms":null,"refused":[],"pauses":{}}'
    """

    v: Literal[1] = 1
    streams: list[StreamName]
    received_ms: int | None = Field(
        None, description="a mark, without streams: all that came to the partition up to then (Unix ms) is announced"
    )
    refused: list[StreamName] = Field(
        default=[], description="of a mark: streams whose records since the last one were all refused"
    )
    pauses: dict[StreamName, int] = Field(
        default={}, description="stream → ms between its deliveries, of streams that send in bursts"
    )


Severity = Literal["info", "warning", "critical"]
IncidentState = Literal["open", "update", "resolved", "revised", "retracted"]
OVER: tuple[IncidentState, ...] = ("resolved", "retracted")
# `unjudged`: the stream's points are kept, and nothing judges them. A `system` event tells the detector's own trouble,
# under the name "anomalyllm.system" in place of a stream's; it has begun and ended, and its numbers are 0.
IncidentKind = Literal["anomaly", "no_data", "unjudged", "system"]


class ChannelShare(Contract):
    """How much of an incident's score one channel carries.

    >>> ChannelShare(channel="user", share=0.8, value=97.3, low=3, high=12).share
    0.8
    """

    channel: str
    share: float = Field(ge=0, le=1)
    value: float | None = None
    expected: float | None = None
    low: float | None = None
    high: float | None = None


class Departure(Contract):
    """One slot of an incident: what it was and what is usual then; values in the data's unit.

    >>> Departure(channel="value", at="2026-01-31T12:00:00Z", value=97.3, expected=7, low=3, high=12, reach=9.5).reach
    9.5
    """

    channel: str
    at: str = Field(description="RFC 3339")
    value: float | None = None
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    reach: float = Field(ge=0, description="widths of the band that the value lies outside of it; 0: within")


class Incident(Contract):
    """`anomalies`, the CloudEvent's data: the incident and the whole reason for it.

    >>> incident = Incident(
    ...     incident_id="5b2e…", revision=0, state="open", stream="web.cpu", severity="warning",
    ...     started_at="2026-01-31T12:00:00Z", updated_at="2026-01-31T12:00:20Z", grid_version=1, anchor_slot=100,
    ...     slot=102, slots=3, score=5.2, tail_probability=6.3e-6, threshold=4.0, view="shape", scale=16, depth=0,
    ...     channels=[ChannelShare(channel="value", share=1)], reason="web.cpu rose to 97 %",
    ... )
    >>> incident.kind, incident.ended_at
    ('anomaly', None)
    """

    incident_id: str
    revision: int = Field(ge=0)
    state: IncidentState
    kind: IncidentKind = Field("anomaly", description="unjudged: the stream cannot be judged; why is in `reason`")
    stream: StreamName
    tenant: str | None = None
    labels: dict[str, str] = {}
    severity: Severity
    historic: bool = Field(False, description="the event time is more than an hour before the moment of writing")
    started_at: str = Field(description="RFC 3339 of the onset")
    updated_at: str = Field(description="RFC 3339 of the slot this revision was made at")
    ended_at: str | None = None
    grid_version: int
    anchor_slot: int
    slot: int
    slots: int = Field(ge=0, description="length so far")
    score: float = Field(description="fused surprise at its peak: -log10 of the tail probability on normal data")
    tail_probability: float = Field(ge=0, le=1)
    threshold: float = Field(description="score that opened it")
    channels: list[ChannelShare] = Field(
        description="channels by share of the score, largest first, with expected band"
    )
    onset: Departure | None = Field(None, description="the first slot that was outside")
    extreme: Departure | None = Field(None, description="the slot that was farthest outside so far")
    usual: str | None = Field(
        None, description="what the band is: 'usual at this time of a Tuesday'; none: no season yet"
    )
    statistic: str | None = Field(
        None,
        description="average of the season that was most surprised: slot, 5 min, …, unchanged, never seen, stays, to and fro, record",
    )
    unit_name: str | None = Field(None, description="unit of the values, from the stream's settings")
    end_reason: (
        Literal["returned", "baseline", "unseen", "unjudged", "paused", "verdict", "grid", "deleted", "lost"] | None
    ) = Field(None, description="why it is over; none: it is not, or it has been no incident")
    view: str = Field(description="the view with the largest surprise: season, prototype, shape, teacher, forecast, …")
    scale: int = Field(description="slots of the window that fired")
    depth: int = Field(description="0: the window itself; above: teacher depth")
    nearest_prototype: int | None = None
    teacher_used: bool = False
    model_version: str | None = None
    warming: bool = Field(False, description="the stream had no student yet: a generic prior has judged it")
    source_offsets: list[int] = Field(
        default=[], max_length=2, description="first and last offset in `metrics` of the fired change"
    )
    source_partition: int | None = None
    reason: str = Field(description="one sentence for a person")


class AnomalyEvent(Contract):
    """`anomalies` (key = stream): CloudEvents 1.0, structured mode. `id` = incident_id:revision.

    >>> AnomalyEvent(
    ...     id="5b2e…:0", source="anomalyllm/prod", type="anomalyllm.incident.open", subject="web.cpu",
    ...     time="2026-01-31T12:00:20Z", data=Incident.model_construct(incident_id="5b2e…", revision=0),
    ... ).datacontenttype
    'application/json'
    """

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str = Field(description="anomalyllm.incident.<state>; anomalyllm.system where data.kind is system")
    subject: StreamName
    time: str
    datacontenttype: Literal["application/json"] = "application/json"
    data: Incident


TrainingReason = Literal["cold", "due", "drift", "manual"]


class TrainingRequest(Contract):
    """`training` (key = stream): please fit this stream.

    >>> request = TrainingRequest(stream="web.cpu", reason="manual", requested_at="2026-01-31T12:00:00Z")
    >>> request.job, request.span
    ('full', None)
    """

    stream: StreamName
    reason: TrainingReason
    job: Literal["full", "prototypes"] = Field("full", description="full distillation, or the cheap prototype update")
    span: tuple[int, int] | None = Field(None, description="first and last slot to learn from; none: all history")
    grid_version: int | None = None
    exclude: list[tuple[int, int]] = Field(
        default=[], description="slot ranges never to learn from (incidents, maintenance)"
    )
    requested_at: str


# Slots with data from which a student counts as fitted on enough: "ready", before it "warming". With fewer, the tails
# of its calibration lean on their priors and its held-back halves are short.
READY_SLOTS = 1024


# Names below the store and nothing else: no scheme, no absolute path, no part that begins with a dot.
STORE_NAME = r"^[0-9A-Za-z_-][0-9A-Za-z._-]*(/[0-9A-Za-z_-][0-9A-Za-z._-]*)*$"


class ModelRef(Contract):
    """One row of one artefact.

    >>> ModelRef(version="v1", uri="v1.safetensors", row=0, sha256="0" * 64, grid_version=1, trained_slots=(0, 8191),
    ...          points=8000).refused is None
    True
    """

    version: str
    uri: str = Field(description="relative to the configured store", pattern=STORE_NAME, max_length=256)
    row: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    grid_version: int
    trained_slots: tuple[int, int]
    points: int = Field(ge=0, description="slots with data the fit has seen")
    refused: str | None = Field(None, description="why the gate keeps it in the shadow; none: it has passed")


class ModelRecord(Contract):
    """`models` (key = stream, compacted): what to score the stream with; a tombstone removes it.

    >>> ref = ModelRef(version="v1", uri="v1.safetensors", row=0, sha256="0" * 64, grid_version=1,
    ...                trained_slots=(0, 8191), points=8000)
    >>> ModelRecord(stream="web.cpu", promoted=ref, announced_at="2026-01-31T12:00:00Z").promoted.version
    'v1'
    """

    stream: StreamName
    promoted: ModelRef | None = None
    shadow: ModelRef | None = None
    previous: ModelRef | None = Field(None, description="what a rollback returns to")
    announced_at: str

    def rolled_back(self, announced_at: str) -> "ModelRecord | None":
        """Promoted and previous change places; None when there is nothing to return to."""
        if self.previous is None:
            return None
        places = {"promoted": self.previous, "previous": self.promoted, "shadow": None}
        return self.model_copy(update={**places, "announced_at": announced_at})


Verdict = Literal["false_alarm", "true", "maintenance"]


class Feedback(Contract):
    """`feedback`: a person's verdict on an incident.

    >>> Feedback(incident_id="5b2e…", stream="web.cpu", verdict="false_alarm").verdict
    'false_alarm'
    """

    incident_id: str
    stream: StreamName
    verdict: Verdict
    note: str | None = None
    at: str | None = None

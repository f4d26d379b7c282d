"""One replay: what is learnt from goes first, then step by step what is judged, as fast as workers are done with it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from redis.exceptions import RedisClusterException, RedisError

from detector.live.settings import WorkerSettings
from detector.model.artefact import ArtefactStore
from streamer.contracts import AnomalyEvent, ModelRecord, StreamSettings
from streamer.errors import AnomalyLLMError, UnavailableError
from streamer.kafka.client import kafka_name, make_producer
from streamer.kafka.publishing import Batch, publish
from streamer.kafka.sending import Outgoing, send
from streamer.overview.bands import Look
from streamer.placement import home_partition
from streamer.redis_client import redis_name
from streamer.refusals import raise_if_refused
from streamer.settings import CommandSettings
from streamer.windows.header import StreamHeader
from trainer.fit.run import PASSED
from trainer.replay.following import Follower
from trainer.replay.pictures import MAX_STREAMS, Pictures
from trainer.replay.recorded import Recording
from trainer.replay.silence import silences
from trainer.replay.stage import Stage, stage
from trainer.report.learnt import learnt_of

# Slots of the fastest stream between two pauses in which models catch up: a live stream asks for none more often.
STEP_SLOTS = 256


@dataclass(frozen=True)
class Plan:
    """What is replayed. Instants in ns; points before `judged_from` are learnt from."""

    recording: Recording
    own: Mapping[str, StreamSettings]
    judged_from_ns: int
    end_ns: int


@dataclass(frozen=True)
class Where:
    """Where it plays, and how."""

    settings: CommandSettings
    embedded: bool
    workers: dict[str, str]  # settings of workers
    keep: bool = False


class Show(Protocol):
    """Where progress is shown."""

    def phase(self, text: str) -> None:
        """A new phase."""
        ...

    def reached(self, share: float, text: str) -> None:
        """How much of what is judged is done."""
        ...


@dataclass
class Outcome:
    """What came of it."""

    plan: Plan
    prefix: str
    namespace: str
    events: list[AnomalyEvent] = field(default_factory=list)  # each incident as it was in the end, by onset
    looks: dict[str, Look] = field(default_factory=dict)
    learnt: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    unjudged: dict[str, str] = field(default_factory=dict)  # streams that nothing could judge, and why
    dead: Counter[str] = field(default_factory=Counter)
    dead_example: dict[str, str] = field(default_factory=dict)

    @property
    def alerts(self) -> list[AnomalyEvent]:
        """Without those that late data have taken back, and what is no alert."""
        return [e for e in self.events if e.data.state != "retracted" and e.data.kind in ("anomaly", "no_data")]


async def replay(where: Where, plan: Plan, show: Show) -> Outcome:
    """Play it. Raises ConfigError, UnavailableError, RefusedError, ProcessDiedError."""
    settings = where.settings
    try:
        return await _on_stage(where, plan, show)
    except (KafkaError, RedisError, RedisClusterException) as error:
        name = kafka_name(settings) if isinstance(error, KafkaError) else redis_name(settings)
        raise_if_refused(name, error)
        raise UnavailableError(f"{name} failed while it was replayed: {type(error).__name__}: {error}") from error


async def _on_stage(where: Where, plan: Plan, show: Show) -> Outcome:
    show.phase("starting " + ("broker, Redis and " if where.embedded else "") + "workers of its own")
    async with stage(where.settings, where.embedded, where.workers, where.keep) as made:
        producer = await make_producer(made.settings)
        follower = Follower(made)
        try:
            await follower.start()
            return await _played(_Play(made, plan, producer, follower), show)
        finally:
            await follower.stop()
            await producer.stop()


@dataclass
class _Play:
    stage: Stage
    plan: Plan
    producer: AIOKafkaProducer
    follower: Follower
    sent: Counter[int] = field(default_factory=Counter)  # records by partition

    async def settings(self) -> None:
        """Settings of streams, before their points."""
        made = self.stage.settings
        records = [
            Outgoing(made.topic("streams"), own.model_dump_json(exclude_unset=True).encode(), stream.encode())
            for stream, own in self.plan.own.items()
        ]
        await send(made, self.producer, records)

    async def publish(self, batches: Iterable[Batch], history: bool) -> None:
        """Send, and wait until the workers are done with it."""
        settings = self.stage.settings

        def count(batch: Batch) -> None:
            self.sent[home_partition(batch.stream, settings.partitions, settings.partitioner)] += 1

        await publish(self.producer, settings, batches, "yes" if history else "no", count)
        await self.follower.settled(self.sent)


async def _played(play: _Play, show: Show) -> Outcome:
    plan, follower = play.plan, play.follower
    recording = plan.recording
    pictures = Pictures(play.stage, plan.own, plan.judged_from_ns)
    few = list(recording.parts) if len(recording.parts) <= MAX_STREAMS else []
    await play.settings()
    play.stage.workers.start()
    show.phase("learning from what lies before")
    await play.publish(recording.batches(0, plan.judged_from_ns), history=True)
    step_ns = STEP_SLOTS * min((i for i in map(recording.interval_ns, recording.parts) if i), default=10**9)
    show.phase("replaying")
    at_ns = recording.next_after(plan.judged_from_ns)
    while at_ns is not None and at_ns < plan.end_ns:
        until_ns = min(at_ns + step_ns, plan.end_ns)
        await play.publish(recording.batches(at_ns, until_ns), history=False)
        if few:
            await pictures.take(few, follower.models)
        show.reached(
            (until_ns - plan.judged_from_ns) / max(plan.end_ns - plan.judged_from_ns, 1),
            f"{len(follower.incidents)} alerts",
        )
        at_ns = recording.next_after(until_ns)
    show.phase("drawing")
    return await _outcome(play, pictures)


async def _outcome(play: _Play, pictures: Pictures) -> Outcome:
    plan, follower, settings = play.plan, play.follower, play.stage.settings
    outcome = Outcome(plan, settings.topic_prefix, settings.namespace, dead=follower.dead)
    outcome.dead_example = follower.dead_example
    headers = await pictures.headers(plan.recording.parts)
    judged = {name: header for name, header in headers.items() if header.state == "grid"}
    outcome.unjudged = {name: _why_not(headers.get(name)) for name in plan.recording.parts if name not in judged}
    instants = {name: plan.recording.instants(name) for name in judged}
    least_s: float = WorkerSettings.model_fields["no_data_min_s"].default
    stopped = silences(instants, judged, plan.own, least_s, plan.judged_from_ns, plan.end_ns)
    outcome.events = sorted(
        [*follower.incidents.values(), *stopped], key=lambda event: (event.data.started_at, event.id)
    )
    drawn = dict.fromkeys([*(event.data.stream for event in outcome.alerts), *judged])
    names = [name for name in drawn if name in judged][:MAX_STREAMS]
    await pictures.take(names, follower.models, least=1)
    store = ArtefactStore(settings.store_uri(), settings.state_dir / "cache")
    for name in names:
        look = pictures.whole(name)
        if look is not None:
            outcome.looks[name] = look
            outcome.learnt[name] = _learnt(store, follower.models.get(name), look)
    return outcome


def _why_not(header: StreamHeader | None) -> str:
    if header is None or header.state == "waiting":
        return "too few points to find its interval (33 are needed): give --interval-s"
    return "its time stamps follow no interval: give --interval-s"


def _learnt(store: ArtefactStore, record: ModelRecord | None, look: Look) -> list[tuple[str, str]]:
    """Facts of the student in force; that there is none, and why."""
    ref = record.promoted if record is not None else None
    gate = PASSED
    if record is None:
        gate = "no student was fitted: too little history"
    elif record.shadow is not None and record.shadow.refused:
        gate = f"the newest student was refused: {record.shadow.refused}"
    try:
        student = None if ref is None else store.read(ref.uri, ref.sha256, [ref.row])[0]
    except AnomalyLLMError as error:
        student, gate = None, str(error)
    return learnt_of(student, look.header.interval_ns, look.threshold, gate, look.header.scale)

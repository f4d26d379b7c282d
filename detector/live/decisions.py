"""What one batch decides, partition by partition: states to write and messages to send."""

import time

from detector.incidents.episode import EndReason
from detector.incidents.events import DELETED, Context, anomaly_event, no_data_event, unjudged_event
from detector.incidents.machine import Transition, end
from detector.incidents.record import NoData, StreamState, Unjudged
from detector.live.outbox import Message, Outbox
from detector.live.settings import WorkerSettings
from detector.live.streams import OwnedStreams
from streamer.contracts import (
    AnomalyEvent,
    IncidentState,
    StreamSettings,
    TrainingRequest,
)
from streamer.timestamps import format_ns
from streamer.tracing import carried
from streamer.windows.keys import Keys
from streamer.windows.ledger import Ops


class PartitionDecisions:
    """One partition's share."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.touched: set[str] = set()
        self.deleted: set[str] = set()


class Decisions:
    """Collects what a batch decides; writes and sends nothing."""

    def __init__(self, settings: WorkerSettings, streams: OwnedStreams) -> None:
        self.parts: dict[int, PartitionDecisions] = {}
        self.alerts = 0  # incidents opened
        self._settings = settings
        self._streams = streams
        self._now_ns = time.time_ns()

    def part(self, stream: str) -> PartitionDecisions:
        """What concerns the stream's home partition."""
        return self.parts.setdefault(self._streams.partition(stream), PartitionDecisions())

    def touch(self, stream: str) -> None:
        """Write the stream's state."""
        self._streams.census.mark(stream)
        self.part(stream).touched.add(stream)

    def delete(self, stream: str) -> None:
        """Remove the stream's state; a tombstone on `models` makes every worker forget its model."""
        self.part(stream).deleted.add(stream)
        self.part(stream).touched.discard(stream)
        self._post(stream, Message(self._settings.topic("models"), None, stream, None))

    def announce(
        self, stream: str, stream_state: StreamState, settings: StreamSettings, transition: Transition
    ) -> None:
        """An anomaly's event, where the fleet's budget lets it be; what it covers is never learnt from, unless it is the
        new normal."""
        stream_state.settle(transition)
        audible = self._streams.budget.audible(stream, stream_state, settings.tenant or "", transition)
        if audible is not None:
            self._event(stream, anomaly_event(stream, stream_state, audible, self._context(stream, settings)))

    def cannot_judge(
        self, stream: str, stream_state: StreamState, settings: StreamSettings, slot: int, why: str
    ) -> None:
        """Nothing judges the stream any more: its open incident ends, and says so."""
        if stream_state.tracker.incident is not None:
            ended = end(stream_state.tracker, slot, "unjudged")
            ended.episode.evidence = {**ended.episode.evidence, "unjudged": why}
            self.announce(stream, stream_state, settings, ended)
            self.touch(stream)

    def close(
        self, stream: str, stream_state: StreamState, settings: StreamSettings, reason: EndReason = "grid"
    ) -> None:
        """Resolve whatever is open: the grid is another one now, or the stream is deleted."""
        if stream_state.tracker.incident is not None:
            self.announce(stream, stream_state, settings, end(stream_state.tracker, stream_state.scored, reason))
        if stream_state.no_data is not None:
            slot = DELETED if reason == "deleted" else stream_state.no_data.anchor
            self.no_data(stream, stream_state, settings, "resolved", slot)
        if stream_state.unjudged is not None:
            self.unjudged(stream, stream_state, settings, stream_state.scored, reason)

    def no_data(
        self, stream: str, stream_state: StreamState, settings: StreamSettings, state: IncidentState, slot: int
    ) -> None:
        """Publish the no-data incident that the state holds: open it, tell what has changed, or resolve it."""
        silence = stream_state.no_data
        assert isinstance(silence, NoData)
        if state != "open":
            silence.revision += 1
        if state == "resolved":
            stream_state.no_data = None
        self._event(stream, no_data_event(stream, stream_state, silence, state, slot, self._context(stream, settings)))
        self.touch(stream)

    def unjudged(
        self, stream: str, stream_state: StreamState, settings: StreamSettings, slot: int, over: EndReason | None = None
    ) -> None:
        """Tell that the stream is not judged, as its state has it, or that this is over, and why."""
        unjudged = stream_state.unjudged
        assert isinstance(unjudged, Unjudged)
        if over is not None:
            unjudged.revision += 1
            stream_state.unjudged = None
        self._event(stream, unjudged_event(stream, stream_state, unjudged, slot, self._context(stream, settings), over))
        self.touch(stream)

    def request(self, request: TrainingRequest) -> None:
        """Ask for training."""
        topic = self._settings.topic("training")
        self._post(request.stream, Message(topic, None, request.stream, request.model_dump_json()))
        self.touch(request.stream)

    def publish(self, event: AnomalyEvent) -> None:
        """Publish an event that is made already."""
        self._event(event.subject, event)

    def now(self) -> str:
        """The moment of this batch, RFC 3339."""
        return format_ns(self._now_ns)

    @property
    def now_ms(self) -> int:
        """The moment of this batch, Unix milliseconds."""
        return self._now_ns // 1_000_000

    def ops(self, part: PartitionDecisions, keys: Keys, sent: set[int]) -> Ops:
        """The writes of one partition; `sent` are the shards whose outbox has been sent."""
        ops = Ops()
        for stream in part.touched:
            shard, stream_state = self._streams.shard(stream), self._streams.states[stream]
            entry = self._streams.entries.get(stream)
            if entry is not None and entry.grid_version == stream_state.grid_version:
                stream_state.scored = entry.scored
            stream_state.stand(stream)
            ops.shard(shard).set(keys.stream_state(shard, stream), stream_state.to_json())
        for stream in part.deleted:
            shard = self._streams.shard(stream)
            ops.shard(shard).delete(keys.stream_state(shard, stream))
        part.outbox.store(ops, keys, sent)
        return ops

    def _context(self, stream: str, settings: StreamSettings) -> Context:
        source = f"anomalyllm/{self._settings.namespace}"
        return Context(source, self._streams.partition(stream), settings, self._now_ns)

    def _event(self, stream: str, event: AnomalyEvent) -> None:
        if event.data.state == "open" and event.data.kind != "unjudged":
            self.alerts += 1
        topic = self._settings.topic("anomalies")
        context = tuple((name, value.decode()) for name, value in carried())
        partition = self._streams.partition(stream)
        self._post(stream, Message(topic, partition, stream, event.model_dump_json(), context))

    def _post(self, stream: str, message: Message) -> None:
        self.part(stream).outbox.append(self._streams.shard(stream), message)

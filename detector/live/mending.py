"""What the detector does when Redis has lost data: it goes on where it was, and closes what it knows nothing of any more.

The streamer rebuilds the windows (streamer/kafka/ownership.py), as history: nothing of it is judged again. What is
lost for good is the state of streams, with the incidents that were open. Subscribers still hold these open, so they
are read back from `anomalies` and resolved, with the end reason `lost`; what is still wrong opens anew.
"""

import orjson
import structlog

from detector.incidents.machine import Tracker
from detector.live.decisions import Decisions
from detector.live.finishing import Finishing
from detector.live.settings import WorkerSettings
from detector.live.silence_watch import SilenceWatch
from detector.live.streams import OwnedStreams
from streamer.contracts import OVER, AnomalyEvent
from streamer.host.losses import Losses
from streamer.host.worker import Servers
from streamer.kafka.ownership import Ownership
from streamer.kafka.tables import TableReader
from streamer.placement import shards_of_partition

log = structlog.get_logger(__name__)


class Mending:
    """Partitions whose state Redis has lost, and their mending."""

    def __init__(
        self,
        settings: WorkerSettings,
        servers: Servers,
        streams: OwnedStreams,
        watch: SilenceWatch,
        owner: Ownership,
        finishing: Finishing,
    ) -> None:
        self._losses = Losses(settings, servers.redis, servers.producer, servers.keys, servers.stats)
        self._settings = settings
        self._streams = streams
        self._watch = watch
        self._owner = owner
        self._finishing = finishing
        self.lost: set[int] = set()  # still to be mended

    def note(self, partition: int, known: int) -> None:
        """Redis is behind `known`, the next offset of a partition of `windows`."""
        self._losses.note(self._settings.topic("windows"), partition, known)
        self.lost.add(partition)

    async def mend(self) -> None:
        """Mend what is lost of the partitions that are ours; a part that fails is tried again in the next turn.

        Raises redis.RedisError when Redis is away.
        """
        self.lost &= self._owner.owned
        for partition in sorted(self.lost):
            self.lost.discard(partition)
            if not await self._mend(partition):
                self.lost.add(partition)
        await self._losses.report()

    async def _mend(self, partition: int) -> bool:
        self._streams.drop_partition(partition)
        self._watch.silence.lose(partition)  # its streams are watched again from their next live data on
        await self._finishing.adopt(partition)
        decisions = Decisions(self._settings, self._streams)
        headers = await self._streams.headers(shards_of_partition(partition, self._settings.partitions))
        await self._streams.load_states(list(headers))
        for stream, header in headers.items():
            state = self._streams.states.get(stream)
            grid = (header.grid_version, header.phase_ns)
            if state is not None and (state.grid_version, state.phase_ns) == grid:  # as old as what was restored
                state.tracker, state.no_data, state.unjudged = Tracker(), None, None
                state.scored = max(state.scored, header.history_hi)
                decisions.touch(stream)
        open_events = await self._open_events(partition)
        for event in open_events:
            decisions.publish(event)
        if not await self._finishing.finish(decisions):
            return False
        self._streams.drop_partition(partition)
        log.warning("state of streams was lost, going on", partition=partition, incidents_closed=len(open_events))
        return await self._finishing.settle(partition)

    async def _open_events(self, partition: int) -> list[AnomalyEvent]:
        """For each incident that subscribers hold open: the event that closes it."""
        newest: dict[str, bytes] = {}
        table = TableReader(self._settings, "anomalies", only=[partition])
        try:
            await table.start()
            async for record in table.to_end():
                try:
                    data = orjson.loads(record.value or b"")["data"]
                    over = data["state"] in OVER or data["ended_at"] is not None
                    key = data["incident_id"]
                except (orjson.JSONDecodeError, KeyError, TypeError):  # not one of ours
                    continue
                newest.pop(key, None)
                if not over:
                    newest[key] = record.value
        finally:
            await table.stop()
        events = [AnomalyEvent.model_validate_json(raw) for raw in newest.values()]
        return [_closing(event) for event in events if self._streams.partition(event.subject) == partition]


def _closing(event: AnomalyEvent) -> AnomalyEvent:
    """The next revision of an open incident: over, because nothing is known of it any more."""
    before = event.data
    incident = before.model_copy(
        update={
            "revision": before.revision + 1,
            "state": "resolved",
            "ended_at": before.updated_at,
            "end_reason": "lost",
            "reason": f"closed, because Redis has lost what was known of it; before: {before.reason}",
        }
    )
    return event.model_copy(
        update={
            "id": f"{incident.incident_id}:{incident.revision}",
            "type": "anomalyllm.incident.resolved",
            "data": incident,
        }
    )

"""What a sink wants to tell: records of `anomalies` become deliveries, the newest revision of each incident."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import structlog
from aiokafka import ConsumerRecord

from streamer.contracts import AnomalyEvent
from streamer.errors import ContractError
from streamer.sinks.cloudevents import SPECVERSION, read_event
from streamer.sinks.config import SinksFile
from streamer.sinks.deliveries import Delivery, over

log = structlog.get_logger(__name__)
# A closed incident is remembered for this long, so that late data's revisions of it find what was told.
REMEMBER_S = 6 * 3_600.0


class Intake:
    """Routes and filters of one sink, and its deliveries in memory: partition → incident → delivery."""

    def __init__(self, file: SinksFile, sink: str, clock: Callable[[], float]) -> None:
        self.deliveries: dict[int, dict[str, Delivery]] = {}
        self.counts: defaultdict[str, float] = defaultdict(float)
        self.began = 0.0  # the sink's first start: what ended before it is not told
        self._file = file
        self._sink = sink
        self._clock = clock

    def take(
        self, partition: int, records: Sequence[ConsumerRecord]
    ) -> tuple[dict[str, Delivery], list[tuple[ConsumerRecord, ContractError]]]:
        """Deliveries that these records change, and records that are no incidents."""
        touched: dict[str, Delivery] = {}
        dead: list[tuple[ConsumerRecord, ContractError]] = []
        for record in records:
            try:
                event = read_event(record.value, record.headers)
            except ContractError as error:
                dead.append((record, error))
                continue
            delivery = self._want(partition, record, event)
            if delivery is not None:
                touched[event.data.incident_id] = delivery
        self.counts["records_in"] += len(records)
        self.counts["dead_letters"] += len(dead)
        return touched, dead

    def _want(self, partition: int, record: ConsumerRecord, event: AnomalyEvent) -> Delivery | None:
        incident, now = event.data, self._clock()
        table = self.deliveries[partition]
        known = table.get(incident.incident_id)
        wanted = self._file.wants(self._sink, incident)
        structured = not any(name.lower() == SPECVERSION for name, _ in record.headers)
        raw = record.value.decode() if structured else event.model_dump_json()
        written = record.timestamp / 1000 if record.timestamp > 0 else now
        early = over(incident) and written < self.began
        if known is None:
            unheard = incident.state in ("retracted", "revised") and over(incident)  # of what was never told
            if not wanted or incident.historic or unheard or early:
                self.counts["before_start" if early else "not_wanted"] += 1
                return None
            known = table[incident.incident_id] = Delivery(
                event=event, raw=raw, partition=partition, offset=record.offset,
                timestamp_ms=record.timestamp, since=now, key=incident.incident_id,
            )  # fmt: skip
        else:
            if incident.revision <= known.incident.revision:
                self.counts["repeated"] += 1
                return None
            if not known.pending:
                known.since = now
            known.event, known.raw, known.ended_at = event, raw, None
            known.offset, known.timestamp_ms = record.offset, record.timestamp
        if known.sent is None and not known.tried and (early or not wanted):
            known.settle(incident.revision, now)
        return known

    def all(self) -> list[Delivery]:
        """All deliveries."""
        return [delivery for table in self.deliveries.values() for delivery in table.values()]

    def pending(self) -> int:
        """How many have something to tell."""
        return sum(delivery.pending for delivery in self.all())

    def forgettable(self) -> list[Delivery]:
        """Settled for good, long ago."""
        oldest = self._clock() - REMEMBER_S
        return [d for d in self.all() if d.ended_at is not None and d.ended_at < oldest and not d.pending]

"""What a replay's topics say, and whether its workers are done with all that they were given."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from pydantic import ValidationError

from streamer.contracts import AnomalyEvent, ModelRecord
from streamer.errors import UnavailableError
from streamer.kafka.client import fetch, header, kafka_name, make_consumer
from streamer.kafka.topics import partitions_of
from streamer.overview.cluster import read_committed
from streamer.patience import patiently
from trainer.replay.stage import Stage

TOPICS = ("windows", "training", "models", "anomalies", "dead-letters")
POLL_MS = 30


class Follower:
    """Reads the topics that workers write: incidents, models, dead letters."""

    def __init__(self, stage: Stage) -> None:
        self.incidents: dict[str, AnomalyEvent] = {}  # newest revision of each, by id
        self.models: dict[str, ModelRecord] = {}
        self.dead: Counter[str] = Counter()
        self.dead_example: dict[str, str] = {}
        self._stage = stage
        self._settings = stage.settings
        self._partitions: list[TopicPartition] = []
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Stand at the beginning of all. Raises UnavailableError, RefusedError."""
        consumer = self._consumer = await make_consumer(self._settings, None)
        # Brokers hear of new topics a moment after they have been made.
        self._partitions = await patiently(
            kafka_name(self._settings),
            lambda: partitions_of(consumer, *map(self._settings.topic, TOPICS)),
            (UnavailableError,),
            give_up_after_s=self._settings.timeout,
        )
        consumer.assign(self._partitions)
        await consumer.seek_to_beginning(*self._partitions)

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def settled(self, sent: Mapping[int, int]) -> None:
        """Wait until the workers are done with the first `sent` records of each partition of `metrics`, and all that follows.

        A streamer commits when what it announces is acknowledged, a detector when its alerts and requests are, a trainer
        when its models are: so each topic's end is final once the stage before has committed. Raises ProcessDiedError,
        UnavailableError, RefusedError.
        """
        metrics = self._settings.topic("metrics")
        await self._committed("streamer", {TopicPartition(metrics, p): count for p, count in sent.items() if count})
        await self._committed("detector", await self._ends("windows"))
        await self._committed("trainer", await self._ends("training"))
        await self._ends(*TOPICS)

    async def _committed(self, room: str, ends: Mapping[TopicPartition, int]) -> None:
        wanted = {partition: end for partition, end in ends.items() if end}
        while wanted:
            group = self._settings.topic_prefix + room
            found = await read_committed(self._settings, self._stage.admin, group, wanted)
            if all(found.get(partition, 0) >= end for partition, end in wanted.items()):
                return
            await self._poll()

    async def _ends(self, *topics: str) -> dict[TopicPartition, int]:
        """Ends of topics as of now, when everything up to them has been taken in: of a fetch that began after the call."""
        names = [self._settings.topic(topic) for topic in topics]
        wanted = [partition for partition in self._partitions if partition.topic in names]
        assert self._consumer is not None
        consumer = self._consumer
        # The first answer may have been under way already; the second was asked for after it.
        for _ in range(2):
            before = {partition: consumer.last_poll_timestamp(partition) for partition in wanted}
            while any(consumer.last_poll_timestamp(partition) == at for partition, at in before.items()):
                await self._poll()
        ends = {partition: consumer.highwater(partition) or 0 for partition in wanted}
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            await self._poll()
        return ends

    async def _poll(self) -> None:
        assert self._consumer is not None
        self._stage.workers.check()
        for records in (await fetch(self._settings, self._consumer, POLL_MS)).values():
            for record in records:
                self._take(record)
        await asyncio.sleep(0)

    def _take(self, record: ConsumerRecord) -> None:
        topic = record.topic.removeprefix(self._settings.topic_prefix)
        try:
            if topic == "anomalies":
                event = AnomalyEvent.model_validate_json(record.value or b"")
                known = self.incidents.get(event.data.incident_id)
                if known is None or known.data.revision < event.data.revision:
                    # All of it lies in the past here: what counts is what it was then.
                    data = event.data.model_copy(update={"historic": False})
                    self.incidents[event.data.incident_id] = event.model_copy(update={"data": data})
            elif topic == "models" and record.value is not None:
                model = ModelRecord.model_validate_json(record.value)
                self.models[model.stream] = model
        except ValidationError as error:
            self._bury(f"{topic} contract", str(error))
        if topic == "dead-letters":
            self._bury(header(record, "error") or "unknown", header(record, "message") or "")

    def _bury(self, reason: str, message: str) -> None:
        self.dead[reason] += 1
        self.dead_example.setdefault(reason, message)

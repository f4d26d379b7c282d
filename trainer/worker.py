"""The trainer worker: `training` requests in, artefacts and `models` records out.

A request is committed after its model is announced; until then a restart does it again, which announces an equal
student once more. Retriable trouble (Redis, Kafka or the store away) is waited out; what cannot be trained is dropped
with a log line and counted.
"""

import asyncio
import time
from functools import partial

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from detector.live.followed import FollowedModels
from detector.model.opening import open_store
from detector.model.store_errors import StoreError
from streamer.contracts import ModelRecord, TrainingRequest
from streamer.errors import ContractError
from streamer.host.worker import Servers, run_process, run_worker
from streamer.kafka.client import FOLLOW_MAX_WAIT_MS, fetch, kafka_name, make_consumer
from streamer.kafka.cluster import ClusterCheck
from streamer.kafka.dead_letters import DeadLetter, bury
from streamer.kafka.ownership import backlog, commit
from streamer.kafka.sending import Outgoing, send_patiently
from streamer.kafka.stream_settings import StreamSettingsTable
from streamer.metrics import DELAY, TRAINING_RUN
from streamer.parsing import parse
from streamer.patience import patiently
from streamer.stopping import Stop
from trainer.announce import files_of, orphans, unneeded
from trainer.fit.agreed import load_teacher
from trainer.jobs import merge
from trainer.run import TrainingRun
from trainer.settings import TrainerSettings

log = structlog.get_logger(__name__)
GROUP = "trainer"
POLL_MS = 500
BATCH_REQUESTS = 512  # fitted in one run, at most: 16 MB of full rings, and nine minutes at a second a fit
GATHER_S = 0.3  # how long a run waits for more after the first: a stream waits for its model for seconds anyway
SWEEP_S = 600.0  # how often unneeded artefacts are looked for


class TrainerWorker:
    """Runs until `stop` is called: finishes the run it is at if that takes no longer than a moment, and ends."""

    def __init__(self, settings: TrainerSettings) -> None:
        self.settings = settings
        self.stopping = Stop()
        self._deleted: list[str] = []
        self._replaced: set[str] = set()  # artefacts that streams have left; deleted once all have
        self._of_others: set[str] = set()  # old artefacts in the store that are not ours to delete
        self._next_sweep = time.monotonic() + SWEEP_S
        self._consumer: AIOKafkaConsumer | None = None
        self._oldest_ms = 0  # record time stamp of the oldest request at work

    def stop(self) -> None:
        """Finish what can be finished in a moment, and end; the rest is asked for again by Kafka."""
        self.stopping.request()

    async def run(self) -> None:
        """Work until stopped; waits and retries when Kafka, Redis or the store is away. Raises RefusedError."""
        await run_worker(self.settings, "trainer", self.stopping, self._boot, self._turn)

    def _zone_of(self, stream: str) -> str | None:
        own = self.stream_settings.of.get(stream)
        return own.timezone if own is not None else None

    async def _boot(self, servers: Servers) -> None:
        settings = self.settings
        self.stats, self.producer = servers.stats, servers.producer
        for count in ("students_trained", "jobs", "updates", "failed", "shadows"):
            self.stats.counts[count] = 0
        store = await open_store(settings)
        teacher = await asyncio.to_thread(load_teacher, settings)
        self.cluster = ClusterCheck(settings)
        self.training_run = TrainingRun(settings, servers.redis, servers.keys, store, teacher, zone_of=self._zone_of)
        self.models = FollowedModels(settings, lambda stream: True)
        self.stream_settings = StreamSettingsTable(settings, self._deleted.append)
        servers.closes(self.stream_settings.stop, self.models.stop)
        self._belongs_to(await self.cluster.learn())
        self._reporting = asyncio.create_task(self._report())
        servers.closes(self._end_reporting)
        await self._start_consumer(servers)
        await self.stream_settings.start()
        await self.models.start()
        log.info("models known", models=len(self.models.known))

    def _belongs_to(self, cluster: str) -> None:
        self.training_run.deployment = f"{cluster}/{self.settings.topic_prefix}"

    async def _start_consumer(self, servers: Servers) -> None:
        settings = self.settings
        topic, group = settings.topic("training"), settings.topic_prefix + GROUP
        fixed = settings.fixed_partitions()
        topics = [topic] if fixed is None else []
        self.consumer = await make_consumer(settings, group, *topics, wait_ms=FOLLOW_MAX_WAIT_MS)
        servers.closes(self.consumer.stop)
        partitions = [TopicPartition(topic, p) for p in fixed or ()]
        if partitions:
            self.consumer.assign(partitions)
        for partition in partitions:
            committed = await patiently(kafka_name(settings), partial(self.consumer.committed, partition))
            self.consumer.seek(partition, committed or 0)
        self._consumer = self.consumer

    async def _report(self) -> None:
        """Stats go on while a run takes its time."""
        while True:
            if self._consumer is not None:
                self.stats.facts.update(await self._reads(self._consumer))
            await self.stats.publish()
            await asyncio.sleep(1.0)

    async def _reads(self, consumer: AIOKafkaConsumer) -> dict[str, object]:
        """What it reads at the moment, as the other workers report it."""
        waiting = await backlog(consumer)
        return {
            "topic": self.settings.topic("training"),
            "group": self.settings.topic_prefix + GROUP,
            "partitions": sorted(partition.partition for partition in consumer.assignment()),
            "lag": {str(partition): records for partition, records in waiting.items()},
            "lag_s": round(time.time() - self._oldest_ms / 1000, 3)
            if self._oldest_ms and any(waiting.values())
            else 0.0,
        }

    async def _end_reporting(self) -> None:
        self._reporting.cancel()
        await asyncio.gather(self._reporting, return_exceptions=True)

    async def _turn(self) -> None:
        if self._reporting.done():
            await self._reporting  # Redis refuses
        await self.models.poll()
        await self.stream_settings.poll()
        await self._delete()
        records = await self._fetch(POLL_MS)
        if not records:
            if await self.cluster.replaced():
                await self._begin_again()
            await self._sweep()
            return
        # Streams become due together: what comes within a moment is one run.
        deadline = time.monotonic() + GATHER_S
        while len(records) < BATCH_REQUESTS and time.monotonic() < deadline:
            records += await self._fetch(max(1, int((deadline - time.monotonic()) * 1000)))
        await self._batch(records)

    async def _fetch(self, timeout_ms: int) -> list[ConsumerRecord]:
        batches = await fetch(self.settings, self.consumer, timeout_ms, BATCH_REQUESTS)
        return [record for records in batches.values() for record in records]

    async def _batch(self, records: list[ConsumerRecord]) -> None:
        requests: list[TrainingRequest] = []
        for record in records:
            try:
                requests.append(parse(TrainingRequest, record.value, "training request"))
            except ContractError as error:
                self.stats.counts["failed"] += 1
                log.warning("training request refused", offset=record.offset, error=str(error))
                await bury(self.settings, self.producer, [DeadLetter(record, error.reason, str(error))])
        jobs = merge(requests)
        begin = time.perf_counter()
        self._oldest_ms = min(record.timestamp for record in records)
        if jobs:
            log.info("training", streams=len(jobs), requests=len(requests))
            await self.models.poll()
            outcome = await self.training_run.work(jobs, self.models.known)
            for stream, why in outcome.dropped.items():
                log.warning("training request dropped", stream=stream, reason=why)
            await self._announce(outcome.records)
            counts = self.stats.counts
            counts["jobs"] += len(jobs)
            counts["students_trained"] += outcome.trained
            counts["updates"] += outcome.updated
            counts["failed"] += len(outcome.dropped)
            counts["shadows"] += sum(record.shadow is not None for record in outcome.records.values())
            TRAINING_RUN.observe(time.perf_counter() - begin)
        await self._commit(records)
        DELAY.labels(GROUP).observe(max(0.0, time.time() - self._oldest_ms / 1000))
        self._oldest_ms = 0

    async def _announce(self, records: dict[str, ModelRecord]) -> None:
        topic = self.settings.topic("models")
        await send_patiently(
            self.settings,
            self.producer,
            [Outgoing(topic, record.model_dump_json().encode(), stream.encode()) for stream, record in records.items()],
        )
        # Our own record comes back on the topic; a request in the next batch must not see the one before it.
        for stream, record in records.items():
            self._replaced |= files_of(self.models.known.get(stream))
            self.models.known[stream] = record

    async def _commit(self, records: list[ConsumerRecord]) -> None:
        newest: dict[TopicPartition, int] = {}
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            newest[partition] = max(newest.get(partition, 0), record.offset + 1)
        await commit(self.settings, self.consumer, newest)

    async def _delete(self) -> None:
        """A deleted stream's model goes, too."""
        while self._deleted:
            stream = self._deleted.pop()
            if self.models.known.pop(stream, None) is not None:
                tombstone = Outgoing(self.settings.topic("models"), None, stream.encode())
                await send_patiently(self.settings, self.producer, [tombstone])
                log.info("model deleted with its stream", stream=stream)

    async def _begin_again(self) -> None:
        """Another cluster, with an empty log."""
        self._belongs_to(self.cluster.known)
        self.models.known.clear()
        await self.models.rewind()
        await self.stream_settings.rewind()
        await self.consumer.seek_to_beginning()

    async def _sweep(self) -> None:
        """Delete artefacts that no record refers to any more: after an hour those that this worker saw replaced, after a
        day all others of this deployment.
        """
        if time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + SWEEP_S
        store = self.training_run.store
        try:
            for name in unneeded(self._replaced, self.models.known.values()):
                await asyncio.to_thread(store.remove, name)
                self._replaced.discard(name)
                log.info("artefact deleted", artefact=name)
            known = list(self.models.known.values())
            deployment = self.training_run.deployment
            for name in await asyncio.to_thread(orphans, store, known, deployment, self._of_others):
                await asyncio.to_thread(store.remove, name)
                self.stats.counts["orphans_deleted"] += 1
                log.info("artefact deleted: no model record names it", artefact=name)
        except StoreError as error:
            log.warning("artefacts not swept", error=str(error))


def run(settings: TrainerSettings) -> None:
    """Run one trainer worker as this process until it is asked to end."""
    worker = TrainerWorker(settings)
    run_process(settings, "trainer", worker.run, worker.stopping)

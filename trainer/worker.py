"""The trainer worker: `training` requests in, artefacts and `models` records out.

A request is committed after its model is announced; until then a restart does it again, which announces an equal
student once more. Retriable trouble (Redis, Kafka or the store away) is waited out; what cannot be trained is dropped
with a log line and counted.
"""

import asyncio
import signal
import time
from functools import partial

import redis.asyncio
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from detector.live.followed import FollowedModels
from detector.model.artefact import ArtefactStore, StoreError
from detector.model.teacher import load_teacher
from streamer.contracts import ModelRecord, TrainingRequest
from streamer.errors import ContractError
from streamer.host.logs import configure_logs
from streamer.host.stats import Stats
from streamer.kafka.client import RETRIABLE, cluster_id, make_consumer, make_producer, patiently
from streamer.kafka.dead_letters import dead_letter
from streamer.kafka.stream_settings import StreamSettingsTable
from streamer.kafka.topics import provision
from streamer.windows.keys import Keys
from trainer.announce import files_of, unneeded
from trainer.jobs import merge, parse
from trainer.run import REDIS_ERRORS, TrainingRun
from trainer.settings import TrainerSettings

log = structlog.get_logger(__name__)
GROUP = "trainer"
POLL_MS = 500
CLUSTER_CHECK_S = 2.0  # an embedded broker that was restarted has an empty log and another identity
SWEEP_S = 600.0  # how often unneeded artefacts are looked for


class TrainerWorker:
    """Runs until `stop` is called (or SIGTERM, SIGINT): finishes the run in hand, announces and commits it."""

    def __init__(self, settings: TrainerSettings) -> None:
        self.settings = settings
        self.keys = Keys(settings.namespace)
        self._stopping = asyncio.Event()
        self._deleted: list[str] = []
        self._replaced: set[str] = set()  # artefacts that streams have left; deleted once all have
        self._next_check = 0.0
        self._next_sweep = time.monotonic() + SWEEP_S

    def stop(self) -> None:
        """Finish the run in hand, commit, and end."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stop)
        settings = self.settings
        self.redis = redis.asyncio.Redis.from_url(settings.redis_url)
        try:
            await patiently(f"Redis at {settings.redis_url}", self.redis.ping, REDIS_ERRORS)
            self.stats = Stats(self.redis, self.keys, settings.worker_name, "trainer")
            for count in ("students_trained", "jobs", "updates", "failed"):
                self.stats.counts[count] = 0
            store = ArtefactStore(settings.store_uri(), settings.state_dir / "cache")
            teacher = await asyncio.to_thread(load_teacher, settings)
            self.training_run = TrainingRun(settings, self.redis, self.keys, store, teacher)
            self.producer = await make_producer(settings)
            try:
                await self._with_kafka()
            finally:
                await self.producer.stop()
        finally:
            await self.redis.aclose()
        log.info("stopped")

    async def _with_kafka(self) -> None:
        settings = self.settings
        self.cluster = await patiently(f"Kafka at {settings.bootstrap}", lambda: cluster_id(settings))
        await provision(settings)
        self.models = FollowedModels(settings, lambda stream: True)
        self.stream_settings = StreamSettingsTable(settings, self._deleted.append)
        self.consumer = await self._consumer()
        telling = asyncio.create_task(self._tell())
        try:
            await self.stream_settings.start()
            await self.models.start()
            log.info("trainer ready", bootstrap=settings.bootstrap, models=len(self.models.known))
            while not self._stopping.is_set():
                await self._turn()
        finally:
            telling.cancel()
            for reader in (self.stream_settings, self.models, self.consumer):
                await reader.stop()

    async def _consumer(self) -> AIOKafkaConsumer:
        settings = self.settings
        topic, group = settings.topic("training"), settings.topic_prefix + GROUP
        fixed = settings.fixed_partitions()
        if fixed is None:
            return await make_consumer(settings, group, topic)
        consumer = await make_consumer(settings, group)
        partitions = [TopicPartition(topic, p) for p in fixed]
        consumer.assign(partitions)
        for partition in partitions:
            committed = await patiently("committed offsets", partial(consumer.committed, partition))
            consumer.seek(partition, committed or 0)
        return consumer

    async def _tell(self) -> None:
        """Stats go on while a run keeps the loop's thread pool busy."""
        while True:
            try:
                await self.stats.publish()
            except REDIS_ERRORS as error:
                log.debug("stats not published", error=str(error))
            await asyncio.sleep(1.0)

    async def _turn(self) -> None:
        await self.models.poll()
        await self.stream_settings.poll()
        await self._bury()
        records = await self._fetch(POLL_MS)
        if not records:
            await self._check_cluster()
            await self._sweep()
            return
        # Streams become due together: what comes within a moment is one run.
        deadline = time.monotonic() + self.settings.batch_wait_ms / 1000
        while len(records) < self.settings.batch_requests and time.monotonic() < deadline:
            records += await self._fetch(max(1, int((deadline - time.monotonic()) * 1000)))
        await self._batch(records)

    async def _fetch(self, timeout_ms: int) -> list[ConsumerRecord]:
        batches = await self.consumer.getmany(timeout_ms=timeout_ms, max_records=self.settings.batch_requests)
        return [record for records in batches.values() for record in records]

    async def _batch(self, records: list[ConsumerRecord]) -> None:
        requests: list[TrainingRequest] = []
        for record in records:
            try:
                requests.append(parse(record.value))
            except ContractError as error:
                self.stats.counts["failed"] += 1
                log.warning("training request refused", offset=record.offset, error=str(error))
                await (await dead_letter(self.producer, self.settings, record, error.reason, str(error)))
        jobs = merge(requests)
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
        await self._commit(records)

    async def _announce(self, records: dict[str, ModelRecord]) -> None:
        topic = self.settings.topic("models")

        async def send() -> None:
            sent = [
                await self.producer.send(topic, record.model_dump_json().encode(), key=stream.encode())
                for stream, record in records.items()
            ]
            await asyncio.gather(*sent)

        await patiently(f"Kafka at {self.settings.bootstrap}", send)
        # Our own record comes back on the topic; a request in the next batch must not see the one before it.
        for stream, record in records.items():
            self._replaced |= files_of(self.models.known.get(stream))
            self.models.known[stream] = record

    async def _commit(self, records: list[ConsumerRecord]) -> None:
        newest: dict[TopicPartition, int] = {}
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            newest[partition] = max(newest.get(partition, 0), record.offset + 1)
        try:
            await self.consumer.commit(newest)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("commit refused, requests will be done again", error=str(error))
        except KafkaError as error:
            log.warning("commit failed, requests may be done again after a restart", error=str(error))

    async def _bury(self) -> None:
        """A deleted stream's model goes, too."""
        while self._deleted:
            stream = self._deleted.pop()
            if self.models.known.pop(stream, None) is not None:
                await self.producer.send_and_wait(self.settings.topic("models"), None, key=stream.encode())
                log.info("model deleted with its stream", stream=stream)

    async def _check_cluster(self) -> None:
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + CLUSTER_CHECK_S
        try:
            now = await cluster_id(self.settings)
        except RETRIABLE:
            return  # away: the consumer reconnects by itself, and we look again
        if now == self.cluster:
            return
        log.warning("the broker is a new one: starting at its beginning", cluster=now)
        await provision(self.settings)
        self.cluster = now
        self.models.known.clear()
        await self.models.rewind()
        await self.stream_settings.rewind()
        await self.consumer.seek_to_beginning()

    async def _sweep(self) -> None:
        """Delete artefacts that this worker saw replaced and that no record refers to any more.

        Others are left alone, whoever they belong to: a store may be shared.
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
        except StoreError as error:
            log.warning("artefacts not swept", error=str(error))


def run(settings: TrainerSettings) -> None:
    """Run one trainer worker until it is told to stop."""
    configure_logs(settings.log_format, settings.log_level, settings.worker_name)
    asyncio.run(TrainerWorker(settings).run())

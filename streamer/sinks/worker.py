"""One sink at work: it reads `anomalies` in a consumer group of its own, and brings its server up to date."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

import redis.asyncio
import structlog
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from streamer.errors import ContractError, FencedError, OffsetConflictError
from streamer.host.losses import Losses
from streamer.host.stats import Stats
from streamer.kafka.dead_letters import DeadLetter, bury
from streamer.kafka.ownership import Ownership
from streamer.kafka.topics import at_end
from streamer.patience import patiently
from streamer.redis_client import redis_name
from streamer.refusals import REDIS_ERRORS, raise_if_refused
from streamer.settings import CommonSettings
from streamer.sinks.config import SinksFile
from streamer.sinks.deliveries import Delivery
from streamer.sinks.errors import SinkAwayError, SinkLockedOutError
from streamer.sinks.feedback import Acknowledged
from streamer.sinks.intake import Intake
from streamer.sinks.outgoing import Outgoing
from streamer.sinks.planning import NEVER
from streamer.sinks.stored import SinkKeys, StoredDeliveries
from streamer.sinks.transport import Transport
from streamer.windows.keys import Keys
from streamer.windows.ledger import Ops

log = structlog.get_logger(__name__)
BATCH_RECORDS = 2_000
BATCH_MS = 100
# More than this is not taken off Kafka: its records wait there, and cost nothing.
MOST_PENDING = 10_000
SWEEP_S = 60.0
_backoff = wait_exponential_jitter(initial=1.0, max=60.0, jitter=1.0)


class SinkWorker:
    """Reads and delivers until `stop`; whatever its server does concerns no other sink."""

    def __init__(
        self,
        settings: CommonSettings,
        file: SinksFile,
        sink: str,
        transport: Transport,
        client: redis.asyncio.Redis,
        producer: AIOKafkaProducer,
        acknowledged: Acknowledged,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.sink = sink
        self.settings = settings
        self.intake = Intake(file, sink, clock)
        self._clock = clock
        self._client = client
        self._producer = producer
        self._acknowledged = acknowledged
        self._keys = SinkKeys(settings.namespace, sink)
        self._stored = StoredDeliveries(client, self._keys, settings.partitioner, settings.partitions)
        self._out = Outgoing(settings, file.sinks[sink], sink, transport, producer, self.save, clock)
        self.stats = Stats(client, Keys(settings.namespace), f"{sink}:{settings.worker_name}", "sink")
        self._losses = Losses(settings, client, producer, Keys(settings.namespace), self.stats)
        self.owner = self._new_owner()
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._gained: set[int] = set()
        self._lost: set[int] = set()  # Redis has lost what was stored
        self._behind: set[int] = set()  # not read up to their end: what is open there may long be over
        self._pressed = False
        self._next_sweep = 0.0

    @property
    def cluster(self) -> str | None:
        """Identity of the Kafka cluster that it reads, None before it has asked."""
        return self.owner.cluster.known or None

    def stop(self) -> None:
        """Finish what is being sent, commit, and end."""
        self._stopping.set()
        self._wake.set()

    def wake(self) -> None:
        """Look at the deliveries again now."""
        self._wake.set()

    def _new_owner(self) -> Ownership:
        return Ownership(
            self.settings, self._client, self._keys, "anomalies", f"sink.{self.sink}",
            on_gain=self._on_gain, on_loss=self._on_loss, on_state_lost=self._on_state_lost,
        )  # fmt: skip

    async def run(self) -> None:
        """Work until stopped; waits when Kafka, Redis or the sink's server are away."""
        self.owner = self._new_owner()
        self.intake.deliveries.clear()
        self.intake.began = await patiently(
            redis_name(self.settings), lambda: self._stored.began(self._clock()), REDIS_ERRORS
        )
        tasks: list[asyncio.Task[None]] = []
        try:
            await self.owner.start()
            log.info("sink ready", sink=self.sink)
            tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._deliver())]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.owner.stop()

    def _on_gain(self, partition: int) -> None:
        self._gained.add(partition)
        self._behind.add(partition)

    def _on_loss(self, partition: int) -> None:
        self._gained.discard(partition)
        self._behind.discard(partition)
        self.intake.deliveries.pop(partition, None)

    def _on_state_lost(self, partition: int, known: int) -> None:
        self._lost.add(partition)
        self._losses.note(self.settings.topic("anomalies"), partition, known)

    async def _read(self) -> None:
        while not self._stopping.is_set():
            if self._pressed:
                self._pressed = self.intake.pending() >= MOST_PENDING
                await asyncio.sleep(BATCH_MS / 1000)
                batches: dict[int, list[ConsumerRecord]] = {}
            else:
                batches = await self.owner.fetch(BATCH_RECORDS, BATCH_MS)
            async with self.owner.lock:
                for partition in sorted(self._gained):
                    await self._load(partition)
                await self._mend()
                offsets = {}
                for partition, records in self.owner.current(batches).items():
                    if await self._take(partition, records):
                        offsets[partition] = records[-1].offset + 1
                if offsets:
                    await self.owner.commit(offsets)
                await self._look_for_ends()
                await self._sweep()
            if batches:
                self._pressed = self.intake.pending() >= MOST_PENDING
                self._wake.set()
            await self._losses.report()
            await self._publish_stats()

    async def _load(self, partition: int) -> None:
        self.intake.deliveries[partition] = await patiently(
            redis_name(self.settings), lambda: self._stored.load(partition), REDIS_ERRORS
        )
        self._gained.discard(partition)

    async def _mend(self) -> None:
        """Partitions whose deliveries Redis has lost: what is in memory is stored again, and reading goes on where it was.

        What was told before and is not in memory is not told again.
        """
        for partition in sorted(self._lost):
            self._lost.discard(partition)
            if partition in self.owner.owned:
                await self._write(list(self.intake.deliveries.get(partition, {}).values()), self._stored.put)
                try:
                    await patiently(redis_name(self.settings), partial(self.owner.settle, partition), REDIS_ERRORS)
                except FencedError as error:
                    self._lose(partition, error)
                except OffsetConflictError:
                    await self.owner.recover(partition)
                    self._lost.add(partition)

    async def _reload(self, partition: int) -> None:
        """After a conflict: what is stored, where Redis has not lost it."""
        await self.owner.recover(partition)
        if partition not in self._lost:
            await self._load(partition)

    async def _take(self, partition: int, records: Sequence[ConsumerRecord]) -> bool:
        """One batch of one partition, stored; False when it must be read again."""
        touched, dead = self.intake.take(partition, records)
        for record, error in dead:
            await self._dead(record, error)
        ops = Ops()
        for delivery in touched.values():
            self._stored.put(ops, delivery)
        try:
            await self.owner.ledger.apply(partition, records[-1].offset, ops)
        except FencedError as error:
            self._lose(partition, error)
            return False
        except (OffsetConflictError, *REDIS_ERRORS) as error:
            raise_if_refused(redis_name(self.settings), error)
            log.warning("batch not finished, reading it again", sink=self.sink, partition=partition, error=str(error))
            await self._reload(partition)
            return False
        return True

    async def _dead(self, record: ConsumerRecord, error: ContractError) -> None:
        log.error("not an incident", sink=self.sink, partition=record.partition, offset=record.offset, error=str(error))
        letter = DeadLetter(record, error.reason, f"sink {self.sink}: {error}")
        await bury(self.settings, self._producer, [letter])

    async def _look_for_ends(self) -> None:
        for partition in list(self._behind):
            if await at_end(self.owner.consumer, [TopicPartition(self.settings.topic("anomalies"), partition)]):
                self._behind.discard(partition)
                self._wake.set()

    async def save(self, deliveries: Sequence[Delivery]) -> None:
        """Write deliveries as they are, where their partitions are still ours."""
        async with self.owner.lock:
            await self._write(deliveries, self._stored.put)

    async def _write(self, deliveries: Sequence[Delivery], put: Callable[[Ops, Delivery], None]) -> None:
        parts: dict[int, Ops] = {}
        for delivery in deliveries:
            if delivery.partition in self.owner.owned and delivery.partition in self.intake.deliveries:
                put(parts.setdefault(delivery.partition, Ops()), delivery)
        for partition, ops in parts.items():

            async def write(partition: int = partition, ops: Ops = ops) -> None:
                await self.owner.ledger.apply(partition, -1, ops)  # the offset stays

            try:
                await patiently(redis_name(self.settings), write, REDIS_ERRORS)
            except FencedError as error:
                self._lose(partition, error)
            except OffsetConflictError as error:
                log.warning("stored deliveries have changed, reading them again", sink=self.sink, error=str(error))
                await self._reload(partition)

    def _lose(self, partition: int, error: FencedError) -> None:
        log.warning("partition taken over by another worker", sink=self.sink, partition=partition, error=str(error))
        self._on_loss(partition)
        self.owner.lose(partition)

    async def _sweep(self) -> None:
        if self._clock() < self._next_sweep:
            return
        self._next_sweep = self._clock() + SWEEP_S
        old = self.intake.forgettable()
        await self._write(old, self._stored.drop)
        for delivery in old:
            self.intake.deliveries.get(delivery.partition, {}).pop(delivery.incident.incident_id, None)

    async def _publish_stats(self) -> None:
        if not self.stats.due:
            return
        counts = {**self.intake.counts, **self._out.counts, "pending": self.intake.pending()}
        counts["open"] = sum(delivery.live for delivery in self.intake.all())
        self.stats.counts.update(counts)
        self.stats.facts.update(await self.owner.facts())
        await self.stats.publish()

    async def _deliver(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            wake_at, tries = NEVER, 0
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type((SinkAwayError, SinkLockedOutError)),
                wait=wait_for_server,
                before_sleep=self._say,
                sleep=self._rest,
                stop=lambda _: self._stopping.is_set(),
                retry_error_callback=lambda _: None,
            ):
                if self._stopping.is_set():
                    return
                tries = attempt.retry_state.attempt_number
                with attempt:
                    wake_at = await self._out.round(self._ready())
            if tries > 1 and not self._stopping.is_set():
                log.info("sink back", sink=self.sink, attempts=tries)
            await self._until(self._wake, wake_at - self._clock())

    def _ready(self) -> list[Delivery]:
        ready = [
            delivery
            for partition, table in self.intake.deliveries.items()
            if self._pressed or partition not in self._behind
            for delivery in table.values()
        ]
        for delivery in ready:
            delivery.acknowledged = delivery.incident.incident_id in self._acknowledged
        return ready

    def _say(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        locked = isinstance(error, SinkLockedOutError)
        say = log.error if locked else log.warning
        cure = "check its address and secret, then restart" if locked else "its incidents wait"
        wait = round(state.next_action.sleep, 1) if state.next_action else 0
        say("sink away", sink=self.sink, error=str(error), again_in_s=wait, attempt=state.attempt_number, cure=cure)

    async def _rest(self, seconds: float) -> None:
        await self._until(self._stopping, seconds)

    @staticmethod
    async def _until(event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(None if seconds == NEVER else max(0.0, seconds)):
                await event.wait()
        except TimeoutError:
            return


def wait_for_server(state: RetryCallState) -> float:
    """What the server asked for (Retry-After), else 1, 2, 4 … 60 seconds with jitter."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, SinkAwayError) and error.retry_after is not None:
        return error.retry_after
    return float(_backoff(state))

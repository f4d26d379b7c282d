"""The detector worker: `windows` → scores → incidents on `anomalies`."""

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import redis.asyncio
import structlog
from aiokafka import ConsumerRecord

from detector.incidents.machine import SILENCED, Transition, end
from detector.incidents.record import StreamState
from detector.live.cache import Entry
from detector.live.decisions import Decisions, PartitionDecisions
from detector.live.followed import FollowedFeedback, FollowedModels
from detector.live.judge import Judge, Judgement
from detector.live.outbox import Outbox, read_outbox
from detector.live.settings import WorkerSettings
from detector.live.silence_watch import SilenceWatch
from detector.live.streams import BatchOutcome, OwnedStreams
from detector.model.artefact import ArtefactStore
from detector.model.bank import StudentBank
from detector.model.teacher import load_teacher
from detector.training.due import stage
from detector.training.request import ask_after_shift, ask_if_due
from streamer.contracts import Feedback, ModelRecord
from streamer.errors import FencedError, OffsetConflictError
from streamer.host.logs import configure_logs
from streamer.host.stats import PERIOD_S, Stats
from streamer.kafka.client import make_producer, patiently
from streamer.kafka.dead_letters import dead_letter
from streamer.kafka.ownership import Ownership
from streamer.kafka.stream_settings import StreamSettingsTable
from streamer.placement import shards_of_partition
from streamer.windows.keys import Keys

log = structlog.get_logger(__name__)

REDIS_ERRORS = (redis.RedisError, OSError)
# Messages of `windows` a fetch: each holds up to 700 KB, thousands of slots.
FETCH_MESSAGES = 64
# Offsets in Redis decide where to resume; those in Kafka tell operators the lag, so once in a while is enough.
COMMIT_S = 0.5
MARK_S = 30 * 86_400  # longer than any topic's retention of bad feedback matters
STORE_RETRY_S = 10.0
STOP_S = 2.0


class DetectorWorker:
    """Runs until `stop` is called (or SIGTERM, SIGINT): drains the batch in hand and commits."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.keys = Keys(settings.namespace)
        self._stopping = asyncio.Event()
        self._gained: set[int] = set()
        self._sent: dict[int, Outbox] = {}  # the stored outbox of each partition, which has been sent
        self._deleted: list[str] = []
        self._uncommitted: dict[int, int] = {}
        self._next_commit = self._next_stats = self._next_install = 0.0
        self._uninstalled: dict[str, ModelRecord] = {}  # the store was away

    def stop(self) -> None:
        """Finish the batch in hand, commit, and end."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped; waits and retries when Kafka or Redis is away."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stop)
        settings = self.settings
        self.redis = redis.asyncio.Redis.from_url(settings.redis_url)
        try:
            await patiently(f"Redis at {settings.redis_url}", self.redis.ping, REDIS_ERRORS)
            self.producer = await make_producer(settings)
            try:
                await self._work()
            finally:
                await self.producer.stop()
        finally:
            await self.redis.aclose()
        log.info("stopped")

    async def _work(self) -> None:
        settings = self.settings
        self.stats = Stats(self.redis, self.keys, settings.worker_name, "detector")
        self.store = ArtefactStore(settings.store_uri(), settings.state_dir / "cache")
        self.bank = StudentBank(await asyncio.to_thread(load_teacher, settings), settings)
        self.stream_settings = StreamSettingsTable(settings, self._deleted.append)
        self.streams = OwnedStreams(settings, self.redis, self.keys, self.bank.context)
        self.judge = Judge(self.bank, settings, self.stream_settings.of)
        self.owner = Ownership(
            settings, self.redis, self.keys, "windows", "detector", on_gain=self._gained.add, on_loss=self._lose
        )
        self.watch = SilenceWatch(settings, self.redis, self.keys, self.streams, self.judge, self.owner)
        self.models = FollowedModels(settings, lambda stream: self.streams.partition(stream) in self.owner.owned)
        self.feedback = FollowedFeedback(settings)
        async with self.owner:
            await self.stream_settings.start()
            await self.feedback.start()
            await self._install(await self.models.start())
            log.info("detector ready", bootstrap=settings.bootstrap, partitions=settings.partitions)
            try:
                while not self._stopping.is_set():
                    await self._turn()
                with suppress(TimeoutError):  # servers may be away; what is left undone, the next owner does
                    async with asyncio.timeout(STOP_S), self.owner.lock:
                        await self._clear_outboxes()
                        await self._commit()
            finally:
                for reader in (self.stream_settings, self.feedback, self.models):
                    await reader.stop()

    async def _turn(self) -> None:
        cluster = self.owner.ledger.cluster
        batches = await self.owner.fetch(FETCH_MESSAGES, self.settings.batch_ms)
        async with self.owner.lock:
            if self.owner.ledger.cluster != cluster:
                for reader in (self.stream_settings, self.feedback, self.models):
                    await reader.rewind()
            await self._take_over()
            try:
                await self._follow()
                if batches:
                    await self._batch(batches)
                else:
                    await self._clear_outboxes()
                published = await self.watch.check(arrived=bool(batches))
                if published is not None:
                    await self._finish(published, {})
            except REDIS_ERRORS as error:
                # Nothing was written for these records: forget what they changed in memory and read them again.
                log.warning("Redis failed, reading the batch again", error=str(error))
                for partition in sorted(self.owner.owned):
                    await self._restart(partition)
        if time.monotonic() >= self._next_commit:
            await self._commit()
        await self._publish_stats()

    async def _take_over(self) -> None:
        """New partitions: first say what their last owner had decided to say."""
        if not self._gained:
            return
        for partition in sorted(self._gained & self.owner.owned):
            await patiently("Redis", partial(self._start_partition, partition), REDIS_ERRORS)
        self._gained.clear()
        # Before anything is judged: what has a student is not to be left to the prior because we have not heard of it.
        await self._install(await self.models.again())
        await self.feedback.rewind()

    async def _start_partition(self, partition: int) -> None:
        outbox = await read_outbox(self.redis, self.keys, partition, self.settings.partitions)
        sent = self._sent.get(partition)
        if sent is None or sent.messages != outbox.messages:
            await outbox.send(self.producer)
        self._sent[partition] = outbox
        self.watch.seen_lately(await self.streams.headers(shards_of_partition(partition, self.settings.partitions)))

    def _lose(self, partition: int) -> None:
        for stream in self.streams.drop_partition(partition):
            self.watch.silence.forget(stream)
        for stream in [s for s in self.models.known if self.streams.partition(s) == partition]:
            self.models.forget(stream)
            self.bank.remove(stream)
        self._sent.pop(partition, None)
        self._uncommitted.pop(partition, None)
        self._gained.discard(partition)

    async def _restart(self, partition: int) -> None:
        """Drop what memory says of a partition; Redis is right, and its outbox may not have been sent."""
        self.streams.drop_partition(partition)
        self._uncommitted.pop(partition, None)
        await self.owner.recover(partition)
        self._gained.add(partition)

    # What the tables say -------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        await self.stream_settings.poll()
        await self._install(await self.models.poll())
        decisions = Decisions(self.settings, self.streams)
        deleted = [s for s in self._deleted if self.streams.partition(s) in self.owner.owned]
        self._deleted.clear()
        await self.streams.load_states(deleted)
        for stream in deleted:
            self._delete(decisions, stream)
        good, bad = await self.feedback.poll()
        for record, error in bad:
            await self._bury_once(record, error.reason, str(error))
        mine = [f for f in good if self.streams.partition(f.stream) in self.owner.owned]
        await self.streams.load_states([feedback.stream for feedback in mine])
        for feedback in mine:
            self._apply_feedback(decisions, feedback)
        await self._finish(decisions, {})
        for stream in deleted:
            self.streams.drop(stream)

    async def _install(self, news: Mapping[str, ModelRecord | None]) -> None:
        for stream in news:
            self._uninstalled.pop(stream, None)
        if self._uninstalled and time.monotonic() >= self._next_install:
            news = {**self._uninstalled, **news}
        if not news:
            return
        for stream, record in news.items():
            if record is None or record.promoted is None:
                self.bank.remove(stream)
            entry = self.streams.entries.get(stream)
            if entry is not None:
                entry.look_at = 0
        records = [record for record in news.values() if record is not None and record.promoted is not None]
        if records:
            failed = await asyncio.to_thread(self.bank.install, records, self.store)
            for record in records:
                if record.stream in failed and failed[record.stream].retriable:
                    self._uninstalled[record.stream] = record
                else:
                    self._uninstalled.pop(record.stream, None)
            self._next_install = time.monotonic() + STORE_RETRY_S
            log.info("models installed", streams=len(records) - len(failed), failed=len(failed))

    def _delete(self, decisions: Decisions, stream: str) -> None:
        stream_state = self.streams.states.get(stream)
        if stream_state is not None:
            decisions.close(stream, stream_state, self.judge.settings_of(stream))
        decisions.delete(stream)
        self.bank.remove(stream)
        self.models.forget(stream)
        self.watch.silence.forget(stream)
        log.info("stream deleted", stream=stream)

    def _apply_feedback(self, decisions: Decisions, feedback: Feedback) -> None:
        """Keep what a person said. A false alarm ends its incident, keeps still until the stream is quiet and is learnt
        from; what is confirmed (or was maintenance) is not."""
        stream, wanted = feedback.stream, feedback.incident_id
        stream_state = self.streams.states.get(stream)
        span = stream_state.span(stream, wanted) if stream_state else None
        if stream_state is None or span is None:
            log.info("feedback on an incident that is not remembered", stream=stream, incident=wanted)
            return
        episode = stream_state.find(stream, wanted)
        if episode is not None:
            if episode.verdict == feedback.verdict:
                return
            episode.verdict = feedback.verdict
            if feedback.verdict == "false_alarm" and stream_state.tracker.incident is episode:
                entry = self.streams.entries.get(stream)
                scored = stream_state.scored if entry is None else entry.scored
                stream_state.tracker.muted = SILENCED
                decisions.announce(
                    stream, stream_state, self.judge.settings_of(stream), end(stream_state.tracker, scored)
                )
        if feedback.verdict == "false_alarm":
            stream_state.allow_range(*span)
        else:
            stream_state.exclude_range(*span)
        decisions.touch(stream)
        log.info("feedback", stream=stream, incident=wanted, verdict=feedback.verdict)

    async def _bury_once(self, record: ConsumerRecord, reason: str, message: str) -> None:
        """Dead-letter a record of a topic that every worker reads, at every start."""
        mark = self.keys.dead_once(record.topic, self.owner.ledger.cluster, record.partition, record.offset)
        if await self.redis.set(mark, b"1", nx=True, ex=MARK_S):
            await self._bury(record, reason, message)

    async def _bury(self, record: ConsumerRecord, reason: str, message: str) -> None:
        async def send() -> None:
            await (await dead_letter(self.producer, self.settings, record, reason, message))

        log.warning("dead letter", topic=record.topic, offset=record.offset, reason=reason, error=message)
        await patiently("Kafka (dead letters)", send)
        self.stats.counts["dead_letters"] += 1

    # A batch -------------------------------------------------------------------------------------------------------

    async def _batch(self, batches: Mapping[int, Sequence[ConsumerRecord]]) -> None:
        """Records of all partitions in one call of the bank, then partition by partition to Redis and Kafka."""
        mine = {p: records for p, records in batches.items() if p in self.owner.owned}
        if not mine:
            return
        taken = await self.streams.take((r for records in mine.values() for r in records), self.owner.ledger.applied)
        for record, error in taken.bad:
            await self._bury(record, error.reason, str(error))
        decisions = Decisions(self.settings, self.streams)
        for stream, stream_state in taken.replaced:
            decisions.close(stream, stream_state, self.judge.settings_of(stream))
            decisions.touch(stream)
        judgements = self._jobs(taken, decisions)
        if judgements:
            await asyncio.to_thread(
                self.judge.run, judgements, lambda *published: self._announce(decisions, *published)
            )
        for stream, entry in taken.entries.items():
            if entry.hi >= entry.look_at:
                ask_if_due(decisions, self.settings, entry, self.streams.states[stream], self.models.known.get(stream))
        await self._finish(decisions, {p: records[-1].offset for p, records in mine.items()})
        newest_ms = max((entry.seen_ms for entry in taken.entries.values()), default=0)
        if newest_ms:
            self.stats.counts["lag_ms"] = max(decisions.now_ms - newest_ms, 0)

    def _jobs(self, taken: BatchOutcome, decisions: Decisions) -> list[Judgement]:
        judgements = []
        for stream, entry in taken.entries.items():
            stream_state = self.streams.states[stream]
            if stream in taken.live:
                self.watch.seen(stream, entry.interval_ns)
                if stream_state.no_data is not None and entry.hi >= stream_state.no_data.anchor:
                    decisions.no_data(stream, stream_state, self.judge.settings_of(stream), "resolved", entry.hi)
            elif entry.history:
                self.watch.silence.forget(stream)
            judgement = self.judge.judgement(entry, stream_state)
            if judgement is not None:
                judgements.append(judgement)
                decisions.touch(stream)
        return judgements

    def _announce(self, decisions: Decisions, entry: Entry, stream_state: StreamState, transition: Transition) -> None:
        decisions.announce(entry.stream, stream_state, self.judge.settings_of(entry.stream), transition)
        if transition.baseline:
            ask_after_shift(decisions, entry, stream_state, self.models.known.get(entry.stream), transition)

    async def _finish(self, decisions: Decisions, offsets: Mapping[int, int]) -> None:
        """Store states, offset and messages of each partition in one compare-and-set, then send the messages."""
        for partition in offsets:
            decisions.parts.setdefault(partition, PartitionDecisions())
        done = await asyncio.gather(
            *(self._finish_part(decisions, p, part, offsets.get(p)) for p, part in decisions.parts.items())
        )
        if all(done):
            self.stats.counts["alerts"] += decisions.alerts

    async def _finish_part(
        self, decisions: Decisions, partition: int, part: PartitionDecisions, offset: int | None
    ) -> bool:
        ledger = self.owner.ledger
        if partition not in self.owner.owned:
            return False
        before = self._sent.get(partition)
        ops = decisions.ops(part, self.keys, set(before.messages) if before else set())
        try:
            # -1: the offset stays where it is
            await ledger.apply(partition, -1 if offset is None else offset, ops)
        except FencedError as error:
            log.warning("partition taken over by another worker", partition=partition, error=str(error))
            self._lose(partition)
            self.owner.lose(partition)
            return False
        except (OffsetConflictError, *REDIS_ERRORS) as error:
            log.warning("batch not stored, reading it again", partition=partition, error=str(error))
            await self._restart(partition)
            return False
        await part.outbox.send(self.producer)
        self._sent[partition] = part.outbox
        if offset is not None:
            self._uncommitted[partition] = offset + 1
        return True

    async def _clear_outboxes(self) -> None:
        """Nothing else to do: forget what has been sent, so that the next owner does not repeat it."""
        decisions = Decisions(self.settings, self.streams)
        decisions.parts = {
            p: PartitionDecisions() for p, outbox in self._sent.items() if outbox.messages and p in self.owner.owned
        }
        await self._finish(decisions, {})

    async def _commit(self) -> None:
        self._next_commit = time.monotonic() + COMMIT_S
        offsets = {p: offset for p, offset in self._uncommitted.items() if p in self.owner.owned}
        self._uncommitted.clear()
        if offsets:
            await self.owner.commit(offsets)

    # What operators see --------------------------------------------------------------------------------------------

    async def _publish_stats(self) -> None:
        if time.monotonic() < self._next_stats:
            return
        self._next_stats = time.monotonic() + PERIOD_S
        counts = self.stats.counts
        counts["windows_scored"] = self.judge.windows
        counts["teacher_windows"] = self.judge.teacher_windows
        counts["teacher_share"] = round(self.judge.teacher_windows / max(1, self.judge.windows), 4)
        counts["streams_with_teacher"] = self.bank.with_teacher()
        stages = {"cold": 0, "warming": 0, "ready": 0}
        for stream, entry in self.streams.entries.items():
            ref = self.bank.model_of(stream)
            stages[stage(ref.points if ref and ref.grid_version == entry.grid_version else 0)] += 1
        for name, count in stages.items():
            counts[f"streams_{name}"] = count
        counts["open_incidents"] = sum(
            (stream_state.tracker.incident is not None) + (stream_state.no_data is not None)
            for stream_state in self.streams.states.values()
        )
        try:
            await self.stats.publish()
        except REDIS_ERRORS as error:
            log.debug("stats not written", error=str(error))


def run(settings: WorkerSettings) -> None:
    """Run one detector worker until it is told to stop."""
    configure_logs(settings.log_format, settings.log_level, settings.worker_name)
    asyncio.run(DetectorWorker(settings).run())

"""What the detector follows: settings of streams, models, verdicts of people; and what each of them changes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import structlog

from detector.incidents.machine import SILENCED, end
from detector.live.decisions import Decisions
from detector.live.followed import FollowedFeedback, FollowedModels
from detector.live.judge import Judge
from detector.live.missing import MissingStudents
from detector.live.settings import WorkerSettings
from detector.live.streams import OwnedStreams
from detector.model.interface import InstallableBank
from streamer.contracts import Feedback, ModelRecord
from streamer.host.worker import Servers
from streamer.kafka.dead_letters import DeadLetter, bury
from streamer.kafka.ownership import Ownership
from streamer.kafka.stream_settings import StreamSettingsTable
from streamer.metrics import VERDICTS
from streamer.patience import patiently
from streamer.redis_client import redis_name
from streamer.refusals import REDIS_ERRORS

if TYPE_CHECKING:
    from detector.model.artefact import ArtefactStore

log = structlog.get_logger(__name__)

MARK_S = 30 * 86_400  # longer than any topic's retention of bad feedback matters
LOST_KEPT_S = 60.0  # a rebalance takes seconds

Finish = Callable[[Decisions], Awaitable[object]]


class Following:
    """Reads the topics `streams`, `models` and `feedback` and applies what is new in them.

    Deletions and verdicts change the state of streams: they go the way of all decisions, by `finish`.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        servers: Servers,
        streams: OwnedStreams,
        judge: Judge,
        bank: InstallableBank,
        store: "ArtefactStore",
        owner: Ownership,
        stream_settings: StreamSettingsTable,
        deleted: list[str],
        on_delete: Callable[[str], None],
    ) -> None:
        self._bad_models: list[DeadLetter] = []
        self.models = FollowedModels(settings, self._owns, self._bad_models.append)
        self.feedback = FollowedFeedback(settings)
        self.stream_settings = stream_settings
        self._settings = settings
        self._servers = servers
        self._streams = streams
        self._judge = judge
        self._bank = bank
        self._owner = owner
        self._deleted = deleted  # filled by `stream_settings`
        self._on_delete = on_delete
        self._store = store
        self._missing = MissingStudents(servers)
        self._lost: dict[int, float] = {}  # partitions given away, since when

    def _owns(self, stream: str) -> bool:
        return self._streams.partition(stream) in self._owner.owned

    async def start(self) -> None:
        """Read all topics up to their end; every student that is in force is installed when this returns."""
        await self.stream_settings.start()
        await self.feedback.start()
        await self._install(await self.models.start())

    async def stop(self) -> None:
        """Disconnect."""
        await asyncio.gather(self.stream_settings.stop(), self.feedback.stop(), self.models.stop())

    async def rewind(self) -> None:
        """Read everything again: the broker is a new one."""
        for topic in (self.stream_settings, self.feedback, self.models):
            await topic.rewind()

    async def gained(self) -> None:
        """Other streams are ours now: install their students before anything of them is judged."""
        await self._install(await self.models.again())
        await self.feedback.rewind()

    def lose(self, partition: int) -> None:
        """A partition is another worker's now. Its students go when it stays so: in most rebalances it is given back
        at once, and installing them again takes a detector of many streams minutes."""
        self._lost[partition] = time.monotonic()

    def _forget_lost(self) -> None:
        now = time.monotonic()
        for partition, since in list(self._lost.items()):
            if partition in self._owner.owned:
                del self._lost[partition]
            elif now - since > LOST_KEPT_S:
                del self._lost[partition]
                gone = [s for s in self.models.known if self._streams.partition(s) == partition]
                self._missing.lose(gone)
                for stream in gone:
                    self.models.forget(stream)
                    self._bank.remove(stream)
                    self._streams.census.mark(stream)
                log.info("students of a lost partition forgotten", partition=partition, streams=len(gone))

    async def poll(self, finish: Finish) -> None:
        """Apply what is new; does not wait for more. Raises redis.RedisError when Redis is away."""
        if self._lost:
            self._forget_lost()
        await self.stream_settings.poll()
        await self._install(await self.models.poll())
        decisions = Decisions(self._settings, self._streams)
        deleted = [stream for stream in self._deleted if self._owns(stream)]
        self._deleted.clear()
        await self._streams.load_states(deleted)
        for stream in deleted:
            self._delete(decisions, stream)
        good, bad = await self.feedback.poll()
        bad += self._bad_models
        self._bad_models.clear()
        for letter in bad:
            await self._bury_once(letter)
        mine = [feedback for feedback in good if self._owns(feedback.stream)]
        await self._streams.load_states([feedback.stream for feedback in mine])
        for feedback in mine:
            self._apply_feedback(decisions, feedback)
        await finish(decisions)
        for stream in deleted:
            self._streams.drop(stream)
            await self._missing.forget(stream)

    async def _install(self, news: Mapping[str, ModelRecord | None]) -> None:
        news = self._missing.with_due(news)
        if not news:
            return
        for stream, record in news.items():
            self._streams.census.mark(stream)
            if record is None or record.promoted is None:
                self._bank.remove(stream)
                self.models.note_readable(stream, True)
            entry = self._streams.entries.get(stream)
            if entry is not None:
                entry.consider_at = 0
        records = [record for record in news.values() if record is not None and record.promoted is not None]
        if records:
            failed = await asyncio.to_thread(self._bank.install, records, self._store)
            for record in records:
                error = failed.get(record.stream)
                self.models.note_readable(record.stream, error is None or error.retriable)
            await patiently(redis_name(self._settings), partial(self._missing.note, records, failed), REDIS_ERRORS)
            if len(failed) < len(records):
                log.info("models installed", streams=len(records) - len(failed), failed=len(failed))

    def _delete(self, decisions: Decisions, stream: str) -> None:
        stream_state = self._streams.states.get(stream)
        if stream_state is not None:
            decisions.close(stream, stream_state, self._judge.settings_of(stream), "deleted")
        decisions.delete(stream)
        self._bank.remove(stream)
        self.models.forget(stream)
        self._judge.unjudged.pop(stream, None)
        self._on_delete(stream)
        log.info("stream deleted", stream=stream)

    def _apply_feedback(self, decisions: Decisions, feedback: Feedback) -> None:
        """Keep a verdict. A false alarm ends its incident, mutes the stream until it is quiet and is learnt from; what
        is confirmed (or was maintenance) is not."""
        stream, wanted = feedback.stream, feedback.incident_id
        stream_state = self._streams.states.get(stream)
        span = stream_state.span(stream, wanted) if stream_state else None
        if stream_state is None or span is None:
            log.info("feedback on an incident that is not remembered", stream=stream, incident=wanted)
            return
        episode = stream_state.find(stream, wanted)
        if episode is not None:
            if episode.verdict == feedback.verdict:
                return
            episode.verdict = feedback.verdict
            VERDICTS.labels(feedback.verdict).inc()
            if feedback.verdict == "false_alarm" and stream_state.tracker.incident is episode:
                entry = self._streams.entries.get(stream)
                scored = stream_state.scored if entry is None else entry.scored
                stream_state.tracker.muted = SILENCED
                ended = end(stream_state.tracker, scored, "verdict")
                decisions.announce(stream, stream_state, self._judge.settings_of(stream), ended)
        stream_state.heed(stream, wanted, feedback.verdict == "true")
        if feedback.verdict == "false_alarm":
            stream_state.allow_range(*span)
        else:
            stream_state.exclude_range(*span)
        decisions.touch(stream)
        log.info("feedback", stream=stream, incident=wanted, verdict=feedback.verdict)

    async def _bury_once(self, letter: DeadLetter) -> None:
        """Dead-letter a record of a topic that every worker reads, at every start."""
        record = letter.record
        mark = self._servers.keys.dead_once(record.topic, self._owner.ledger.cluster, record.partition, record.offset)
        if await self._servers.redis.set(mark, b"1", nx=True, ex=MARK_S):
            log.warning(
                "dead letter", topic=record.topic, offset=record.offset, reason=letter.reason, error=letter.message
            )
            await bury(self._settings, self._servers.producer, [letter])
            self._servers.stats.counts["dead_letters"] += 1

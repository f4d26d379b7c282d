"""One batch of `windows`: records of all partitions → slots to judge → decisions."""

import asyncio
from collections.abc import Mapping, Sequence

import structlog
from aiokafka import ConsumerRecord

from detector.incidents.machine import Transition
from detector.incidents.record import StreamState, Unjudged
from detector.live.cache import Entry
from detector.live.decisions import Decisions
from detector.live.followed import FollowedModels
from detector.live.judge import Judge
from detector.live.judgement import Judgement
from detector.live.settings import WorkerSettings
from detector.live.silence_watch import SilenceWatch
from detector.live.streams import BatchOutcome, OwnedStreams
from detector.training.request import ask_after_shift, ask_if_due
from streamer.host.worker import Servers
from streamer.kafka.dead_letters import DeadLetter, bury
from streamer.kafka.ownership import Ownership
from streamer.unjudged import why_not

log = structlog.get_logger(__name__)


class Batches:
    """Judges batches. Writes nothing but dead letters: `decide` returns what is to be written."""

    def __init__(
        self,
        settings: WorkerSettings,
        servers: Servers,
        streams: OwnedStreams,
        judge: Judge,
        watch: SilenceWatch,
        models: FollowedModels,
        owner: Ownership,
    ) -> None:
        self._settings = settings
        self._servers = servers
        self._streams = streams
        self._judge = judge
        self._watch = watch
        self._models = models
        self._owner = owner

    async def decide(self, records: Mapping[int, Sequence[ConsumerRecord]]) -> Decisions:
        """Judge a batch, partition → its records in order: all streams in one call of the bank.

        Raises redis.RedisError when Redis is away: nothing has been written then, but the streams in memory have
        moved on and must be dropped before the batch is read again.
        """
        every = (record for own in records.values() for record in own)
        taken = await self._streams.follow_batch(every, self._owner.ledger.applied, self._watch.read)
        await self._bury([DeadLetter(record, error.reason, str(error)) for record, error in taken.bad])
        if taken.unknown:
            self._servers.stats.counts["changes_unknown"] += taken.unknown
            log.warning("changes that Redis does not have are passed over", changes=taken.unknown)
        decisions = Decisions(self._settings, self._streams)
        for stream in taken.live.keys() - taken.entries.keys():  # Redis had told all that its changes say
            self._watch.again(self._streams.entries[stream], taken.live[stream])
        for stream, stream_state in taken.replaced:
            decisions.close(stream, stream_state, self._judge.settings_of(stream))
            decisions.touch(stream)
        judgements = self._judgements(taken, decisions)
        if judgements:
            await asyncio.to_thread(
                self._judge.run, judgements, lambda *published: self._announce(decisions, *published)
            )
        for stream in taken.live:
            if stream in taken.entries:
                self._publish_unjudged(stream, taken.entries[stream], decisions)
        for stream, entry in taken.entries.items():
            if entry.hi >= entry.consider_at:
                state, known = self._streams.states[stream], self._models.of(stream)
                ask_if_due(decisions, self._settings, entry, state, known)
        newest_ms = max((entry.seen_ms for entry in taken.entries.values()), default=0)
        if newest_ms:
            self._servers.stats.counts["lag_ms"] = max(decisions.now_ms - newest_ms, 0)
        return decisions

    def _judgements(self, taken: BatchOutcome, decisions: Decisions) -> list[Judgement]:
        judgements = []
        for stream, entry in taken.entries.items():
            stream_state = self._streams.states[stream]
            if stream in taken.live:
                self._watch.note_data(decisions, entry, stream_state, taken.live[stream])
            elif entry.history:
                self._watch.silence.forget(stream)
            judgement = self._judge.judgement(entry, stream_state)
            if judgement is not None:
                judgements.append(judgement)
                decisions.touch(stream)
            else:
                settings, why = self._judge.settings_of(stream), self._judge.why_not(entry)
                decisions.cannot_judge(stream, stream_state, settings, entry.hi, why)
        return judgements

    def _publish_unjudged(self, stream: str, entry: Entry, decisions: Decisions) -> None:
        """Once, that a stream is not judged, and why; and once that it is again."""
        stream_state, settings = self._streams.states[stream], self._judge.settings_of(stream)
        if stream_state.unjudged is None:
            why = None if settings.paused else self._judge.why_unjudged(entry)
            if why is not None:
                stream_state.unjudged = Unjudged(why, entry.hi)
                decisions.unjudged(stream, stream_state, settings, entry.hi)
                log.warning("stream is not judged", stream=stream, why=why_not(why))
        elif self._judge.is_judged(entry):
            decisions.unjudged(stream, stream_state, settings, entry.hi, "returned")

    def _announce(self, decisions: Decisions, entry: Entry, stream_state: StreamState, transition: Transition) -> None:
        decisions.announce(entry.stream, stream_state, self._judge.settings_of(entry.stream), transition)
        if transition.baseline:
            ask_after_shift(decisions, entry, stream_state, self._models.of(entry.stream), transition)

    async def _bury(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            record = letter.record
            log.warning(
                "dead letter", topic=record.topic, offset=record.offset, reason=letter.reason, error=letter.message
            )
        await bury(self._settings, self._servers.producer, letters)
        self._servers.stats.counts["dead_letters"] += len(letters)

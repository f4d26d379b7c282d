"""The detector worker: `windows` → scores → incidents on `anomalies`.

Three objects share the work of a turn: `Following` applies what is new in the topics it reads whole, `Batches`
judges new windows, `Finishing` writes and sends what both have decided.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial

import structlog
from aiokafka import ConsumerRecord

from detector.live.batches import Batches
from detector.live.counts import refresh
from detector.live.finishing import Finishing
from detector.live.following import Following
from detector.live.judge import Judge
from detector.live.mending import Mending
from detector.live.overload import COALESCED_BYTES, Overload
from detector.live.settings import WorkerSettings
from detector.live.silence_watch import SilenceWatch
from detector.live.streams import OwnedStreams
from detector.live.watched import WatchedStreams
from detector.model.interface import open_bank, open_store
from streamer.host.worker import Servers, run_process, run_worker
from streamer.kafka.ownership import Ownership
from streamer.kafka.stream_settings import StreamSettingsTable
from streamer.patience import patiently
from streamer.placement import shards_of_partition
from streamer.redis_client import redis_name
from streamer.refusals import REDIS_ERRORS, raise_if_refused
from streamer.stopping import Stop
from streamer.tracing import batch_span

log = structlog.get_logger(__name__)

# Messages of `windows` a fetch: each holds up to 700 KB, thousands of slots.
FETCH_MESSAGES = 64
FETCH_MS = 100  # ends with the first record: this is how long a turn without any lasts
MORE_MS = 25  # what comes so close behind others is judged with them


class DetectorWorker:
    """Runs until `stop` is called: finishes the batch it is at, clears its outboxes, commits, and ends."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.stopping = Stop()

    def stop(self) -> None:
        """Finish the batch, commit, and end."""
        self.stopping.request()

    async def run(self) -> None:
        """Work until stopped; waits and retries when Kafka or Redis is away. Raises RefusedError."""
        await run_worker(self.settings, "detector", self.stopping, self._boot, self._turn, self._drain)

    async def _boot(self, servers: Servers) -> None:
        settings, client, keys = self.settings, servers.redis, servers.keys
        self.stats = servers.stats
        self.bank = await asyncio.to_thread(open_bank, settings)
        store = await open_store(settings)
        self.overload, self._overload_logged = Overload(), False
        deleted: list[str] = []
        stream_settings = StreamSettingsTable(settings, deleted.append)
        self.streams = OwnedStreams(settings, client, keys, self.bank.context)
        self.judge = Judge(self.bank, settings, stream_settings.of)
        self.owner = Ownership(
            settings, client, keys, "windows", "detector",
            on_gain=self._gain, on_loss=self._lose, on_state_lost=self._state_lost,
        )  # fmt: skip
        self.watch = SilenceWatch(settings, self.streams, self.judge, self.owner)
        self.following = Following(
            settings, servers, self.streams, self.judge, self.bank, store, self.owner, stream_settings, deleted,
            self.watch.silence.forget,
        )  # fmt: skip
        self.finishing = Finishing(settings, servers, self.streams, self.owner, self._fenced)
        self.mending = Mending(settings, servers, self.streams, self.watch, self.owner, self.finishing)
        self.batches = Batches(
            settings, servers, self.streams, self.judge, self.watch, self.following.models, self.owner
        )
        self.watched = WatchedStreams(settings, servers, self.streams, self.judge, self.bank, self.owner)
        servers.closes(self.owner.stop, self.following.stop)
        await self.owner.start()
        await self.following.start()

    async def _turn(self) -> None:
        cluster = self.owner.ledger.cluster
        fetched = await self._fetch()
        async with self.owner.lock:
            if self.owner.ledger.cluster != cluster:
                await self.following.rewind()
            await self._take_over()
            records = self.owner.current(fetched)
            try:
                await self.mending.mend()
                await self.following.poll(self.finishing.finish)
                if records:
                    every = [record for own in records.values() for record in own]
                    with batch_span("detector.batch", every):
                        began = time.monotonic()
                        decisions = await self.batches.decide(records)
                        self.overload.judged(_size(records)[0], time.monotonic() - began)
                        await self.finishing.finish(decisions, {p: own[-1].offset for p, own in records.items()})
                    self.owner.note_done(min(own[0].timestamp for own in records.values()))
                elif not fetched:
                    await self.finishing.clear_outboxes()
                silent = await self.watch.check()
                if silent is not None:
                    await self.finishing.finish(silent)
                self.stats.counts["left_memory"] += self.streams.make_room()
                await self.watched.refresh()
                await self.streams.budget.refresh()
            except REDIS_ERRORS as error:
                raise_if_refused(redis_name(self.settings), error)
                # Nothing was written for these records: forget what they changed in memory and read them again.
                log.warning("Redis failed, reading the batch again", error=str(error))
                for partition in sorted(self.owner.owned):
                    await self.finishing.restart(partition)
        await self.finishing.commit()
        self._adapt()
        if self.stats.due:
            refresh(self.stats.counts, self.judge, self.bank, self.streams)
            self.stats.counts["partitions_blind"] = self.watch.blind()
            self.stats.facts.update(await self.owner.facts())
            await self.stats.publish()

    async def _fetch(self) -> dict[int, list[ConsumerRecord]]:
        """New messages by partition; as many as a batch may hold where there is more than can be scored."""
        fetched = await self.owner.fetch(FETCH_MESSAGES, FETCH_MS)
        most, messages, size = self.overload.messages(FETCH_MESSAGES), *_size(fetched)
        while 0 < messages < most and size < COALESCED_BYTES:
            more = await self.owner.more(fetched, min(FETCH_MESSAGES, most - messages), MORE_MS)
            if not more:
                break
            messages, size = _size(fetched)
        return fetched

    def _adapt(self) -> None:
        """Judge as much as there is time for."""
        before, unread = self.overload.level, self.owner.unread()
        level = self.overload.observe(time.monotonic(), max(unread - FETCH_MESSAGES, 0))
        if level != before:
            self._log_overload(unread)
        self.judge.apart = self.overload.apart
        self.bank.ask_teacher(self.overload.teacher)
        self.stats.counts["overload_level"] = level

    def _log_overload(self, unread: int) -> None:
        """Once an episode; its steps are for those who look closer."""
        level, words = self.overload.level, self.overload.words
        if level > 1 and not self._overload_logged:
            log.warning(
                "more arrives than can be scored: judging more coarsely until that is over", judged=words, unread=unread
            )
            self._overload_logged = True
            self.stats.counts["overloads"] += 1
        elif level == 0 and self._overload_logged:
            log.warning("the overload is over: all is judged again", unread=unread)
            self._overload_logged = False
        else:
            log.info("judging adapts to what arrives", judged=words, unread=unread)

    async def _drain(self) -> None:
        """What is left undone here, the next owner does: servers may be away."""
        async with self.owner.lock:
            await self.finishing.clear_outboxes()
            await self.finishing.commit(at_once=True)

    # Partitions come and go ----------------------------------------------------------------------------------------

    def _gain(self, partition: int) -> None:
        self.finishing.gained.add(partition)

    def _state_lost(self, partition: int, known: int) -> None:
        self.mending.note(partition, known)

    async def _take_over(self) -> None:
        """New partitions: first send what their last owner had decided to send."""
        gained = self.finishing.gained
        if not gained:
            return
        for partition in sorted((gained & self.owner.owned) - self.mending.lost):
            await patiently(redis_name(self.settings), partial(self._start_partition, partition), REDIS_ERRORS)
        gained.clear()
        await self.following.gained()

    async def _start_partition(self, partition: int) -> None:
        await self.finishing.resend(partition)
        shards = shards_of_partition(partition, self.settings.partitions)
        self.watch.seen_lately(await self.streams.headers(shards))

    def _lose(self, partition: int) -> None:
        self.streams.drop_partition(partition)
        self.watch.silence.lose(partition)
        self.following.lose(partition)
        self.finishing.lose(partition)

    def _fenced(self, partition: int) -> None:
        self._lose(partition)
        self.owner.lose(partition)


def _size(fetched: Mapping[int, Sequence[ConsumerRecord]]) -> tuple[int, int]:
    """Messages, and bytes of them."""
    return sum(map(len, fetched.values())), sum(len(r.value or b"") for own in fetched.values() for r in own)


def run(settings: WorkerSettings) -> None:
    """Run one detector worker as this process until it is asked to end."""
    worker = DetectorWorker(settings)
    run_process(settings, "detector", worker.run, worker.stopping)

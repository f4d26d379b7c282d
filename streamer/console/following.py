"""Keeps the picture up to date, and tells the open pages: incidents at once, everything else every second or two.

Each thing is followed by a task of its own. What is away is said on the pages and tried again; the pages stay.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog
from pydantic import ValidationError

from streamer.console.hub import Hub
from streamer.console.picture import Picture
from streamer.contracts import Feedback
from streamer.errors import AnomalyLLMError
from streamer.kafka.client import FOLLOW_MAX_WAIT_MS
from streamer.kafka.cluster import ClusterCheck
from streamer.kafka.tables import TableReader
from streamer.masking import masked
from streamer.overview.following import KEPT_INCIDENTS
from streamer.overview.reading import OverviewReader
from streamer.overview.rows import StreamRow
from streamer.overview.streams import read_names
from streamer.refusals import KAFKA_ERRORS, REDIS_ERRORS
from streamer.settings import ConsoleSettings

log = structlog.get_logger(__name__)

HISTORY_S = 7 * 86_400.0  # incidents of a week are shown
TICK_S = 1.0
AGAIN_S = 2.0  # after something was away
POLL_MS = 200
TABLES_S = 0.3  # how soon a page shows what somebody has set
OVERVIEW_S = 2.0
CHUNK = 250  # streams read and parsed at a time: 10 ms, then whoever waits for a page is served
STREAMS_S = 2.0  # between two rounds over all streams, or longer …
SHARE = 0.1  # … so that rounds take no more than this share of the time


class Following:
    """Tasks that fill a picture."""

    def __init__(self, settings: ConsoleSettings, reader: OverviewReader, picture: Picture, hub: Hub) -> None:
        self.reader = reader
        self.picture = picture
        self.caught_up = {name: asyncio.Event() for name in ("incidents", "verdicts", "tables", "streams")}
        self._settings = settings
        self._hub = hub

    async def run(self) -> None:
        """Follow until cancelled."""
        work: dict[str, Callable[[], Awaitable[None]]] = {
            "incidents": self._incidents,
            "verdicts": self._verdicts,
            "tables": self._tables,
            "streams": self._streams,
        }
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick())
            for name, follow in work.items():
                group.create_task(self._keep(name, follow))

    async def _keep(self, name: str, follow: Callable[[], Awaitable[None]]) -> None:
        """It begins anew after an error, which the pages show as long as it lasts."""
        while True:
            try:
                await follow()
            except (AnomalyLLMError, *REDIS_ERRORS, *KAFKA_ERRORS) as error:
                trouble = masked(f"{type(error).__name__}: {error}")
                if self.picture.trouble.get(name) != trouble:
                    log.warning("not followed just now", what=name, error=trouble)
                self.picture.trouble[name] = trouble
            except Exception as error:  # a mistake of ours in one of them concerns no other
                log.exception("not followed just now", what=name)
                self.picture.trouble[name] = f"{type(error).__name__}: {error}"
            await asyncio.sleep(AGAIN_S)

    def _well(self, name: str) -> None:
        self.picture.trouble.pop(name, None)
        self.caught_up[name].set()

    async def _incidents(self) -> None:
        await self.reader.follow("anomalies")
        for incident_id, revisions in self.reader.incidents.events.items():
            if incident_id not in self.picture.incidents:
                for revision in sorted(revisions):
                    self.picture.put_event(revisions[revision], KEPT_INCIDENTS)
        while True:
            self._well("incidents")
            for event in await self.reader.incidents.poll(POLL_MS):
                self.picture.put_event(event, KEPT_INCIDENTS)
                self._hub.say("incident", self.picture.line(event.data))

    async def _verdicts(self) -> None:
        """Follow `feedback` from its beginning, and once more from there when the broker is another one."""
        table, cluster = (
            TableReader(self._settings, "feedback", wait_ms=FOLLOW_MAX_WAIT_MS),
            ClusterCheck(self._settings),
        )
        try:
            await cluster.learn()
            await table.start()
            records = await table.catch_up()
            while True:
                for record in records:
                    try:
                        feedback = Feedback.model_validate_json(record.value or b"")
                    except ValidationError:
                        continue  # the detector dead-letters it
                    self.picture.put_verdict(feedback)
                    self._hub.say("verdict", feedback.model_dump(mode="json"))
                self._well("verdicts")
                records = await table.poll(POLL_MS)
                if not records and await cluster.replaced():
                    await table.rewind()
        finally:
            await table.stop()

    async def _tables(self) -> None:
        """Settings, models and dead letters, and between them how everything else stands."""
        read_at = float("-inf")
        while True:
            if time.monotonic() - read_at >= OVERVIEW_S:
                self.picture.overview = await self.reader.read(count_streams=False)
                read_at = time.monotonic()
            await self.reader.follow("streams", "models", "dead-letters")
            self._well("tables")
            await asyncio.sleep(TABLES_S)

    async def _streams(self) -> None:
        while True:
            begun = time.monotonic()
            known = self.reader.stream_settings.of
            names = await read_names(self.reader.client, self.reader.keys, known)
            rows: list[StreamRow] = []
            for at in range(0, len(names), CHUNK):
                rows += await self.reader.rows(names[at : at + CHUNK])
            self.picture.put_streams(rows)
            self._well("streams")
            await asyncio.sleep(max(STREAMS_S, (time.monotonic() - begun) / SHARE))

    async def _tick(self) -> None:
        while True:
            self._hub.say("tick", {**self.picture.summary(), "pages": self._hub.pages})
            await asyncio.sleep(TICK_S)

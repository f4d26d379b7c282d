"""Students that are announced and cannot be read from the store: told once, tried again, listed until they are there."""

import time
from collections.abc import Mapping, Sequence

import structlog

from streamer.contracts import ModelRecord
from streamer.errors import AnomalyLLMError
from streamer.host.worker import Servers

log = structlog.get_logger(__name__)

# A store that is away for a moment is back soon; one that is another host's folder stays so until somebody acts.
RETRY_S, RETRY_MOST_S = 10.0, 300.0


class MissingStudents:
    """Model records whose artefact could not be read, and when they are tried again."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._waiting: dict[str, ModelRecord] = {}
        self._wait_s = RETRY_S
        self._next = 0.0
        self._logged = False

    def with_due(self, news: Mapping[str, ModelRecord | None]) -> Mapping[str, ModelRecord | None]:
        """News, and those that are to be tried again now; what is new of a stream replaces what waits."""
        for stream in news:
            self._waiting.pop(stream, None)
        if not self._waiting or time.monotonic() < self._next:
            return news
        return {**self._waiting, **news}

    async def note(self, records: Sequence[ModelRecord], failed: Mapping[str, AnomalyLLMError]) -> None:
        """What came of a try to install these. Raises redis.RedisError."""
        key, client = self._servers.keys.students_missing(), self._servers.redis
        bad: dict[bytes | bytearray | memoryview[int] | str | int | float, str] = {
            stream: str(error) for stream, error in failed.items()
        }
        for record in records:
            self._waiting.pop(record.stream, None)
            if record.stream in failed and failed[record.stream].retriable:
                self._waiting[record.stream] = record
        good = [record.stream for record in records if record.stream not in bad]
        if good:
            await client.hdel(key, *good)
        if bad:
            await client.hset(key, mapping={**bad})
        self._servers.stats.counts["students_missing"] = len(self._waiting)
        self._wait_s = min(2 * self._wait_s, RETRY_MOST_S) if self._waiting and not good else RETRY_S
        self._next = time.monotonic() + self._wait_s
        if self._waiting and not self._logged:
            stream = next(iter(self._waiting))
            log.warning("students cannot be read, trying again", streams=len(self._waiting), error=bad[stream])
        elif self._logged and not self._waiting:
            log.info("all students can be read now")
        self._logged = bool(self._waiting)

    async def forget(self, stream: str) -> None:
        """The stream was deleted. Raises redis.RedisError."""
        self._waiting.pop(stream, None)
        await self._servers.redis.hdel(self._servers.keys.students_missing(), stream)

    def lose(self, streams: Sequence[str]) -> None:
        """Another worker has these streams now, and tries for itself."""
        for stream in streams:
            self._waiting.pop(stream, None)

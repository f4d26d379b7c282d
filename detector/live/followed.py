"""Topics that every detector reads from their beginning: `models` and `feedback`."""

from collections.abc import Callable

import structlog
from aiokafka import ConsumerRecord

from streamer.contracts import Feedback, ModelRecord
from streamer.errors import ContractError
from streamer.kafka.client import FOLLOW_MAX_WAIT_MS
from streamer.kafka.dead_letters import DeadLetter
from streamer.kafka.tables import TableReader
from streamer.parsing import parse
from streamer.settings import CommonSettings

log = structlog.get_logger(__name__)


class FollowedModels:
    """`known` maps streams to their newest model record; only those that `wanted` accepts are kept."""

    def __init__(
        self,
        settings: CommonSettings,
        wanted: Callable[[str], bool],
        on_bad: Callable[[DeadLetter], None] | None = None,
    ) -> None:
        """`on_bad` is called with what is no model record, of streams that are wanted."""
        self.known: dict[str, ModelRecord] = {}
        self._unreadable: set[str] = set()  # streams whose artefact is of another format, or damaged
        self._on_bad = on_bad
        self._table = TableReader(settings, "models", wait_ms=FOLLOW_MAX_WAIT_MS)
        self._wanted = wanted

    async def start(self) -> dict[str, ModelRecord | None]:
        """Read the topic up to its end; returns what `poll` would."""
        await self._table.start()
        return self._news(await self._table.catch_up())

    async def poll(self) -> dict[str, ModelRecord | None]:
        """News: stream → its newest record where that is not known yet, None for a tombstone. Does not wait."""
        return self._news(await self._table.poll())

    def _news(self, records: list[ConsumerRecord]) -> dict[str, ModelRecord | None]:
        newest: dict[str, ModelRecord | None] = {}  # a topic that is read again tells old ones first
        for record in records:
            stream = (record.key or b"").decode(errors="replace")
            if not self._wanted(stream):
                continue
            if record.value is None:
                newest[stream] = None
                continue
            try:
                model = parse(ModelRecord, record.value, "a model record")
                if model.stream != stream:
                    raise ContractError("contract", f"a model record of {model.stream[:40]!r} under the key of another")
            except ContractError as error:
                log.warning("model record refused", stream=stream, offset=record.offset, error=str(error))
                if self._on_bad is not None:
                    self._on_bad(DeadLetter(record, error.reason, str(error)))
                continue
            newest[stream] = model
        news = {stream: now for stream, now in newest.items() if self.known.get(stream) != now}
        for stream, now in news.items():
            if now is None:
                self.known.pop(stream, None)
            else:
                self.known[stream] = now
        return news

    def note_readable(self, stream: str, readable: bool) -> None:
        """Whether the student of the stream's newest record could be read; a store that is away decides nothing."""
        (self._unreadable.discard if readable else self._unreadable.add)(stream)

    def of(self, stream: str) -> ModelRecord | None:
        """What the stream has for training to build on: not a student that nobody here can read, which is fitted anew."""
        return None if stream in self._unreadable else self.known.get(stream)

    def forget(self, stream: str) -> None:
        """Another worker has the stream now, or it was deleted."""
        self.known.pop(stream, None)
        self._unreadable.discard(stream)

    async def rewind(self) -> None:
        """Read everything again: the broker is a new one."""
        await self._table.rewind()

    async def again(self) -> dict[str, ModelRecord | None]:
        """Read everything again, up to the end: other streams are wanted; returns what `poll` would."""
        await self._table.rewind()
        return self._news(await self._table.catch_up())

    async def stop(self) -> None:
        """Disconnect."""
        await self._table.stop()


class FollowedFeedback:
    """People's verdicts on incidents. Every one is read again after a start; applying it twice changes nothing."""

    def __init__(self, settings: CommonSettings) -> None:
        self._table = TableReader(settings, "feedback", wait_ms=FOLLOW_MAX_WAIT_MS)

    async def start(self) -> None:
        """Stand at the beginning."""
        await self._table.start()

    async def poll(self) -> tuple[list[Feedback], list[DeadLetter]]:
        """New verdicts, and the records that are none. Does not wait."""
        good: list[Feedback] = []
        bad: list[DeadLetter] = []
        for record in await self._table.poll():
            try:
                good.append(parse(Feedback, record.value, "feedback"))
            except ContractError as error:
                bad.append(DeadLetter(record, error.reason, str(error)))
        return good, bad

    async def rewind(self) -> None:
        """Read everything again."""
        await self._table.rewind()

    async def stop(self) -> None:
        """Disconnect."""
        await self._table.stop()

"""Topics that every detector reads from their beginning: `models` and `feedback`."""

from collections.abc import Callable

import orjson
import structlog
from aiokafka import ConsumerRecord
from pydantic import ValidationError

from streamer.contracts import Contract, Feedback, ModelRecord
from streamer.errors import ContractError
from streamer.kafka.tables import TableReader
from streamer.settings import CommonSettings

log = structlog.get_logger(__name__)


def _parse(kind: type[Contract], raw: bytes | None, what: str) -> Contract:
    """A JSON value → its contract. Raises ContractError, naming each field that is wrong."""
    try:
        return kind.model_validate(orjson.loads(raw or b""))
    except orjson.JSONDecodeError as error:
        raise ContractError("json", f"{what} is not JSON: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors())
        raise ContractError("contract", f"{what}: {wrong}") from None


class FollowedModels:
    """`known` maps streams to their newest model record; only those that `wanted` accepts are kept."""

    def __init__(self, settings: CommonSettings, wanted: Callable[[str], bool]) -> None:
        self.known: dict[str, ModelRecord] = {}
        self._table = TableReader(settings, "models")
        self._wanted = wanted

    async def start(self) -> dict[str, ModelRecord | None]:
        """Read the topic up to its end; returns what `poll` would."""
        await self._table.start()
        return self._take(await self._table.catch_up())

    async def poll(self) -> dict[str, ModelRecord | None]:
        """News: stream → its newest record, None for a tombstone. Does not wait."""
        return self._take(await self._table.poll())

    def _take(self, records: list[ConsumerRecord]) -> dict[str, ModelRecord | None]:
        news: dict[str, ModelRecord | None] = {}
        for record in records:
            stream = (record.key or b"").decode(errors="replace")
            if not self._wanted(stream):
                continue
            if record.value is None:
                self.known.pop(stream, None)
                news[stream] = None
                continue
            try:
                model = _parse(ModelRecord, record.value, "a model record")
            except ContractError as error:
                log.warning("model record refused", stream=stream, offset=record.offset, error=str(error))
                continue
            assert isinstance(model, ModelRecord)
            if self.known.get(stream) != model:  # the topic is read again when partitions are gained
                self.known[stream] = news[stream] = model
        return news

    def forget(self, stream: str) -> None:
        """Another worker has the stream now, or it was deleted."""
        self.known.pop(stream, None)

    async def rewind(self) -> None:
        """Read everything again: the broker is a new one."""
        await self._table.rewind()

    async def again(self) -> dict[str, ModelRecord | None]:
        """Read everything again, up to the end: other streams are wanted; returns what `poll` would."""
        await self._table.rewind()
        return self._take(await self._table.catch_up())

    async def stop(self) -> None:
        """Disconnect."""
        await self._table.stop()


class FollowedFeedback:
    """What people say of incidents. Every verdict is read again after a start; taking it twice changes nothing."""

    def __init__(self, settings: CommonSettings) -> None:
        self._table = TableReader(settings, "feedback")

    async def start(self) -> None:
        """Stand at the beginning."""
        await self._table.start()

    async def poll(self) -> tuple[list[Feedback], list[tuple[ConsumerRecord, ContractError]]]:
        """New verdicts, and the records that are none. Does not wait."""
        good: list[Feedback] = []
        bad: list[tuple[ConsumerRecord, ContractError]] = []
        for record in await self._table.poll():
            try:
                feedback = _parse(Feedback, record.value, "feedback")
            except ContractError as error:
                bad.append((record, error))
                continue
            assert isinstance(feedback, Feedback)
            good.append(feedback)
        return good, bad

    async def rewind(self) -> None:
        """Read everything again."""
        await self._table.rewind()

    async def stop(self) -> None:
        """Disconnect."""
        await self._table.stop()

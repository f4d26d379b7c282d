"""Newest model records, followed from the compacted `models` topic."""

from aiokafka import ConsumerRecord

from streamer.contracts import ModelRecord
from streamer.errors import ContractError
from streamer.kafka.client import FOLLOW_MAX_WAIT_MS
from streamer.kafka.tables import TableReader
from streamer.parsing import parse
from streamer.settings import CommonSettings


class ModelTable:
    """`of` maps a stream to its newest record; `poll` brings it up to date."""

    def __init__(self, settings: CommonSettings) -> None:
        self.of: dict[str, ModelRecord] = {}
        self._table = TableReader(settings, "models", wait_ms=FOLLOW_MAX_WAIT_MS)

    async def start(self) -> None:
        """Read the topic up to its end. Raises RefusedError."""
        await self._table.start()
        self._apply(await self._table.catch_up())

    async def poll(self) -> None:
        """Apply what is new; does not wait."""
        self._apply(await self._table.poll())

    def _apply(self, records: list[ConsumerRecord]) -> None:
        for record in records:
            stream = (record.key or b"").decode(errors="replace")
            if record.value is None:
                self.of.pop(stream, None)
                continue
            try:
                self.of[stream] = parse(ModelRecord, record.value, "a model record")
            except ContractError:
                continue  # the workers say it, and keep what they had

    def newest(self, count: int) -> list[ModelRecord]:
        """So many, the newest first."""
        return sorted(self.of.values(), key=lambda record: record.announced_at, reverse=True)[:count]

    async def rewind(self) -> None:
        """Read everything again: the broker is a new one."""
        self.of.clear()
        await self._table.rewind()

    async def stop(self) -> None:
        """Disconnect."""
        await self._table.stop()

"""Settings of all streams, followed from the compacted `streams` topic."""

from collections.abc import Callable

import structlog
from aiokafka import ConsumerRecord

from streamer.contracts import StreamSettings
from streamer.errors import ContractError
from streamer.kafka.client import FOLLOW_MAX_WAIT_MS
from streamer.kafka.tables import TableReader
from streamer.parsing import parse
from streamer.settings import CommonSettings

log = structlog.get_logger(__name__)


class StreamSettingsTable:
    """`of` maps a stream to its settings; `poll` brings it up to date."""

    def __init__(
        self,
        settings: CommonSettings,
        on_delete: Callable[[str], None],
        on_bad: Callable[[ConsumerRecord, ContractError], None] | None = None,
    ) -> None:
        self.of: dict[str, StreamSettings] = {}
        self._table = TableReader(settings, "streams", wait_ms=FOLLOW_MAX_WAIT_MS)
        self._on_delete = on_delete
        self._on_bad = on_bad

    async def start(self) -> None:
        """Read the topic up to its end. Deletions that lie in the past are done with."""
        await self._table.start()
        for record in await self._table.catch_up():
            self._apply(record, replay=True)

    async def poll(self) -> None:
        """Apply what is new; does not wait."""
        for record in await self._table.poll():
            self._apply(record, replay=False)

    def _apply(self, record: ConsumerRecord, replay: bool) -> None:
        if not record.key:
            self._bad(record, ContractError("contract", "a `streams` record needs the stream's name as key"))
            return
        stream = record.key.decode(errors="replace")
        if record.value is None:
            self.of.pop(stream, None)
            if not replay:
                self._on_delete(stream)
            return
        try:
            self.of[stream] = parse(StreamSettings, record.value, "stream settings")
        except ContractError as error:
            self._bad(record, error)

    def _bad(self, record: ConsumerRecord, error: ContractError) -> None:
        log.warning("settings of a stream refused", key=record.key, offset=record.offset, error=str(error))
        if self._on_bad:
            self._on_bad(record, error)

    async def rewind(self) -> None:
        """The broker is a new one: settings start anew."""
        self.of.clear()
        await self._table.rewind()

    async def stop(self) -> None:
        """Disconnect."""
        await self._table.stop()

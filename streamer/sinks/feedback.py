"""Incidents that a person has confirmed (`feedback`: true, maintenance): pagers are told that somebody is at it."""

from collections import OrderedDict

import structlog
from pydantic import ValidationError

from streamer.contracts import Feedback
from streamer.errors import UnavailableError
from streamer.kafka.client import FOLLOW_MAX_WAIT_MS
from streamer.kafka.tables import TableReader
from streamer.settings import CommonSettings

log = structlog.get_logger(__name__)
MOST = 100_000
CONFIRMED = ("true", "maintenance")


class Acknowledged:
    """Follows the whole topic, without a group: it is small, and every process needs all of it."""

    def __init__(self, settings: CommonSettings) -> None:
        self._reader = TableReader(settings, "feedback", wait_ms=FOLLOW_MAX_WAIT_MS)
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, incident_id: str) -> bool:
        return incident_id in self._ids

    async def start(self) -> None:
        """Connect; waits for Kafka."""
        await self._reader.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._reader.stop()

    async def rewind(self) -> None:
        """The broker is a new one."""
        await self._reader.rewind()

    async def poll(self, timeout_ms: int) -> bool:
        """Read what is new; whether an incident was confirmed. Bad feedback is the detector's to dead-letter."""
        try:
            records = await self._reader.poll(timeout_ms)
        except UnavailableError as error:
            log.warning("feedback not read", error=str(error))
            return False
        found = False
        for record in records:
            try:
                feedback = Feedback.model_validate_json(record.value or b"")
            except ValidationError:
                continue
            if feedback.verdict in CONFIRMED and feedback.incident_id not in self._ids:
                self._ids[feedback.incident_id] = None
                found = True
        while len(self._ids) > MOST:
            self._ids.popitem(last=False)
        return found

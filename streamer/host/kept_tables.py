"""What the embedded broker forgets at a restart and people have made: settings of streams, and which students are in force.

The broker keeps everything in memory. `anomalyllm up` follows the compacted topics, keeps the newest record of each key in a
file of its state folder, and publishes them again on a broker that has begun anew.
"""

import base64
import os
from pathlib import Path

import orjson
import structlog

from streamer.contracts import COMPACTED
from streamer.errors import UnavailableError
from streamer.kafka.client import FOLLOW_MAX_WAIT_MS, make_producer
from streamer.kafka.sending import Outgoing, send_patiently
from streamer.kafka.tables import TableReader
from streamer.settings import CommonSettings

log = structlog.get_logger(__name__)


class KeptTables:
    """The newest records of the compacted topics, in a file."""

    def __init__(self, settings: CommonSettings, path: Path) -> None:
        """Reads the file; one that cannot be read is set aside as `….damaged`, and said."""
        self._settings = settings
        self._path = path
        self._tables = {topic: TableReader(settings, topic, wait_ms=FOLLOW_MAX_WAIT_MS) for topic in sorted(COMPACTED)}
        self._newest: dict[str, dict[str, str]] = {topic: {} for topic in self._tables}
        try:
            self._newest |= {topic: dict(rows) for topic, rows in orjson.loads(path.read_bytes()).items()}
        except FileNotFoundError:
            pass
        except (ValueError, AttributeError, TypeError) as error:
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            log.warning("settings and models cannot be put back", file=str(aside), error=str(error))

    def __len__(self) -> int:
        """Records kept."""
        return sum(map(len, self._newest.values()))

    async def start(self) -> None:
        """Put back what is kept, on a broker that has nothing; then follow."""
        await self._put_back()
        for table in self._tables.values():
            await table.start()

    async def begin_again(self) -> None:
        """The broker is a new one, and has its topics."""
        await self._put_back()
        for table in self._tables.values():
            await table.rewind()

    async def poll(self) -> None:
        """Keep what is new; does not wait. A broker that is away has nothing new."""
        changed = False
        for topic, table in self._tables.items():
            rows = self._newest[topic]
            try:
                records = await table.poll()
            except UnavailableError as error:
                log.debug("settings and models not followed", error=str(error))
                continue
            for record in records:
                key = base64.b64encode(record.key or b"").decode()
                before = rows.get(key)
                if record.value is None:
                    rows.pop(key, None)
                else:
                    rows[key] = base64.b64encode(record.value).decode()
                changed |= rows.get(key) != before
        if changed:
            self._save()

    async def stop(self) -> None:
        """Keep the last, and disconnect."""
        await self.poll()
        for table in self._tables.values():
            await table.stop()

    async def _put_back(self) -> None:
        records = [
            Outgoing(self._settings.topic(topic), base64.b64decode(value), base64.b64decode(key))
            for topic, rows in self._newest.items()
            for key, value in rows.items()
        ]
        if not records:
            return
        producer = await make_producer(self._settings)
        try:
            await send_patiently(self._settings, producer, records)
        finally:
            await producer.stop()

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(orjson.dumps(self._newest))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)

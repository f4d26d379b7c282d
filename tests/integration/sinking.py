"""Helpers of the sinks' tests between real servers: a file, a process, events on `anomalies`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from streamer.contracts import AnomalyEvent
from streamer.settings import CommonSettings
from streamer.sinks.config import load_sinks
from streamer.sinks.process import SinkProcess
from testkit.serving import until
from tests.streamer.sinks.samples import event


def life(incident_id: str, **fields: Any) -> tuple[AnomalyEvent, AnomalyEvent]:
    """An incident's beginning and end."""
    return event(incident_id, **fields), event(incident_id, 1, "resolved", **fields)


@asynccontextmanager
async def sinking(settings: CommonSettings, folder: Path, text: str) -> AsyncIterator[SinkProcess]:
    """The process of `anomalyllm sink`, in this one; each sink has partitions (all of them, or some)."""
    file = folder / "sinks.toml"
    file.write_text(text)
    process = SinkProcess(settings, load_sinks(file))
    task = asyncio.create_task(process.run())

    async def ready() -> bool:
        if task.done():
            task.result()
        most = settings.partitions if settings.assignment == "all" else 1
        return bool(process.workers) and all(len(worker.intake.deliveries) >= most for worker in process.workers)

    try:
        await until(ready)
        yield process
    finally:
        process.stop()
        await task

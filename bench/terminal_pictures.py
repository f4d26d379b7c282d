"""docs/terminal/*.svg: what the commands show of a small shop with three weeks of history and an outage.

`python -m bench.terminal_pictures docs/terminal` (about two minutes): all three workers, an embedded broker and Valkey.
"""

import asyncio
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path

os.environ["COLUMNS"] = "112"  # before anything asks how wide the terminal is

import numpy as np
import orjson
from rich.console import Console, RenderableType

from streamer.cli.alerts import line
from streamer.cli.incident_story import story
from streamer.cli.root import build_app
from streamer.cli.running import only_warnings
from streamer.cli.status import render
from streamer.cli.stream_picture import picture
from streamer.cli.streams import table
from streamer.host.embedded import EmbeddedStack
from streamer.host.fleet import Fleet, worker_env
from streamer.kafka.client import make_producer
from streamer.kafka.publishing import HISTORY_HEADERS
from streamer.kafka.topics import provision
from streamer.overview.query import StreamQuery
from streamer.overview.reading import OverviewReader, reading
from streamer.settings import CommonSettings

MINUTE_S, DAYS, LIVE, OUTAGE = 60, 21, 120, 25
STREAMS = ("shop.orders", "shop.latency_ms", "web-1.cpu", "web-2.cpu", "queue.depth", "mail.sent")
BROKEN = "shop.orders"
WAIT_S = 300.0


def values(stream: str, minutes: np.ndarray) -> np.ndarray:
    """A day of high noons and quiet nights, weekends at half, some noise."""
    rng = np.random.default_rng(STREAMS.index(stream))
    noise = rng.normal(size=len(minutes))
    day, weekday = minutes % 1440 / 1440, minutes // 1440 % 7
    level = 60 + 45 * np.sin(2 * np.pi * (day - 0.3)) + 6 * np.sin(6 * np.pi * day)
    return np.asarray(np.maximum(level * np.where(weekday >= 5, 0.6, 1.0) + 4 * noise, 0.0))


async def main(folder: Path) -> None:
    """Run the shop, break it, and draw."""
    build_app()  # the detector's room says that it can look at streams
    only_warnings()
    with tempfile.TemporaryDirectory() as state:
        async with EmbeddedStack(Path(state) / "stack") as stack:
            settings = CommonSettings(
                bootstrap=stack.bootstrap, redis_url=stack.redis_url, assignment="all", state_dir=Path(state)
            )
            await provision(settings)
            workers = Fleet({**worker_env(settings), "ANOMALYLLM_TEACHER": "none"}, Path(state))
            workers.start()
            try:
                await _publish(settings)
                async with reading(settings) as reader:
                    await _until(reader, alerted=True)
                    await _draw(settings, reader, folder)
            finally:
                await workers.stop()


async def _publish(settings: CommonSettings) -> None:
    producer = await make_producer(settings)
    last = int(time.time()) // MINUTE_S
    minutes = np.arange(last - DAYS * 1440, last + 1)
    rows = {stream: values(stream, minutes) for stream in STREAMS}
    rows[BROKEN][-OUTAGE:] *= 0.15
    for stream in STREAMS:
        own = {"labels": {"team": stream.partition(".")[0]}, "interval_s": MINUTE_S}
        await producer.send_and_wait(settings.topic("streams"), orjson.dumps(own), key=stream.encode())

    async def send(first: int, end: int, history: bool) -> None:
        for stream in STREAMS:
            points = [
                [int(m) * MINUTE_S, round(float(v), 2)]
                for m, v in zip(minutes[first:end], rows[stream][first:end], strict=True)
            ]
            body = orjson.dumps({"stream": stream, "points": points})
            headers = HISTORY_HEADERS if history else None
            await producer.send_and_wait(settings.topic("metrics"), body, key=stream.encode(), headers=headers)

    for first in range(0, len(minutes) - LIVE, 1440):
        await send(first, min(first + 1440, len(minutes) - LIVE), history=True)
    async with reading(settings) as reader:
        await _until(reader, alerted=False)
    for first in range(len(minutes) - LIVE, len(minutes), 5):
        await send(first, first + 5, history=False)
        await asyncio.sleep(0.1)
    await producer.stop()


async def _until(reader: OverviewReader, alerted: bool) -> None:
    """All streams have a model; or an incident is open."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        await reader.follow()
        rows, _ = await reader.streams(StreamQuery())
        if alerted and any(row.open for row in rows):
            return
        if not alerted and len(rows) == len(STREAMS) and len(reader.models.of) == len(STREAMS):
            return
        await asyncio.sleep(0.5)
    states = [(row.name, row.state, row.why, row.open) for row in rows]
    raise SystemExit(f"it did not come to that in time: {len(reader.models.of)} models, {states}")


async def _draw(settings: CommonSettings, reader: OverviewReader, folder: Path) -> None:
    rows, _ = await reader.streams(StreamQuery(sort="incident"))
    said = [event for event in reader.incidents.newest() if event.data.stream == BROKEN]
    shown: dict[str, tuple[str, list[RenderableType]]] = {
        "status": ("anomalyllm status", [render(await reader.read())]),
        "streams-list": ("anomalyllm streams list --sort incident", [table(rows)]),
        "streams-show": (f"anomalyllm streams show {BROKEN} --last 12h", [await picture(settings, BROKEN, 43_200, [])]),
        "alerts": ("anomalyllm alerts --since 1d", [line(event) for event in reader.incidents.newest()[-8:]]),
        "alerts-show": (
            f"anomalyllm alerts show {said[-1].data.incident_id[:8]}",
            [await story(settings, said[-1].data.incident_id, 86_400, True)],
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, parts) in shown.items():
        console = Console(record=True, width=112, force_terminal=True, file=io.StringIO())
        for part in parts:
            console.print(part)
        drawn = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title=title), flags=re.DOTALL)  # no font from afar
        (folder / f"{name}.svg").write_text(drawn)
        print(folder / f"{name}.svg")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

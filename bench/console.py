"""The console, measured and pictured in a real Chromium.

python -m bench.console frames      # 10 000 streams: times of frames while the list is scrolled and everything is live
python -m bench.console latency     # from a record on `anomalies` to its line on the page
python -m bench.console pictures docs/console   # pictures of every page, light and dark, desktop and phone

Shapes: S slots of a stream, C channels
"""

import argparse
import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer
from playwright.async_api import Browser, Page

from bench.console_scene import scene, send
from streamer.console.following import Following
from streamer.console.process import serving
from streamer.contracts import AnomalyEvent, ChannelShare, Incident, IncidentState, Severity
from streamer.host.embedded import EmbeddedStack
from streamer.host.fleet import Fleet, worker_env
from streamer.kafka.client import make_producer
from streamer.kafka.topics import provision
from streamer.settings import CommonSettings, ConsoleSettings
from streamer.timestamps import format_ns
from testkit.chromium import DESKTOP, PHONE, Errors, chromium, opened
from testkit.serving import send_events

# Milliseconds of each frame of so many seconds, while the list is scrolled by so many lines a frame, there and back: in 20 s
# and with 30 lines an even share of all 10 000 is drawn.
FRAMES = """async ([seconds, lines]) => {
  const rows = document.querySelector(".rows");
  const took = [];
  let before = performance.now(), way = lines * 46;
  const end = before + seconds * 1000;
  while (performance.now() < end) {
    if (lines) {
      rows.scrollTop += way;
      if (rows.scrollTop <= 0 || rows.scrollTop + rows.clientHeight >= rows.scrollHeight - 1) way = -way;
    }
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    took.push(now - before);
    before = now;
  }
  return took;
}"""
# Pages of each look; of those not named, all.
LOOKS = {"dark": ("overview", "stream"), "phone": ("overview", "streams", "stream"), "phone-dark": ("incident",)}


def event(
    stream: str,
    state: IncidentState = "open",
    severity: Severity = "warning",
    revision: int = 0,
    made: str | None = None,
) -> AnomalyEvent:
    """An incident as the detector words one."""
    now = format_ns(time.time_ns())
    share = ChannelShare(channel="value", share=1.0, value=97.3, expected=7.0, low=3.0, high=12.0)
    incident = Incident(
        incident_id=made or str(uuid.uuid4()), revision=revision, state=state, stream=stream, severity=severity,
        started_at=now, updated_at=now, ended_at=now if state == "resolved" else None, grid_version=1, anchor_slot=1,
        slot=1, slots=1, score=6.2, tail_probability=1e-6, threshold=5.0, channels=[share], view="forecast", scale=8,
        depth=0, reason=f"{stream} rose to 97.3, where 3 to 12 are expected.",
    )  # fmt: skip
    return AnomalyEvent(
        id=f"{incident.incident_id}:{revision}", source="bench", type=f"anomalyllm.incident.{state}", subject=stream,
        time=now, data=incident,
    )  # fmt: skip


@asynccontextmanager
async def crowd(folder: Path, streams: int) -> AsyncIterator[tuple[CommonSettings, AIOKafkaProducer]]:
    """So many streams, 200 points each, with a streamer at work."""
    async with EmbeddedStack(folder) as stack:
        settings = CommonSettings(
            bootstrap=stack.bootstrap, redis_url=stack.redis_url, state_dir=folder / "state", assignment="all"
        )
        await provision(settings)
        fleet, producer = Fleet(worker_env(settings), folder, names=("streamer",)), await make_producer(settings)
        fleet.start()
        try:
            rng, begin = np.random.default_rng(0), int(time.time()) - 2_000
            wave = np.sin(np.arange(200) / 15)[:, None]
            for at in range(streams):
                values_SC = 50 + 20 * wave * rng.random() + rng.normal(size=(200, 1))
                name = f"site-{at % 40:02}.host-{at:05}.cpu"
                await send(producer, settings, name, ("value",), begin, values_SC, history=False, step_s=10)
            yield settings, producer
        finally:
            await producer.stop()
            await fleet.stop()


async def all_there(following: Following, streams: int) -> None:
    """Wait until the console knows all of them, on their grid."""
    async with asyncio.timeout(300):
        while sum(bool(row.interval_s) for row in following.picture.streams.values()) < streams:
            await asyncio.sleep(0.5)


def told(name: str, took_ms: list[float]) -> str:
    """A line of figures."""
    frames = np.array(took_ms[5:])
    late = float((frames > 50).mean())
    return (
        f"{name}: {len(frames)} frames, median {np.median(frames):.1f} ms, p95 {np.quantile(frames, 0.95):.1f} ms, "
        f"p99 {np.quantile(frames, 0.99):.1f} ms, longest {frames.max():.0f} ms, over 50 ms {late:.2%}"
    )


async def frames(folder: Path, streams: int) -> None:
    """Times of frames, at rest and while scrolling, with ten incidents a second coming in."""
    async with crowd(folder, streams) as (settings, producer), serving(console_of(settings)) as (address, following):
        begin = time.monotonic()
        await all_there(following, streams)
        print(f"{streams} streams known to the console {time.monotonic() - begin:.1f} s after its start")

        async def busy() -> None:
            names = list(following.picture.streams)
            for at in range(10**6):
                await send_events(producer, settings, event(names[at * 37 % len(names)]))
                await asyncio.sleep(0.1)

        async with chromium() as browser:
            errors = Errors()
            page = await opened(browser, f"{address}/streams?sort=name", errors)
            await page.wait_for_selector(".row .name >> text=host-")
            task = asyncio.create_task(busy())
            print(told("at rest, live", await page.evaluate(FRAMES, [10, 0])))
            print(told("scrolling, live", await page.evaluate(FRAMES, [20, 30])))
            task.cancel()
            for path in ("/api/summary", "/api/streams?count=50&sort=name", "/api/streams?q=host-0042&sort=score"):
                print(f"{path}: {await answered(page, address + path):.1f} ms, median of 20")
            print(f"errors on the page's console: {errors or 'none'}")


async def answered(page: Page, address: str) -> float:
    """Median time of an answer as the browser sees it, ms."""
    took = await page.evaluate(
        """async (address) => { const took = [];
        for (let i = 0; i < 20; i++) { const begin = performance.now(); await (await fetch(address)).text(); took.push(performance.now() - begin); }
        return took; }""",
        address,
    )
    return float(np.median(took))


async def latency(folder: Path, tries: int = 20) -> None:
    """From the acknowledgement of a record on `anomalies` to its line in the browser."""
    async with crowd(folder, 50) as (settings, producer), serving(console_of(settings)) as (address, following):
        await all_there(following, 50)
        await following.caught_up["incidents"].wait()
        async with chromium() as browser:
            errors = Errors()
            page = await opened(browser, address, errors)
            await page.wait_for_selector("#live.on")
            took = []
            for at in range(tries):
                name = list(following.picture.streams)[at]
                waiting = asyncio.create_task(page.wait_for_selector(f".col .incident.open .name >> text={name}"))
                await asyncio.sleep(0.05)
                begin = time.monotonic()
                await send_events(producer, settings, made := event(name))
                await waiting
                took.append((time.monotonic() - begin) * 1000)
                await send_events(producer, settings, event(name, "resolved", revision=1, made=made.data.incident_id))
            print(
                f"anomalies to the page, {tries} times: median {np.median(took):.0f} ms, longest {max(took):.0f} ms; "
                f"errors on the page's console: {errors or 'none'}"
            )


def console_of(settings: CommonSettings, token: str = "") -> ConsoleSettings:
    """A console beside these servers."""
    return ConsoleSettings.model_validate({**settings.model_dump(), "console_port": 0, "console_token": token})


async def pictures(folder: Path, into: Path) -> None:
    """Every page of the scene."""
    into.mkdir(parents=True, exist_ok=True)
    async with (
        scene(folder) as settings,
        serving(console_of(settings, "a token of the bench")) as (address, following),
        chromium() as browser,
    ):
        async with asyncio.timeout(180):
            while sum(map(bool, (row.open for row in following.picture.streams.values()))) < 3:
                await asyncio.sleep(0.5)
        await asyncio.sleep(8)  # whatever else opens
        errors = Errors()
        looks: dict[str, dict[str, Any]] = {
            "light": {"viewport": DESKTOP, "color_scheme": "light"},
            "dark": {"viewport": DESKTOP, "color_scheme": "dark"},
            "phone": {"viewport": PHONE, "color_scheme": "light", "device_scale_factor": 2, "has_touch": True},
            "phone-dark": {"viewport": PHONE, "color_scheme": "dark", "device_scale_factor": 2, "has_touch": True},
        }
        for look, options in looks.items():
            await _pictures(browser, address, following, errors, look, options, into)
        print(f"errors on the pages' consoles: {errors or 'none'}")


async def _pictures(
    browser: Browser,
    address: str,
    following: Following,
    errors: Errors,
    look: str,
    options: dict[str, object],
    into: Path,
) -> None:
    latest = next(i for i in following.picture.newest() if i["stream"] == "checkout.latency")
    paths = {  # of which `LOOKS` are taken
        "overview": ("/", ".incident"),
        "streams": ("/streams", ".row[href]"),
        "stream": ("/stream?name=checkout.latency", ".chart[data-band]:not([data-band='0'])"),
        "channels": ("/stream?name=db-1.cpu&channel=user", ".chart[data-band]:not([data-band='0'])"),
        "incidents": ("/incidents?group=label:team", ".incident"),
        "incident": (f"/incident?id={latest['incident_id']}", ".chart[data-points]:not([data-points='0'])"),
        "health": ("/health", "table"),
    }
    page = await opened(browser, address, errors, **options)
    for name, (path, there) in paths.items():
        if name not in LOOKS.get(look, paths):
            continue
        await page.goto(address + path)
        await page.wait_for_selector(there)
        await page.wait_for_selector("#live.on")
        await page.wait_for_timeout(1_500)  # a page that is live has no moment of its own
        await page.screenshot(
            path=into / f"{name}-{look}.png", full_page=name != "streams" and not look.startswith("phone")
        )
    await page.context.close()


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["frames", "latency", "pictures"])
    parser.add_argument("into", nargs="?", type=Path, default=Path("docs/console"))
    parser.add_argument("--streams", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "frames":
            asyncio.run(frames(Path(folder), given.streams))
        elif given.what == "latency":
            asyncio.run(latency(Path(folder)))
        else:
            asyncio.run(pictures(Path(folder), given.into))


if __name__ == "__main__":
    main()

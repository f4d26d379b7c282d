"""The console in a real Chromium, between real servers."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaProducer
from playwright.async_api import Browser, Page, Request

from streamer.console.following import Following
from streamer.console.process import serving
from streamer.contracts import AnomalyEvent, Feedback, IncidentState, ModelRecord, ModelRef, StreamSettings
from streamer.settings import CommonSettings, ConsoleSettings
from streamer.timestamps import format_ns
from testkit.chromium import PHONE, Errors, chromium, executable, opened
from testkit.serving import producing, read_all, running, send_events, until

pytestmark = [
    pytest.mark.skipif(
        executable() is None, reason="there is no Chromium: install one, or name it in ANOMALYLLM_CHROMIUM"
    ),
    pytest.mark.slow(20),
]
TOKEN = "correct horse battery"
STREAMS = ("web.cpu", "web.latency ms/%?&<b>")
PAGES = ("/", "/streams", "/stream?name=web.cpu", "/incidents", "/incident?id=one", "/health")


def ref(version: str) -> ModelRef:
    """A model that was fitted on enough."""
    return ModelRef(version=version, uri="u", row=0, sha256="0" * 64, grid_version=1, trained_slots=(0, 1), points=2000)


def event(stream: str, made: str, state: IncidentState = "open", revision: int = 0) -> AnomalyEvent:
    """As the detector words one."""
    now = format_ns(time.time_ns())
    return AnomalyEvent.model_validate(
        {
            "id": f"{made}:{revision}", "source": "test", "type": f"anomalyllm.incident.{state}", "subject": stream,
            "time": now,
            "data": {
                "incident_id": made, "revision": revision, "state": state, "stream": stream, "severity": "critical",
                "started_at": now, "updated_at": now, "ended_at": now if state == "resolved" else None,
                "grid_version": 1, "anchor_slot": 1, "slot": 1, "slots": 1, "score": 6.0, "tail_probability": 1e-6,
                "threshold": 5.0, "labels": {"room": "lab"},
                "channels": [{"channel": "value", "share": 1.0, "value": 97.3, "low": 3, "high": 12}],
                "view": "forecast", "scale": 8, "depth": 0, "reason": "It rose to <b>97.3</b>, for 3.5 min so far. It is rare.",
            },
        }
    )  # fmt: skip


@dataclass
class Open:
    """A console at work, with two streams and one incident."""

    settings: ConsoleSettings
    address: str
    following: Following
    producer: AIOKafkaProducer
    browser: Browser
    errors: Errors

    async def page(self, path: str = "/", **context: Any) -> Page:
        """A page of its own."""
        return await opened(self.browser, self.address + path, self.errors, **context)

    async def announce(self, *events: AnomalyEvent) -> None:
        """On `anomalies`, as the detector would."""
        await send_events(self.producer, self.settings, *events)


@asynccontextmanager
async def console(settings: CommonSettings, token: str = TOKEN) -> AsyncIterator[Open]:
    """Servers, a streamer, a console, a browser."""
    made = ConsoleSettings.model_validate({**settings.model_dump(), "console_port": 0, "console_token": token})
    async with producing(settings) as producer, running(settings), serving(made) as (address, following):
        begin = time.time() - 300
        for name in STREAMS:
            points = [[begin + k, 10 + float(np.sin(k / 5))] for k in range(300)]
            body = orjson.dumps({"stream": name, "points": points})
            await producer.send_and_wait(settings.topic("metrics"), body, key=name.encode())
        record = ModelRecord(
            stream="web.cpu", promoted=ref("v2"), previous=ref("v1"), announced_at="2026-01-31T12:00:00Z"
        )
        await producer.send_and_wait(settings.topic("models"), record.model_dump_json().encode(), key=b"web.cpu")
        async with chromium() as browser:
            run = Open(made, address, following, producer, browser, Errors())
            await run.announce(event("web.cpu", "one"))

            async def there() -> bool:
                rows, models = following.picture.streams, following.reader.models.of
                return (
                    len(rows) == 2 and all(row.interval_s for row in rows.values()) and "web.cpu" in models
                    and bool(following.picture.incidents)
                )  # fmt: skip

            await until(there)
            yield run
            assert run.errors == []


def _note(asked: list[str], request: Request) -> None:
    asked.append(request.url)


async def newest(settings: CommonSettings, topic: str, fits: Callable[[bytes], bool]) -> bytes:
    """The newest record's value, once it fits."""
    found: list[bytes] = []

    async def said() -> bool:
        found[:] = [record.value for record in await read_all(settings, topic) if record.value]
        return bool(found) and fits(found[-1])

    await until(said)
    return found[-1]


async def test_every_page_loads_from_here_alone_and_draws_and_fits_a_phone(settings: CommonSettings) -> None:
    async with console(settings) as run:
        looks: list[dict[str, Any]] = [{}, {"viewport": PHONE, "color_scheme": "dark"}]
        for context in looks:
            page = await run.page(**context)
            asked: list[str] = []
            page.on("request", partial(_note, asked))
            for path in PAGES:
                await page.goto(run.address + path)
                await page.wait_for_selector("#live.on")
                await page.wait_for_selector("main h1:not(:empty)")
                if path.startswith(("/stream?", "/incident?")):
                    await page.wait_for_selector(".chart[data-points]:not([data-points='0']) canvas")
                if path == "/streams":
                    await page.wait_for_selector(".row[href] canvas")
                if path == "/health":
                    await page.wait_for_selector("td >> text=streamer")
                wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, (path, context)
            assert asked
            assert [url for url in asked if not url.startswith((run.address, "data:"))] == []
            drawn = """() => { const it = document.querySelector(".uplot canvas"), pen = it.getContext("2d");
                return pen.getImageData(0, 0, it.width, it.height).data.some((value) => value > 0); }"""
            await page.goto(run.address + PAGES[2])
            await page.wait_for_selector(".chart[data-points]:not([data-points='0']) canvas")
            await page.wait_for_function(drawn)
            await page.context.close()


async def test_an_alert_appears_and_its_words_are_text(settings: CommonSettings) -> None:
    async with console(settings) as run:
        page = await run.page("/")
        await page.wait_for_selector("#live.on")
        name = STREAMS[1]
        await run.announce(event(name, "two"))
        line = page.locator(".incident.open", has_text=name)
        await line.wait_for()
        assert await line.locator(".why").inner_text() == "It rose to <b>97.3</b>. It is rare."
        await page.locator("#open-count", has_text="2").wait_for()
        await line.click()
        await page.wait_for_selector(".chart[data-points]:not([data-points='0'])")
        await run.announce(event(name, "two", "resolved", 1))
        await page.wait_for_selector(".head .sev.over")
        await page.click("main h1 a")
        await page.wait_for_selector(f"text={name}")
        assert await page.title() == f"{name} · AnomalyLLM"


async def test_a_verdict_a_dial_a_mute_and_a_rollback_reach_their_topics_once_the_token_is_right(
    settings: CommonSettings,
) -> None:
    async with console(settings) as run:
        page = await run.page("/incident?id=one")
        await page.fill("input[aria-label=Note]", "a test of the pump")
        await page.click("[data-verdict=false_alarm]")
        await page.fill("#token input", "this is not the one")
        await page.press("#token input", "Enter")
        await page.wait_for_selector("#token >> text=wrong token")
        assert await read_all(settings, "feedback") == []
        run.errors.clear()  # the browser logs the answer 401
        await page.fill("#token input", TOKEN)
        await page.press("#token input", "Enter")
        await page.wait_for_selector("[data-verdict=false_alarm][aria-pressed=true]")
        said = Feedback.model_validate_json(await newest(settings, "feedback", bool))
        assert (said.incident_id, said.stream, said.verdict, said.note) == (
            "one",
            "web.cpu",
            "false_alarm",
            "a test of the pump",
        )

        await page.click("main h1 a")
        await page.select_option("#dial", "1")
        await page.wait_for_selector("dd:text-is('1/week')")
        await page.click("#mute")
        await page.wait_for_selector("#mute >> text=Alert again")
        muted = StreamSettings.model_validate_json(await newest(settings, "streams", lambda value: b"paused" in value))
        assert (muted.paused, muted.alerts_per_week) == (True, 1.0)

        page.on("dialog", lambda dialog: dialog.accept())
        await page.click("#rollback")
        back = await newest(
            settings, "models", lambda value: ModelRecord.model_validate_json(value).promoted == ref("v1")
        )
        assert ModelRecord.model_validate_json(back).previous == ref("v2")


async def test_without_a_token_pages_only_show(settings: CommonSettings) -> None:
    async with console(settings, token="") as run:
        page = await run.page("/incident?id=one")
        await page.wait_for_selector("text=View only: start the console with --console-token")
        assert await page.locator("[data-verdict]").count() == 0
        await page.goto(run.address + "/stream?name=web.cpu")
        await page.wait_for_selector(".chart[data-points]")
        assert await page.locator("#mute, #dial, #rollback").count() == 0
        answer = await page.evaluate(
            """async () => (await fetch("/api/change", {method: "POST", headers: {"content-type": "application/json"},
            body: JSON.stringify({what: "mute", stream: "web.cpu", muted: true})})).status"""
        )
        assert answer == 403
        assert await read_all(settings, "streams") == []
        run.errors.clear()  # the browser logs the answer 403


async def test_keys_lead_everywhere_and_the_theme_stays(settings: CommonSettings) -> None:
    async with console(settings) as run:
        page = await run.page("/", color_scheme="light")
        await page.keyboard.press("?")
        await page.wait_for_selector("#shortcuts[open] >> text=Light or dark")
        await page.keyboard.press("Escape")
        await page.keyboard.press("t")
        await page.wait_for_selector("html[data-theme=dark]", state="attached")
        await page.reload()
        await page.wait_for_selector("html[data-theme=dark]", state="attached")
        await page.keyboard.press("g")
        await page.keyboard.press("s")
        await page.wait_for_selector(".row[href]")
        await page.keyboard.press("/")
        await page.keyboard.type("web.cpu")
        await page.wait_for_selector("text=1 stream")
        await page.keyboard.press("Escape")
        await page.keyboard.press("j")
        await page.wait_for_selector(".row.chosen[href]")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("h1 >> text=web.cpu")
        await page.keyboard.press("]")
        await page.wait_for_selector("[data-value='1024'][aria-pressed=true]")
        await page.go_back()
        await page.wait_for_selector(".row[href]")

"""The report: one file, nothing from elsewhere, whatever the names in it."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testkit.chromium import Errors, chromium, executable
from trainer.report.drawing import COLUMNS, Drawing, Span, draw
from trainer.report.page import Alert, Report, Stream, page, write
from trainer.report.svg import svg

EVIL = """<script src="https://evil.example/x.js"></script>'"&"""
SLOTS = 5000


def _drawing(**own: Any) -> Drawing:
    slot = np.arange(SLOTS)
    values_SC = np.sin(slot / 40)[:, None]
    values_SC[100:200] = np.nan
    values_SC[3000] = 9.0
    spans = [Span(2990, 3010, "critical", EVIL), Span(10, 20, None, "label")]
    given: dict[str, Any] = {
        "threshold": 4.0,
        "spans": spans,
        "interval_ns": 60 * 10**9,
        "start_ns": 1_767_225_600 * 10**9,
    }
    return draw([EVIL], values_SC, values_SC - 1, values_SC + 1, np.full(SLOTS, 1.0), **{**given, **own})


def _report() -> Report:
    alert = Alert("2026-01-03 01:50:00 to 02:10:00", "critical", EVIL)
    streams = [Stream("quiet"), Stream(EVIL, [alert], _drawing(), [("season", EVIL)], EVIL)]
    return Report("title " + EVIL, EVIL, [("alerts", EVIL)], streams, [EVIL])


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def _tags(text: str) -> Iterator[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(text)
    yield from parser.found


def test_nothing_is_loaded_and_everything_is_escaped() -> None:
    text = "".join(page(_report()))
    tags = list(_tags(text))
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "image", "use"}
    assert not [attrs for _, attrs in tags if {"src", "srcset", "xlink:href", "style"} & attrs.keys()]
    assert all((attrs["href"] or "").startswith("#s") for tag, attrs in tags if "href" in attrs)
    assert not [name for _, attrs in tags for name in attrs if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert text.count("&lt;script src=") == 13


def test_streams_with_alerts_come_first() -> None:
    text = "".join(page(_report()))
    assert text.index('<section id="s0"><h2>&lt;script') < text.index('<section id="s1"><h2>quiet')


def test_a_drawing_keeps_every_spike_and_gap_and_comes_back_from_json() -> None:
    from dataclasses import asdict

    drawing = _drawing()
    [channel] = drawing.channels
    assert len(channel.high) <= COLUMNS
    assert max(v for v in channel.high if v is not None) == 9.0
    assert channel.low[20] is None  # slots 140 to 146 are a gap
    assert drawing.surprise[0] == 1.0
    assert Drawing.from_json(asdict(drawing)) == drawing
    assert svg(drawing, "t").count('class="value"') == 2  # before and after the gap


def test_time_is_told_by_the_clock_or_by_slots() -> None:
    assert re.findall(r'text-anchor="middle">([^<]+)', svg(_drawing(), "t"))[:2] == ["01 Jan 00:00", "01 Jan 12:00"]
    assert re.findall(r'text-anchor="middle">([^<]+)', svg(_drawing(start_ns=None), "t"))[:2] == ["0", "1,000"]


@pytest.mark.parametrize("value", [np.nan, 5.0, 0.0, 1e300])
def test_flat_and_empty_streams_have_a_picture(value: float) -> None:
    values_SC = np.full((3, 1), value)
    drawing = draw(["value"], values_SC, values_SC, values_SC, np.full(3, np.nan), threshold=4.0)
    assert "nan" not in svg(drawing, "t").replace("ascending", "")
    assert "inf" not in svg(drawing, "t")


@pytest.mark.slow(5)
@pytest.mark.skipif(executable() is None, reason="there is no Chromium: install one, or name it in ANOMALYLLM_CHROMIUM")
async def test_a_browser_shows_it_without_complaint_and_asks_for_nothing(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    write(_report(), file)
    errors, asked = Errors(), list[str]()
    async with chromium() as browser:
        for scheme in ("light", "dark"):
            context = await browser.new_context(color_scheme=scheme)
            shown = await context.new_page()
            errors.watch(shown)
            shown.on("request", lambda request: asked.append(request.url))
            await shown.goto(file.as_uri())
            assert await shown.locator("svg.picture").count() == 1
            box = await shown.locator("svg.picture").bounding_box()
            assert box is not None
            assert box["height"] > 100
            assert await shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert errors == []
    assert set(asked) == {file.as_uri()}

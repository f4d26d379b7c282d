"""docs/replay-report.png: the report of `anomalyllm replay` on two weeks and a half of a small shop with an outage.

`python -m bench.report_picture docs/replay-report.png` (a minute; needs a Chromium).
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from testkit.chromium import chromium

T0, STEP_S, DAYS = 1_767_571_200, 300, 18  # Monday 2026-01-05
WIDTH = 1100


def shop() -> str:
    """Requests and latency, a row every five minutes; on the third Tuesday the shop is slow, on the Wednesday empty."""
    rng = np.random.default_rng(7)
    slot = np.arange(DAYS * 86_400 // STEP_S)
    hour, day = slot * STEP_S / 3600 % 24, slot * STEP_S // 86_400
    busy = np.exp(-(((hour - 14) / 5) ** 2)) * np.where(day % 7 < 5, 1.0, 0.6)
    requests = 40 + 300 * busy + rng.normal(size=len(slot)) * 12
    latency = 80 + 60 * busy + rng.gamma(3.0, 4.0, len(slot))
    latency[(day == 15) & (hour >= 10) & (hour < 11.5)] *= 3
    requests[(day == 16) & (hour >= 13) & (hour < 15)] *= 0.25
    rows = zip(slot.tolist(), requests.tolist(), latency.tolist(), strict=True)
    return "ts,requests,latency\n" + "".join(f"{T0 + STEP_S * s},{r:.1f},{ms:.1f}\n" for s, r, ms in rows)


async def picture(page: Path, file: Path) -> None:
    """A screenshot of the page, what was learnt of the first stream unfolded."""
    async with chromium() as browser:
        shown = await browser.new_page(viewport={"width": WIDTH, "height": 800}, device_scale_factor=1.5)
        await shown.goto(page.as_uri())
        await shown.locator("details").first.evaluate("one => { one.open = true }")
        await shown.screenshot(path=file, full_page=True)


def main() -> None:
    """Make the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shop.csv").write_text(shop())
        command = [sys.executable, "-m", "streamer.cli", "replay", "shop.csv", "--html", "report.html"]
        subprocess.run(command, cwd=folder, check=True)
        asyncio.run(picture(folder / "report.html", file))


if __name__ == "__main__":
    main()

"""The first three days of a stream without a past: what is found of one lift, and how often a stream is wronged.

PYTHONPATH=. OMP_NUM_THREADS=1 python bench/first_days.py FOLDER

Shapes: S slots

240 made streams: noise of 2 alone, or on a daily wave of 30; slots of 1, 3 and 5 minutes; after 6 to 72 hours they rise by 5
to 40 times their noise, for 15 or 90 minutes. Live: what comes is learnt from as a live stream's is. About 5 minutes of a core.
"""

import itertools
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from streamer.timestamps import NS
from testkit.waves import write_folder
from trainer.backtest.series import Series

INTERVALS, HOURS, LASTS, LIFTS, WAVES = (60, 180, 300), (6, 20, 28, 40, 72), (15, 90), (5, 10, 20, 40), (0, 30)
NOISE, DAY_S, MONDAY_S = 2.0, 86_400, 1_704_067_200


def made(interval_s: int, wave: int, hours: int, minutes: int, lift: int) -> Series:
    """One stream; all but its first two hours are judged."""
    given = (interval_s, wave, hours, minutes, lift)
    slots, begin = ((h * 3600) // interval_s for h in (hours + 6, hours))
    event = slice(begin, begin + max(3, minutes * 60 // interval_s))
    rng = np.random.default_rng(given)
    values_S = 100 + rng.normal(0, NOISE, slots) + wave * np.sin(2 * np.pi * np.arange(slots) * interval_s / DAY_S)
    values_S[event] += lift * NOISE
    labels_S = np.zeros(slots, bool)
    labels_S[event] = True
    return Series(
        "-".join(map(str, given)), values_S[:, None].astype(np.float32), 2 * 3600 // interval_s, labels_S,
        interval_ns=interval_s * NS, first_slot=MONDAY_S // interval_s, timed=True,
    )  # fmt: skip


def main() -> None:
    """Make, judge, and print a row for each interval and wave, a column for each age."""
    folder = Path(sys.argv[1])
    given = itertools.product(INTERVALS, WAVES, HOURS, LASTS, LIFTS)
    streams = write_folder(folder / "streams", [made(*each) for each in given])
    report = folder / "report.json"
    line = [sys.executable, "-m", "streamer.cli", "backtest", str(streams), "--live", "--json", str(report)]
    subprocess.run([*line, "--state-dir", str(folder / "state")], check=True, stdout=subprocess.DEVNULL)
    found: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
    for row in json.loads(report.read_text())["series"]:
        interval_s, wave, hours, _, lift = map(int, row["name"].split("-"))
        found[interval_s, wave, hours].append((row["hits"] if lift > LIFTS[0] else 0, row["false_alerts"]))
    lifts = len(LASTS) * (len(LIFTS) - 1)
    print("| slots, s | wave |", " | ".join(f"{hours} h" for hours in HOURS), "|")
    print("| ---: | ---: |", " | ".join("---" for _ in HOURS), "|")
    for interval_s, wave in itertools.product(INTERVALS, WAVES):
        cells = []
        for hours in HOURS:
            hits, false = map(sum, zip(*found[interval_s, wave, hours], strict=True))
            cells.append(f"{hits}/{lifts}, {false / len(LASTS) / len(LIFTS):.2f}")
        print(f"| {interval_s} | {wave} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()

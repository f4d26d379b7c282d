"""Operations metrics: made streams with complete labels, judged as a person on call would, by a tool of its own.

The tool (`--operations`, opsbench.py; not part of the repository) makes folders and judges lists of alerts. Ours are those of
a live backtest at the default; of the two one-liners each run above 4 of their sigma is an alert, of the peers what is one
to them (bench/quality/peers.py), and the judge's curve takes their best threshold in hindsight.

Shapes: S slots of a stream, D days of them, C channels
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.markdown import number, tabled
from bench.quality.peers import LEAST, POM, PROGRAM, Peer, peers
from bench.quality.work import digest_of
from bench.steps import Step
from trainer.backtest.runner import Row
from trainer.backtest.series import Series
from trainer.backtest.settings import RING, BacktestSettings
from trainer.backtest.sources import Item, items_of
from trainer.backtest.tables import Reading
from trainer.backtest.task import ROOMS, ROOT, Task, code_digest

TABLE = "operations"
# Seed, seconds a slot, archetypes (none: all 14, one stream each). Slots of 10 s are many: three archetypes.
SETS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "300 s, seed 1": (1, 300, ()),
    "300 s, seed 2": (2, 300, ()),
    "300 s, seed 3": (3, 300, ()),
    "60 s, seed 9": (9, 60, ()),
    "10 s, seed 9": (9, 10, ("requests", "latency", "calm")),
}
OURS = "ours, live"
DAY_S, MAD = 86_400, 1.4826
RATES = ("0.05", "0.1", "0.25", "1.0")


def of_the_day_before(values_S: np.ndarray, day: int) -> np.ndarray:
    """Robust z against the day before, brought up to date each hour."""
    z_S, hour = np.zeros(len(values_S)), max(1, day // 24)
    for at in range(day, len(values_S), hour):
        past = values_S[at - day : at]
        middle = np.median(past)
        z_S[at : at + hour] = (values_S[at : at + hour] - middle) / (MAD * np.median(np.abs(past - middle)) + 1e-9)
    return z_S


def of_the_time_of_day(values_S: np.ndarray, day: int) -> np.ndarray:
    """Robust z of what is left when the median of the seven days before at the same time is taken away."""
    days = len(values_S) // day
    value_DS = values_S[: days * day].reshape(days, day)
    left_DS, z_DS = np.zeros((days, day)), np.zeros((days, day))
    for at in range(1, days):
        left_DS[at] = value_DS[at] - np.median(value_DS[max(0, at - 7) : at], 0)
        past_DS = left_DS[max(1, at - 7) : at]
        if len(past_DS):
            z_DS[at] = left_DS[at] / (MAD * np.median(np.abs(past_DS - np.median(past_DS))) + 1e-9)
    return np.concatenate([z_DS.ravel(), np.zeros(len(values_S) - days * day)])


ONE_LINERS: dict[str, Peer] = {"robust z, a day": of_the_day_before, "robust z, time of day": of_the_time_of_day}


@dataclass(frozen=True)
class PeerWork:
    """Alerts of a one-liner or peer on any stream with a time axis."""

    name: str
    said: Peer
    state_dir: Path
    code: str
    latency: int = 0

    def key(self, series: Series) -> str:
        """Names the result."""
        return digest_of(self.name, series.digest(), self.code)

    def complete(self, name: str) -> bool:
        """Nothing is made beside the result."""
        return True

    def make(self, series: Series) -> dict[str, Any]:
        """The list of alerts, as that of a backtest."""
        interval_s = series.interval_ns / 1e9
        values_S = np.nan_to_num(series.values_SC[:, 0].astype(np.float64), nan=float(np.nanmedian(series.values_SC)))
        z_S = np.abs(self.said(values_S, round(DAY_S / interval_s)))[series.train_end :]
        quiet = max(5, round(300 / interval_s))
        return {"slots": len(z_S), "alert_list": alerts_of(z_S, quiet), "latency_0": {}}


def alerts_of(z_S: np.ndarray, quiet: int) -> list[dict[str, Any]]:
    """Runs above `LEAST`; no more than `quiet` slots between two make them one."""
    at = np.flatnonzero(z_S >= LEAST)
    parts = np.split(at, np.flatnonzero(np.diff(at) > quiet) + 1) if len(at) else []
    return [{"opened": int(p[0]), "end": int(p[-1]), "peak": round(float(z_S[p].max()), 2)} for p in parts]


def steps(tool: Path, state_dir: Path) -> list[Step]:
    """The streams, made where they are not yet, and what is asked of them."""
    ours = Task(BacktestSettings(state_dir=state_dir), code_digest(ROOT / room for room in ROOMS), RING, live=True)
    own, made = digest_of(code_digest([Path(__file__).parent]), PROGRAM.read_text(), POM.read_text()), []
    others = ONE_LINERS | peers()
    for name, folder in folders(tool, state_dir).items():
        items = items_of(folder, Reading())
        made.append(Step(TABLE, OURS, name, ours, items))
        made += [Step(TABLE, one, name, PeerWork(one, said, state_dir, own), items) for one, said in others.items()]
    return made


def folders(tool: Path, state_dir: Path) -> dict[str, Path]:
    """Folder of each set."""
    found = {}
    for name, (seed, interval_s, only) in SETS.items():
        folder = found[name] = state_dir / TABLE / f"{seed}-{interval_s}"
        if not (folder / "index.json").exists():
            asked = ["--seed", seed, "--each", 1, "--interval-s", interval_s, *(["--only", *only] if only else [])]
            _run(tool, "make", folder, *asked)
    return found


def table(tool: Path, state_dir: Path, done: Sequence[tuple[Step, list[Row]]]) -> str:
    """A line a set and detector."""
    lines, where = [], folders(tool, state_dir)
    for step, rows in done:
        if step.table == TABLE:
            s = judged(tool, where[step.data_set], step.items, rows)
            curve = " / ".join(number(s["caught_at_false_rate"][rate], 2) for rate in RATES)
            default = f"{s['caught']:.2f} / {s['false_a_stream_week']:.2f} / {s['precision']:.2f}"
            over = f"{number(s['overstay_min_median'], 0)} / {number(s['overstay_min_p90'], 0)}"
            first = number(s["false_in_first_8_days_a_stream"], 2)
            lines.append([step.data_set, step.name, str(s["pages"]), curve, default, over, first])
    head = ["streams", "detector", "events", f"caught at {' / '.join(RATES)}", "default: caught / false / precision"]
    return tabled([*head, "overstay, min: median / 90 %", "false in 8 days"], lines)


def judged(tool: Path, folder: Path, items: Sequence[Item], rows: Sequence[Row]) -> dict[str, Any]:
    """The judge's summary."""
    named = [row | {"name": item.name} for item, row in zip(items, rows, strict=True)]
    with tempfile.TemporaryDirectory() as made:
        report, summary = Path(made) / "report.json", Path(made) / "summary.json"
        report.write_text(json.dumps({"series": named}))
        _run(tool, "judge", folder, report, "--json", summary)
        found: dict[str, Any] = json.loads(summary.read_bytes())["summary"]
    return found


def _run(tool: Path, *arguments: object) -> None:
    subprocess.run([sys.executable, tool, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

"""Rows of all steps → tables in Markdown → docs/benchmarks.md."""

import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from string import Template
from typing import Any

import psutil
from scipy.stats import chi2

from bench.markdown import NONE, number, tabled
from bench.quality.baselines import BASELINES
from bench.quality.plan import EVERY, LEFT_OUT, LIVE, LIVE_EVERY, PAPER_EVERY, PAPER_LEFT_OUT
from bench.steps import Step
from trainer.backtest.report import summarise
from trainer.backtest.runner import Row
from trainer.backtest.settings import RING
from trainer.fit.run import PASSED

# The set whose series have the UCR rule; the others are compared by VUS-PR.
FOUND = "ucr"
Cell = float | None


class Rows:
    """Results by table, name and data set."""

    def __init__(self, done: Sequence[tuple[Step, list[Row]]]) -> None:
        self.done = done
        self.sets = list(dict.fromkeys(step.data_set for step, _ in done))

    def names(self, table: str) -> list[str]:
        """Names of a table's rows, in order."""
        return list(dict.fromkeys(step.name for step, _ in self.done if step.table == table))

    def of(self, table: str, name: str, data_set: str) -> list[Row]:
        """The series' rows, those that failed left out."""
        return [
            row
            for step, rows in self.done
            if (step.table, step.name, step.data_set) == (table, name, data_set)
            for row in rows
            if "error" not in row
        ]

    def work(self) -> float:
        """CPU seconds of all results, each counted once however many tables it is in."""
        every = {
            (row["name"], float(row.get("cpu_s") or row.get("seconds") or 0.0)) for _, rows in self.done for row in rows
        }
        return sum(seconds for _, seconds in every)

    def mean(self, table: str, name: str, data_set: str, latency: int, figure: str) -> Cell:
        """Mean over the series that have the figure."""
        values = [row[f"latency_{latency}"][figure] for row in self.of(table, name, data_set)]
        known = [float(value) for value in values if value is not None]
        return fmean(known) if known else None


def write(page: Path, rows: Rows, seconds: float, operations: str = "") -> None:
    """Fill the template; `operations` is the table of made streams."""
    text = Template(Path(__file__).with_name("template.md").read_text()).substitute(
        machine=machine(),
        date=datetime.now(UTC).date().isoformat(),
        revision=revision(),
        minutes=f"{seconds / 60:.0f}",
        work=f"{rows.work() / 60:.0f}",
        main_8=_main(rows, 8),
        main_0=_main(rows, 0),
        alerts=_alerts(rows, "main", "history"),
        dial=_dial(rows, "main", "train"),
        domains=_domains(rows),
        some=_some(rows, EVERY),
        left_out=f"{' and '.join(LEFT_OUT)} left out",
        cold=_sweep(rows, "cold", "learnt from", LEFT_OUT),
        ablation=_sweep(rows, "ablation", "changed", LEFT_OUT),
        live_some=_some(rows, LIVE_EVERY),
        live=_sweep(rows, "live", "learns", ()),
        live_alerts=_alerts(rows, "live", "learns"),
        live_dial=_dial(rows, "live", LIVE),
        paper_some=_some(rows, PAPER_EVERY),
        paper_left_out=f"{' and '.join(PAPER_LEFT_OUT)} left out",
        paper=_sweep(rows, "paper", "profile", PAPER_LEFT_OUT),
        operations=operations,
        paper_alerts=_alerts(rows, "paper", "profile"),
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text)


def _main(rows: Rows, latency: int) -> str:
    """A line a data set, ours first; the best of a line is bold."""
    columns = [("main", "train", "ours"), ("main", str(RING), f"ours, {RING} slots")]
    columns += [("baseline", b.name, b.title) for b in BASELINES]
    lines, sums = [], []
    for name in rows.sets:
        figure = "found" if name == FOUND else "vus_pr"
        cells = [rows.mean(table, row, name, latency, figure) for table, row, _ in columns]
        if name != FOUND:
            sums.append(cells)
        count = len(rows.of("main", "train", name)) or len(rows.of("baseline", BASELINES[0].name, name))
        lines.append([f"{name}, {'found' if name == FOUND else 'VUS-PR'}", str(count), *_best(cells)])
    if sums:
        lines.append(["**mean VUS-PR**", str(len(sums)), *_best([_mean(column) for column in zip(*sums, strict=True)])])
    return tabled(["set", "series", *(title for *_, title in columns)], lines)


def _some(rows: Rows, every: dict[str, int]) -> str:
    """Which series of the larger sets are taken."""
    taken = [f"every {_nth(n)} series of {name}" for name, n in every.items() if name in rows.sets and n > 1]
    return ", ".join(taken) or "all"


def _alerts(rows: Rows, table: str, title: str) -> str:
    lines = []
    for name in rows.sets:
        for row in rows.names(table):
            mine = rows.of(table, row, name)
            if not mine:
                continue
            s: dict[str, Any] = summarise(mine, 8)
            lines.append([
                name, row, number(s["event_f1"]), number(s["event_precision"]), number(s["event_recall"]),
                f"{s['hits']}/{s['events']}", str(s["alerts"]), number(s["false_alerts_per_10k"], 2),
                number(s["delay_points"], 0), f"{s['points_per_s']:,}" if s["points_per_s"] else NONE,
                number(s["fit_s"], 2), number(s["student_bytes"], 0),
            ])  # fmt: skip
    head = ("set", title, "event F1", "precision", "recall", "hit/events", "alerts", "false/10k", "delay")
    return tabled([*head, "points/s", "fit, s", "student, bytes"], lines)


def _dial(rows: Rows, table: str, row: str) -> str:
    """False alerts expected by the default dial beside those measured outside labelled ranges; of students in force."""
    lines = []
    for name in rows.sets:
        every = rows.of(table, row, name)
        # a stream that goes on learning is judged by students that have passed, whatever its newest does
        mine = [row for row in every if table == "live" or row["gate"] == PASSED]
        if not mine:
            continue
        # every series has the default threshold: 10^-threshold false alerts a slot
        expected = sum(row["slots"] * 10.0 ** -row["threshold"] for row in mine)
        seen = sum(row["false_alerts"] for row in mine)
        low, high = (bound / expected for bound in poisson(seen))
        lines.append([
            name, f"{len(mine)}/{len(every)}", str(sum(row["slots"] for row in mine)), number(expected, 1), str(seen), number(seen / expected, 2),
            f"{low:.2f} – {high:.2f}",
        ])  # fmt: skip
    return tabled(["set", "series", "slots", "expected", "measured", "times the dial", "95 % interval"], lines)


def poisson(seen: int) -> tuple[float, float]:
    """Exact 95 % interval of the mean of a Poisson count (Garwood 1936)."""
    return (float(chi2.ppf(0.025, 2 * seen)) / 2 if seen else 0.0), float(chi2.ppf(0.975, 2 * seen + 2)) / 2


def _domains(rows: Rows) -> str:
    """Sets whose index names a class a series, by class."""
    lines = []
    for name in rows.sets:
        groups: dict[str, list[Row]] = {}
        for step, done in rows.done:
            if (step.table, step.name, step.data_set) == ("main", "train", name):
                for item, row in zip(step.items, done, strict=True):
                    if item.domain and "error" not in row:
                        groups.setdefault(item.domain, []).append(row)
        for domain, mine in sorted(groups.items()):
            s = summarise(mine, 8)
            lines.append([
                f"{name}, {domain}", str(len(mine)), number(s["found"]), number(s["vus_pr"]),
                number(s["event_f1"]), number(s["false_alerts_per_10k"], 2),
            ])  # fmt: skip
    return tabled(["domain", "series", "found", "VUS-PR, 8 late", "event F1", "false/10k"], lines)


def _sweep(rows: Rows, table: str, title: str, left_out: Sequence[str]) -> str:
    """A line a change: found of the UCR series, VUS-PR of each other set and their mean, 8 late and at once."""
    others = [name for name in rows.sets if name not in (FOUND, *left_out)]
    lines = []
    for name in rows.names(table):
        late = [rows.mean(table, name, s, 8, "vus_pr") for s in others]
        now = [rows.mean(table, name, s, 0, "vus_pr") for s in others]
        found = rows.mean(table, name, FOUND, 8, "found")
        lines.append([name, *map(number, (found, _mean(late), _mean(now), *late))])
    return tabled([title, "found", "VUS-PR, 8 late", "at once", *others], lines)


def _mean(cells: Sequence[Cell]) -> Cell:
    known = [cell for cell in cells if cell is not None]
    return fmean(known) if known else None


def _best(cells: Sequence[Cell]) -> list[str]:
    top = max((cell for cell in cells if cell is not None), default=None)
    return [f"**{number(cell)}**" if cell is not None and cell == top else number(cell) for cell in cells]


def _nth(n: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(n, f"{n}th")


def machine() -> str:
    """Cores, processor and memory."""
    name = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores of {name}, {psutil.virtual_memory().total / 2**30:.0f} GiB"


def revision() -> str:
    """The commit that is checked out, and whether files differ from it."""
    ask: Callable[..., str] = subprocess.check_output
    try:
        dirty = ask(["git", "status", "--porcelain", "--untracked-files=no"], text=True).strip()
        return ask(["git", "rev-parse", "--short", "HEAD"], text=True).strip() + (" with changes" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

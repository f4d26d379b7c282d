"""Runs the quality benchmark and writes docs/benchmarks.md.

  python -m bench.quality [--data ../shared/data] [--jobs 2] [--tables main,baseline,paper,cold,ablation] [--only ucr,wsd]

Every series of every step has a result of its own under --state; a run that was cut off goes on where it stopped.
"""

import argparse
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.quality.page import Rows, write
from bench.quality.plan import Step, data_sets, plan
from streamer.logs import configure_logs
from trainer.backtest.runner import Row, longest_first, run

TABLES = ("main", "baseline", "paper", "cold", "ablation")


def main() -> None:
    """All steps, then the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANOMALYLLM_DATA", "../shared/data")))
    parser.add_argument("--state", type=Path, default=Path(".state/quality"))
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--only", default="", help="data sets, by comma; default: all")
    arguments = parser.parse_args()
    sets = data_sets(arguments.data)
    chosen = arguments.only.split(",") if arguments.only else list(sets)
    sets = {name: items for name, items in sets.items() if name in chosen}
    if not sets:
        parser.error(f"no data set with an index.json under {arguments.data}: set ANOMALYLLM_DATA or --data")
    steps = plan(sets, arguments.state, arguments.tables.split(","))
    # stumpy's kernels would take all cores in every process
    os.environ["NUMBA_NUM_THREADS"] = "1"
    configure_logs(level="warning")
    begun = time.monotonic()
    done = carry_out(steps, arguments.jobs)
    write(arguments.page, Rows(done), time.monotonic() - begun)


def carry_out(steps: Sequence[Step], jobs: int) -> list[tuple[Step, list[Row]]]:
    """One pool of processes for all steps; says of each when it is done."""
    console = Console(stderr=True)
    pairs = [(at, item) for at, step in enumerate(steps) for item in longest_first(step.items)]
    left = Counter(at for at, _ in pairs)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        todo = bar.add_task("series", total=len(pairs))

        def tell(index: int, row: Row) -> None:
            at, _ = pairs[index]
            step = steps[at]
            left[at] -= 1
            title = f"{at + 1}/{len(steps)} {step.table} {step.name} {step.data_set}"
            bar.update(todo, advance=1, description=title)
            if "error" in row:
                bar.console.print(f"[red]{title}, {row['name']}: {row['error']}")
            if not left[at]:
                bar.console.print(f"{title}: {len(step.items)} series", highlight=False)

        rows = run([(item, steps[at].work) for at, item in pairs], jobs, tell)
    done = {(at, item.name): row for (at, item), row in zip(pairs, rows, strict=True)}
    return [(step, [done[at, item.name] for item in step.items]) for at, step in enumerate(steps)]


if __name__ == "__main__":
    main()

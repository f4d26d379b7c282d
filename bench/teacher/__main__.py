"""Replays series with the LLM, with its controls and without any, and writes docs/teacher.md.

  python -m bench.teacher [--data ../shared/data] [--jobs 1] [--tables share,long,...] [--only ucr,wsd]

Every series of every step has a result of its own under --state; a run that was cut off goes on where it stopped.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.quality.plan import data_sets
from bench.teacher import work
from bench.teacher.adapter import Trained, adapted, left_over
from bench.teacher.page import write
from bench.teacher.plan import ADAPTED, Step, adapter_folder, plan
from streamer.logs import configure_logs
from trainer.backtest.runner import Row, run
from trainer.backtest.task import ROOMS, ROOT, code_digest


def main() -> None:
    """All steps, then the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANOMALYLLM_DATA", "../shared/data")))
    parser.add_argument("--state", type=Path, default=Path(".state/teacher"))
    parser.add_argument("--page", type=Path, default=Path("docs/teacher.md"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--tables", default="", help="first words of tables, by comma; default: all")
    parser.add_argument("--only", default="", help="data sets, by comma; default: all")
    arguments = parser.parse_args()
    sets = data_sets(arguments.data)
    if arguments.only:
        sets = {name: items for name, items in sets.items() if name in arguments.only.split(",")}
    if not sets:
        parser.error(f"no data set with an index.json under {arguments.data}: set ANOMALYLLM_DATA or --data")
    code = code_digest([*(ROOT / room for room in ROOMS), Path(work.__file__)])
    steps = plan(sets, arguments.state, code)
    if arguments.tables:
        steps = [step for step in steps if step.table.split()[0] in arguments.tables.split(",")]
    configure_logs(level="warning")
    begun = time.monotonic()
    trained: dict[str, Trained] = {}
    if any(step.table == "adapter" for step in steps):
        replayed = {(step.data_set, item.name) for step in steps for item in step.items}
        for title, name in ADAPTED.items():
            folder = adapter_folder(arguments.state, title)
            trained[title] = adapted(name, folder, left_over(sets, replayed), arguments.state)
            Console(stderr=True).print(f"{title}: {trained[title]}", highlight=False)
    done = carry_out(steps, arguments.jobs)
    write(arguments.page, done, trained, time.monotonic() - begun)


def carry_out(steps: Sequence[Step], jobs: int) -> list[tuple[Step, list[Row]]]:
    """All series of all steps; says of each step when it is done."""
    console = Console(stderr=True)
    pairs = [(at, item) for at, step in enumerate(steps) for item in step.items]
    left = [len(step.items) for step in steps]

    def tell(index: int, row: Row) -> None:
        at, _ = pairs[index]
        step = steps[at]
        left[at] -= 1
        title = f"{at + 1}/{len(steps)} {step.table}, {step.name}, {step.data_set}"
        if "error" in row:
            console.print(f"[red]{title}, {row['name']}: {row['error']}")
        if not left[at]:
            console.print(f"{title}: {len(step.items)} series", highlight=False)

    rows = iter(run([(item, steps[at].work) for at, item in pairs], jobs, tell))
    return [(step, [next(rows) for _ in step.items]) for step in steps]


if __name__ == "__main__":
    main()
